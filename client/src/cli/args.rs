//! The grammar of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cli::text;
use crate::{pb, status_name};

/// See and steer a Muster cluster through the daemon on this host.
#[derive(Debug, Parser)]
#[command(name = "muster", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, \
    3 not found or empty, 4 no daemon reachable, 5 deadline passed."
)]
pub(super) struct Cli {
    /// Socket of the daemon: /path, unix:/path or unix:///path [default:
    /// /run/muster/api.sock, else $XDG_RUNTIME_DIR/muster/api.sock]
    #[arg(long, global = true, env = "MUSTER_SOCKET", value_name = "PATH")]
    pub(super) socket: Option<String>,
    /// What to print
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
    /// Give up after this long, such as 500ms, 10s or 2m
    #[arg(long, global = true, value_name = "DURATION", value_parser = text::parse_duration)]
    pub(super) timeout: Option<Duration>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences
    Human,
    /// JSON: one object, or one a line for watches
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run five live daemons on loopback and play with them
    Demo(Demo),
    /// Print a new cluster key
    Keygen(Keygen),
    /// Print one line with all that a new host needs to enter the cluster
    Token(Token),
    /// List members
    Members(MemberList),
    /// List the containers of all nodes; only running ones without --all
    Containers(ContainerList),
    /// Print all that the engine says of a container, wherever it runs
    Inspect(Inspect),
    /// Follow members, containers, events or a role live
    #[command(subcommand)]
    Watch(Watch),
    /// Send an event to the whole cluster
    Event(Event),
    /// Ask members, and print their answers as they come
    Query(Query),
    /// Answer queries with a command: the payload on its standard input, the answer from
    /// its standard output
    ServeQuery(ServeQuery),
    /// Ask every live member for a sign, and compare with the list of members
    Reachability(Reachability),
    /// Print where a role is served
    Resolve(Resolve),
    /// List all roles
    Roles,
    /// Estimate the round trip time between two members
    Rtt(Rtt),
    /// Make the daemon join others
    Join(Join),
    /// Make the daemon leave the cluster and exit
    Leave(Leave),
    /// Turn a failed member into a left one, everywhere
    ForceLeave(ForceLeave),
    /// Print or change the tags of this node
    Tags(Tags),
    /// List or change the keys that all members talk under
    #[command(subcommand)]
    Keys(Keys),
    /// Describe the daemon
    Info(Info),
    /// Change what the daemon logs, until it restarts
    LogLevel(LogLevel),
    /// Print where peers reach this node, IP:PORT, once the daemon answers
    Me,
    /// Follow the daemon's log, its members and its events
    Monitor(Monitor),
    /// Make the daemon read its configuration again
    Reload,
    /// Wait until so many members are alive
    Wait(Wait),
    /// Ask whether the daemon serves
    Health,
    /// Print the versions of this program and of the daemon
    Version,
    /// Run a node in a container of Docker, with the children of a serfnode.yml
    Run(Run),
    /// Write a serfnode.yml, a Dockerfile and a handler, to build a node's image from
    Init(Init),
    /// Write the .proto files of the API into a directory
    Proto(Proto),
    /// Run a command of serf, with serf's flags and output
    Serf(Serf),
    /// Print shell completions
    Completions(Completions),
}

