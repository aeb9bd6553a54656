//! Containers and roles.

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct ContainerList {
    /// Only those of this node (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) node: Vec<String>,
    /// Only those with this label, of this value if one is given (repeatable; all must hold)
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    pub(in crate::cli) labels: Vec<String>,
    /// Only those in this state, in the engine's words: created, running, paused,
    /// restarting, removing, exited, dead (repeatable)
    #[arg(long)]
    pub(in crate::cli) state: Vec<String>,
    /// Only those of this name (repeatable)
    #[arg(long)]
    pub(in crate::cli) name: Vec<String>,
    /// Only those that serve this role (repeatable)
    #[arg(long)]
    pub(in crate::cli) role: Vec<String>,
    /// Only those of this daemon's own engine
    #[arg(long)]
    pub(in crate::cli) local: bool,
    /// Those that do not run, too
    #[arg(long, short, conflicts_with = "state")]
    pub(in crate::cli) all: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// NAME, NAME@NODE, NODE/NAME, an id or at least its first 4 digits
    #[arg(value_name = "CONTAINER")]
    pub(in crate::cli) container: String,
    /// The node that owns it
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(in crate::cli) node: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Resolve {
    /// The role
    pub(in crate::cli) role: String,
    /// Which endpoints, in which order
    #[arg(long, value_enum, default_value_t = Policy::All)]
    pub(in crate::cli) policy: Policy,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(in crate::cli) limit: u32,
    /// Nearest first: short for --policy nearest
    #[arg(long, conflicts_with = "policy")]
    pub(in crate::cli) nearest: bool,
    /// With nearest: from this member on [default: this node]
    #[arg(
        long,
        value_name = "MEMBER",
        default_value = "",
        hide_default_value = true
    )]
    pub(in crate::cli) near: String,
    /// Leave suspect members out
    #[arg(long)]
    pub(in crate::cli) exclude_suspect: bool,
    /// Keep containers whose HEALTHCHECK does not pass
    #[arg(long)]
    pub(in crate::cli) include_unhealthy: bool,
    /// Fixes the order of --policy random
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(in crate::cli) client_key: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Policy {
    /// Every endpoint, oldest first
    All,
    /// The one of the oldest member
    Oldest,
    /// By estimated round trip time
    Nearest,
    /// Shuffled
    Random,
    /// Rotated by one per call
    RoundRobin,
}
