//! The daemon on this host.

use clap::{Args, ValueEnum};

use crate::cli::text;

#[derive(Debug, Args)]
pub(in crate::cli) struct Join {
    /// IP, IP:PORT, NAME, NAME:PORT or _service._proto.NAME
    #[arg(required = true, num_args = 1..=64)]
    pub(in crate::cli) addresses: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Leave {
    /// Keep the daemon up, unjoined
    #[arg(long)]
    pub(in crate::cli) stay: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Tags {
    /// Set a tag (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = text::parse_pair)]
    pub(in crate::cli) set: Vec<(String, String)>,
    /// Delete a tag (repeatable)
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) delete: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Info {
    /// Print counters that are 0 as well
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// Print the metrics in OpenMetrics text instead
    #[arg(long, conflicts_with = "all")]
    pub(in crate::cli) metrics: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LogLevel {
    /// A level, or directives such as info,musterd::gossip=debug
    pub(in crate::cli) filter: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Monitor {
    /// Least severity of log lines
    #[arg(long, value_enum, ignore_case = true, default_value_t = LogLine::Info)]
    pub(in crate::cli) log_level: LogLine,
    /// Remembered log lines to begin with
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(0..=512))]
    pub(in crate::cli) backlog: u32,
    /// Print the remembered log lines and stop
    #[arg(long)]
    pub(in crate::cli) no_follow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogLine {
    #[value(alias = "err")]
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