#[derive(Debug, Subcommand)]
pub(super) enum Watch {
    /// Follow members
    Members(WatchMembers),
    /// Follow containers
    Containers(ContainerList),
    /// Follow events
    Events(WatchEvents),
    /// Follow where a role is served
    Role(Resolve),
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The daemon to run [default: musterd beside this program, else in PATH]
    #[arg(long, value_name = "PATH")]
    pub(super) musterd: Option<PathBuf>,
    /// Daemons at the start
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(super) nodes: u8,
    /// Print lines instead of a live view, as when not on a terminal
    #[arg(long)]
    pub(super) plain: bool,
    /// Stop by itself after so many seconds
    #[arg(long, value_name = "N")]
    pub(super) seconds: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// Write it to this new file, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Token {
    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = "muster")]
    pub(super) cluster: String,
    /// Address that the new host joins: IP:PORT, NAME or NAME:PORT (repeatable)
    #[arg(long = "seed", value_name = "ADDR")]
    pub(super) seeds: Vec<String>,
    /// File with the cluster key [default: a new key]
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct MemberList {
    #[command(flatten)]
    pub(super) filter: Members,
    /// Also versions, protocols, boots and when each member came
    #[arg(long)]
    pub(super) detailed: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub(super) struct Members {
    /// Only these states, or those that an anchored regular expression matches: alive, suspect,
    /// leaving, left, failed (repeatable)
    #[arg(long, value_name = "STATUS", value_parser = some_statuses)]
    pub(super) status: Vec<Statuses>,
    /// Only members with one of these roles (repeatable)
    #[arg(long)]
    pub(super) role: Vec<String>,
    /// Only names that this anchored regular expression matches
    #[arg(long, value_name = "REGEX")]
    pub(super) name: Option<String>,
    /// Only tags that match (repeatable; all must hold)
    #[arg(long = "tag", value_name = "KEY=REGEX", value_parser = text::parse_pair)]
    pub(super) tags: Vec<(String, String)>,
}

/// Largest compiled regular expression on states, bytes: there are five short words to
/// tell apart.
const STATUS_REGEX_BYTES_MAX: usize = 64 << 10;

/// States of one `--status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statuses(pub(super) Vec<pb::MemberStatus>);

/// Reads an anchored regular expression on states, as serf's `-status`. One that
/// matches no state is most likely a slip.
fn some_statuses(text: &str) -> Result<Statuses, String> {
    let statuses = statuses(text)?;
    if statuses.0.is_empty() {
        return Err(format!(
            "{text:?} matches no state: expected alive, suspect, leaving, left or failed"
        ));
    }
    Ok(statuses)
}

/// States that an anchored regular expression matches.
pub(super) fn statuses(text: &str) -> Result<Statuses, String> {
    use pb::MemberStatus::{Alive, Failed, Leaving, Left, Suspect};
    let regex = regex::RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(STATUS_REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("{text:?} is no regular expression: {error}"))?;
    let states = [Alive, Suspect, Leaving, Left, Failed];
    let matching = states
        .into_iter()
        .filter(|status| regex.is_match(status_name(*status)));
    Ok(Statuses(matching.collect()))
}

#[derive(Debug, Clone, Default, Args)]
pub(super) struct ContainerList {
    /// Only those of this node (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(super) node: Vec<String>,
    /// Only those with this label, of this value if one is given (repeatable; all must hold)
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    pub(super) labels: Vec<String>,
    /// Only those in this state, in the engine's words: created, running, paused,
    /// restarting, removing, exited, dead (repeatable)
    #[arg(long)]
    pub(super) state: Vec<String>,
    /// Only those of this name (repeatable)
    #[arg(long)]
    pub(super) name: Vec<String>,
    /// Only those that serve this role (repeatable)
    #[arg(long)]
    pub(super) role: Vec<String>,
    /// Only those of this daemon's own engine
    #[arg(long)]
    pub(super) local: bool,
    /// Those that do not run, too
    #[arg(long, short, conflicts_with = "state")]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// NAME, NAME@NODE, NODE/NAME, an id or at least its first 4 digits
    #[arg(value_name = "CONTAINER")]
    pub(super) container: String,
    /// The node that owns it
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(super) node: String,
}

#[derive(Debug, Args)]
pub(super) struct WatchMembers {
    #[command(flatten)]
    pub(super) filter: Members,
}

#[derive(Debug, Args)]
pub(super) struct WatchEvents {
    /// Event names, or prefixes with a final * [default: all]
    pub(super) names: Vec<String>,
    /// First everything that the daemon still remembers
    #[arg(long, conflicts_with_all = ["from", "since_start"])]
    pub(super) replay: bool,
    /// Go on after this position, from --token or the JSON output of another watch
    #[arg(long, value_name = "TOKEN", conflicts_with = "since_start", value_parser = text::parse_token)]
    pub(super) from: Option<crate::EventPositions>,
    /// First every event of every boot that is known, with gaps for those that the
    /// daemon no longer remembers
    #[arg(long)]
    pub(super) since_start: bool,
    /// Merge events that were sent with --coalesce: only the newest of a name
    #[arg(long)]
    pub(super) coalesce: bool,
    /// Print the position at the end, for --from
    #[arg(long)]
    pub(super) token: bool,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct Event {
    /// Name of the event
    #[arg(required_unless_present = "batch")]
    pub(super) name: Option<String>,
    /// Payload; - reads it from standard input
    pub(super) payload: Option<String>,
    /// Which receipt to wait for; delivered waits for --timeout, 10s by default
    #[arg(long, value_enum, default_value_t = Receipt::Replicated)]
    pub(super) receipt: Receipt,
    #[command(flatten)]
    pub(super) extras: Extras,
    /// Send many over one stream, from a file or -: a line is ["name", payload] or an
    /// object with name, payload, coalesce, to_member, to_role, to_tag, one_of_role and
    /// attributes, in JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "payload"])]
    pub(super) batch: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Args)]
pub(super) struct Extras {
    /// Let consumers that coalesce keep only the newest event of this name
    #[arg(long)]
    pub(super) coalesce: bool,
    /// Only to this member (repeatable: any of them)
    #[arg(long, value_name = "NAME")]
    pub(super) to_member: Vec<String>,
    /// Only to members with this role (repeatable: any of them)
    #[arg(long, value_name = "ROLE")]
    pub(super) to_role: Vec<String>,
    /// Only to members whose tag matches (repeatable: all of them)
    #[arg(long, value_name = "KEY=REGEX", value_parser = text::parse_pair)]
    pub(super) to_tag: Vec<(String, String)>,
    /// Only to one alive member with this role
    #[arg(long, value_name = "ROLE", conflicts_with_all = ["to_member", "to_role", "to_tag"])]
    pub(super) one_of_role: Option<String>,
    /// Free data beside the payload (repeatable)
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = text::parse_pair)]
    pub(super) attributes: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Receipt {
    /// In the memory of the local daemon
    Accepted,
    /// Held by two other alive members, or by all there are
    Replicated,
    /// Reported by each member that it is meant for
    Delivered,
}

