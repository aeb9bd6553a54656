//! Events and queries.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::text;

#[derive(Debug, Args)]
pub(in crate::cli) struct WatchEvents {
    /// Event names, or prefixes with a final * [default: all]
    pub(in crate::cli) names: Vec<String>,
    /// First everything that the daemon still remembers
    #[arg(long, conflicts_with_all = ["from", "since_start"])]
    pub(in crate::cli) replay: bool,
    /// Go on after this position, from --token or the JSON output of another watch
    #[arg(long, value_name = "TOKEN", conflicts_with = "since_start", value_parser = text::parse_token)]
    pub(in crate::cli) from: Option<crate::EventPositions>,
    /// First every event of every boot that is known, with gaps for those that the
    /// daemon no longer remembers
    #[arg(long)]
    pub(in crate::cli) since_start: bool,
    /// Merge events that were sent with --coalesce: only the newest of a name
    #[arg(long)]
    pub(in crate::cli) coalesce: bool,
    /// Print the position at the end, for --from
    #[arg(long)]
    pub(in crate::cli) token: bool,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    pub(in crate::cli) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Event {
    /// Name of the event
    #[arg(required_unless_present = "batch")]
    pub(in crate::cli) name: Option<String>,
    /// Payload; - reads it from standard input
    pub(in crate::cli) payload: Option<String>,
    /// Which receipt to wait for; delivered waits for --timeout, 10s by default
    #[arg(long, value_enum, default_value_t = Receipt::Replicated)]
    pub(in crate::cli) receipt: Receipt,
    #[command(flatten)]
    pub(in crate::cli) extras: Extras,
    /// Send many over one stream, from a file or -: a line is ["name", payload] or an
    /// object with name, payload, coalesce, to_member, to_role, to_tag, one_of_role and
    /// attributes, in JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "payload"])]
    pub(in crate::cli) batch: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct Extras {
    /// Let consumers that coalesce keep only the newest event of this name
    #[arg(long)]
    pub(in crate::cli) coalesce: bool,
    /// Only to this member (repeatable: any of them)
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) to_member: Vec<String>,
    /// Only to members with this role (repeatable: any of them)
    #[arg(long, value_name = "ROLE")]
    pub(in crate::cli) to_role: Vec<String>,
    /// Only to members whose tag matches (repeatable: all of them)
    #[arg(long, value_name = "KEY=REGEX", value_parser = text::parse_pair)]
    pub(in crate::cli) to_tag: Vec<(String, String)>,
    /// Only to one alive member with this role
    #[arg(long, value_name = "ROLE", conflicts_with_all = ["to_member", "to_role", "to_tag"])]
    pub(in crate::cli) one_of_role: Option<String>,
    /// Free data beside the payload (repeatable)
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = text::parse_pair)]
    pub(in crate::cli) attributes: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Receipt {
    /// In the memory of the local daemon
    Accepted,
    /// Held by two other alive members, or by all there are
    Replicated,
    /// Reported by each member that it is meant for
    Delivered,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Query {
    /// Name of the query
    pub(in crate::cli) name: String,
    /// Payload; - reads it from standard input
    pub(in crate::cli) payload: Option<String>,
    /// Only these members, by name or alias (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) member: Vec<String>,
    /// Only tags that match (repeatable; all must hold)
    #[arg(long = "tag", value_name = "KEY=REGEX", value_parser = text::parse_pair)]
    pub(in crate::cli) tags: Vec<(String, String)>,
    /// Only members with one of these roles (repeatable)
    #[arg(long)]
    pub(in crate::cli) role: Vec<String>,
    /// Do not print who got it
    #[arg(long)]
    pub(in crate::cli) no_ack: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ServeQuery {
    /// Names of queries, or prefixes with a final *
    #[arg(required = true, value_name = "NAME", num_args = 1..=64)]
    pub(in crate::cli) names: Vec<String>,
    /// What answers them; an exit code other than 0 is an error
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<String>,
}