#[derive(Debug, Args)]
pub(super) struct Query {
    /// Name of the query
    pub(super) name: String,
    /// Payload; - reads it from standard input
    pub(super) payload: Option<String>,
    /// Only these members, by name or alias (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(super) member: Vec<String>,
    /// Only tags that match (repeatable; all must hold)
    #[arg(long = "tag", value_name = "KEY=REGEX", value_parser = text::parse_pair)]
    pub(super) tags: Vec<(String, String)>,
    /// Only members with one of these roles (repeatable)
    #[arg(long)]
    pub(super) role: Vec<String>,
    /// Do not print who got it
    #[arg(long)]
    pub(super) no_ack: bool,
}

#[derive(Debug, Args)]
pub(super) struct ServeQuery {
    /// Names of queries, or prefixes with a final *
    #[arg(required = true, value_name = "NAME", num_args = 1..=64)]
    pub(super) names: Vec<String>,
    /// What answers them; an exit code other than 0 is an error
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Reachability {
    /// Also print each sign
    #[arg(long, short)]
    pub(super) verbose: bool,
}

#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The role
    pub(super) role: String,
    /// Which endpoints, in which order
    #[arg(long, value_enum, default_value_t = Policy::All)]
    pub(super) policy: Policy,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) limit: u32,
    /// Nearest first: short for --policy nearest
    #[arg(long, conflicts_with = "policy")]
    pub(super) nearest: bool,
    /// With nearest: from this member on [default: this node]
    #[arg(
        long,
        value_name = "MEMBER",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) near: String,
    /// Leave suspect members out
    #[arg(long)]
    pub(super) exclude_suspect: bool,
    /// Keep containers whose HEALTHCHECK does not pass
    #[arg(long)]
    pub(super) include_unhealthy: bool,
    /// Fixes the order of --policy random
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) client_key: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Policy {
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

#[derive(Debug, Args)]
pub(super) struct Rtt {
    /// Name or alias of a member
    #[arg(value_name = "NODE1")]
    pub(super) member: String,
    /// Name or alias of another one [default: this node]
    #[arg(value_name = "NODE2")]
    pub(super) other: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Join {
    /// IP, IP:PORT, NAME, NAME:PORT or _service._proto.NAME
    #[arg(required = true, num_args = 1..=64)]
    pub(super) addresses: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Leave {
    /// Keep the daemon up, unjoined
    #[arg(long)]
    pub(super) stay: bool,
}

#[derive(Debug, Args)]
pub(super) struct ForceLeave {
    /// Name or alias of the member
    pub(super) name: String,
    /// Forget it at once instead of showing it as left
    #[arg(long)]
    pub(super) prune: bool,
}

#[derive(Debug, Args)]
pub(super) struct Tags {
    /// Set a tag (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = text::parse_pair)]
    pub(super) set: Vec<(String, String)>,
    /// Delete a tag (repeatable)
    #[arg(long, value_name = "KEY")]
    pub(super) delete: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Print which member holds which key; never a key itself
    List,
    /// Give a key to every member: it opens, it does not seal yet
    Install(InstallKey),
    /// Seal with an installed key everywhere
    Use(ChangeKey),
    /// Take a key away everywhere
    Remove(ChangeKey),
    /// Install a new key, seal with it, and remove the old one after the overlap
    Rotate(RotateKey),
    /// Go one stage on, or back, between plaintext and encryption, everywhere
    Encryption(Encryption),
}

#[derive(Debug, Args)]
pub(super) struct InstallKey {
    /// File with the key, - for standard input [default: a new key]
    #[arg(value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// Write the key to this new file first, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// On this daemon only: the way to bring the first key to a plaintext one
    #[arg(long)]
    pub(super) local: bool,
}

#[derive(Debug, Args)]
pub(super) struct ChangeKey {
    /// Id of the key, as `muster keys list` prints it
    pub(super) id: String,
    /// Although members that are not ready are cut off
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct RotateKey {
    /// File with the new key, - for standard input [default: a new key]
    #[arg(value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// Write the new key to this new file first, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// How long the old key is still accepted, such as 30m or 24h; 0 removes it at once
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = crate::cli::keys::parse_overlap)]
    pub(super) overlap: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct Encryption {
    /// The stage
    #[arg(value_enum)]
    pub(super) stage: Stage,
    /// Although members that are not ready are cut off
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Stage {
    /// Send in clear, accept both
    Receive,
    /// Send sealed, accept both
    Send,
    /// Send sealed, accept nothing else
    On,
}

#[derive(Debug, Args)]
pub(super) struct Info {
    /// Print counters that are 0 as well
    #[arg(long)]
    pub(super) all: bool,
    /// Print the metrics in OpenMetrics text instead
    #[arg(long, conflicts_with = "all")]
    pub(super) metrics: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogLevel {
    /// A level, or directives such as info,musterd::gossip=debug
    pub(super) filter: String,
}

#[derive(Debug, Args)]
pub(super) struct Monitor {
    /// Least severity of log lines
    #[arg(long, value_enum, ignore_case = true, default_value_t = LogLine::Info)]
    pub(super) log_level: LogLine,
    /// Remembered log lines to begin with
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(0..=512))]
    pub(super) backlog: u32,
    /// Print the remembered log lines and stop
    #[arg(long)]
    pub(super) no_follow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLine {
    #[value(alias = "err")]
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// How many alive members, this node included
    #[arg(long, value_name = "N")]
    pub(super) members: usize,
    /// Count only members with this role
    #[arg(long)]
    pub(super) role: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Image of the node, such as muster-shell
    pub(super) image: String,
    /// Its children and its role; without one, those of the image
    #[arg(value_name = "YML")]
    pub(super) yml: Option<PathBuf>,
    /// Name of the container and of the node
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Network of the container
    #[arg(long, value_name = "NETWORK")]
    pub(super) network: Option<String>,
    /// Publish a port, [[IP:]PORT:]PORT; ports of children are published here (repeatable)
    #[arg(long, short, value_name = "PORTS")]
    pub(super) publish: Vec<String>,
    /// Mount a directory or volume, SOURCE:DESTINATION[:MODE] (repeatable)
    #[arg(long, short, value_name = "VOLUME")]
    pub(super) volume: Vec<String>,
    /// Set a variable, NAME=VALUE, or pass on one, NAME (repeatable)
    #[arg(long, short, value_name = "VARIABLE")]
    pub(super) env: Vec<String>,
    /// File with the token of the cluster; without one, MUSTER_TOKEN is passed on if it is set
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Also mount the host's root directory at /host, as serfnode did
    #[arg(long)]
    pub(super) host_root: bool,
    /// Socket of the Docker engine on its host
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
    pub(super) docker_socket: PathBuf,
    /// The docker program
    #[arg(long, value_name = "PROGRAM", default_value = "docker")]
    pub(super) docker: PathBuf,
    /// Return once it is started
    #[arg(long, short)]
    pub(super) detach: bool,
    /// Print the command line instead of running it
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Flags for the daemon
    #[arg(last = true, value_name = "FLAGS")]
    pub(super) flags: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where to write them; made if missing
    #[arg(default_value = ".")]
    pub(super) directory: PathBuf,
    /// Role of the node
    #[arg(long, default_value = "web")]
    pub(super) role: String,
    /// Image to build on
    #[arg(long, default_value = "muster-shell")]
    pub(super) image: String,
}

#[derive(Debug, Args)]
pub(super) struct Proto {
    /// Where to write them; made if missing
    pub(super) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Serf {
    /// A command of serf and its arguments, such as members -status alive
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(super) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    pub(super) shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_that_a_regular_expression_matches() {
        use pb::MemberStatus::{Alive, Failed, Leaving, Left};
        let read = |text| some_statuses(text).map(|statuses| statuses.0);
        assert_eq!(read("alive"), Ok(vec![Alive]));
        assert_eq!(read("left|failed"), Ok(vec![Left, Failed]));
        assert_eq!(read("(alive|left)"), Ok(vec![Alive, Left]));
        assert_eq!(read("le.*"), Ok(vec![Leaving, Left]));
        for text in ["", "Alive", "(alive", "dead", "(.{1000}){1000}"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(statuses("dead"), Ok(Statuses(Vec::new())));
    }
}
