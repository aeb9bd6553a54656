//! `muster serf COMMAND`: the commands of serf, for scripts that call them. The link
//! `serf` to the daemon's program ends here for all but `serf agent`.
//!
//! What scripts read (members, event, join, leave, force-leave, tags) prints as serf
//! does; the other commands are those of muster, with serf's way of writing flags. Exit
//! codes are serf's, 0 and 1. The daemon is asked over its socket, so neither address
//! nor token of serf's RPC matters but to find it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde::Serialize;

use crate::cli::args::{self, Cli};
use crate::cli::failure::Failure;
use crate::cli::text::{escape, parse_pair};
use crate::cli::{CALL_TIMEOUT, CLUSTER_TIMEOUT, Context, table};
use crate::{Outcome, display_name, pb, status_name};

/// Where serf's agent is asked unless told otherwise.
const RPC: &str = "127.0.0.1:7373";

/// Flags of serf's commands that stand alone; all others take a value.
const SWITCHES: [&str; 7] = [
    "coalesce", "detailed", "list", "no-ack", "prune", "replay", "verbose",
];

/// A command line of serf, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    flags: Vec<(String, String)>,
    words: Vec<String>,
}

#[derive(Serialize)]
struct Members<'a> {
    members: Vec<Member<'a>>,
}

#[derive(Serialize)]
struct Member<'a> {
    name: &'a str,
    addr: String,
    port: u32,
    tags: &'a BTreeMap<String, String>,
    status: &'static str,
    protocol: BTreeMap<&'static str, u32>,
}

pub(super) async fn run(context: &mut Context, args: &args::Serf) -> Result<(), Failure> {
    let (command, rest) = args
        .args
        .split_first()
        .ok_or_else(|| Failure::refused("which command of serf?"))?;
    let line = Line::parse(rest)?;
    if context.socket.is_none() {
        context.socket = socket(&line)?;
    }
    let done = match command.as_str() {
        "members" => members(context, &line).await,
        "event" => event(context, &line).await,
        "join" => join(context, &line).await,
        "leave" => leave(context).await,
        "force-leave" => force_leave(context, &line).await,
        "tags" => tags(context, &line).await,
        _ => other(context, command, &line).await,
    };
    // serf knows no other code.
    done.map_err(|failure| Failure::refused(failure.text))
}

async fn members(context: &mut Context, line: &Line) -> Result<(), Failure> {
    let mut filter = pb::MemberFilter {
        name_regex: line.last("name").unwrap_or_default().to_owned(),
        tags: line.pairs("tag")?,
        ..pb::MemberFilter::default()
    };
    if let Some(role) = line.last("role") {
        filter.tags.insert("role".to_owned(), role.to_owned());
    }
    if let Some(text) = line.last("status") {
        let mut statuses = args::statuses(text).map_err(Failure::refused)?.0;
        if statuses.is_empty() {
            // The API would take no state for all.
            return show(context, line, &[]);
        }
        if statuses.contains(&pb::MemberStatus::Alive) {
            statuses.push(pb::MemberStatus::Suspect);
        }
        filter.statuses = statuses.into_iter().map(i32::from).collect();
    }
    let client = context.client()?;
    let found = context
        .deadline(CALL_TIMEOUT, client.members(filter))
        .await?;
    show(context, line, &found.items)
}

fn show(context: &mut Context, line: &Line, members: &[pb::Member]) -> Result<(), Failure> {
    match line.last("format").unwrap_or("text") {
        "json" => {
            let members = members.iter().map(Member::of).collect();
            let object = Members { members };
            let text = serde_json::to_string_pretty(&object);
            let text = text.map_err(|error| Failure::refused(error.to_string()))?;
            context.out.line(&text)
        }
        "text" => {
            let rows = members
                .iter()
                .map(|member| row(member, line.has("detailed")));
            context.out.line(&columns(&rows.collect::<Vec<_>>()))
        }
        other => Err(Failure::refused(format!(
            "{other:?} is no format: text or json"
        ))),
    }
}

async fn event(context: &mut Context, line: &Line) -> Result<(), Failure> {
    let (name, payload) = match line.words.as_slice() {
        [name] => (name, ""),
        [name, payload] => (name, payload.as_str()),
        [] => return Err(Failure::refused("an event name must be specified")),
        _ => return Err(Failure::refused("too many arguments: a name and a payload")),
    };
    let client = context.client()?;
    let level = pb::ReceiptLevel::Replicated;
    let call = client.send_event(name, payload.to_owned(), level);
    if let Outcome::Rejected(rejected) = context.deadline(CLUSTER_TIMEOUT, call).await? {
        return Err(Failure::refused(rejected.message));
    }
    let name = escape(name);
    context.out.line(&format!(
        "Event '{name}' dispatched! Coalescing enabled: false"
    ))
}

async fn join(context: &mut Context, line: &Line) -> Result<(), Failure> {
    if line.words.is_empty() {
        return Err(Failure::refused(
            "at least one address to join must be specified",
        ));
    }
    let client = context.client()?;
    let call = client.join(line.words.clone());
    let answer = context.deadline(CLUSTER_TIMEOUT, call).await?;
    let contacted = answer.results.iter().filter(|result| result.ok).count();
    context.out.line(&format!(
        "Successfully joined cluster by contacting {contacted} nodes."
    ))
}

async fn leave(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    context
        .deadline(CLUSTER_TIMEOUT, client.leave(false))
        .await?;
    context.out.line("Graceful leave complete")
}

async fn force_leave(context: &mut Context, line: &Line) -> Result<(), Failure> {
    let [name] = line.words.as_slice() else {
        return Err(Failure::refused("one node name must be specified"));
    };
    let client = context.client()?;
    let call = client.force_leave(name, line.has("prune"));
    context.deadline(CALL_TIMEOUT, call).await?;
    Ok(())
}

async fn tags(context: &mut Context, line: &Line) -> Result<(), Failure> {
    let set = line.pairs("set")?;
    let delete: Vec<String> = line.all("delete").map(str::to_owned).collect();
    if set.is_empty() && delete.is_empty() {
        return Err(Failure::refused("give -set key=value or -delete key"));
    }
    let client = context.client()?;
    let call = client.update_tags(set, delete);
    context.deadline(CALL_TIMEOUT, call).await?;
    context.out.line("Successfully updated agent tags")
}

/// A command of muster with the flags of serf.
async fn other(context: &mut Context, command: &str, line: &Line) -> Result<(), Failure> {
    let own = line
        .flags
        .iter()
        .filter(|(name, _)| !name.starts_with("rpc-"));
    let flags = own.map(|(name, value)| match SWITCHES.contains(&name.as_str()) {
        true => format!("--{name}"),
        false => format!("--{name}={value}"),
    });
    let mut words: Vec<OsString> = vec!["muster".into(), command.into()];
    words.extend(flags.map(OsString::from));
    words.extend(line.words.iter().map(OsString::from));
    let cli = Cli::try_parse_from(words).map_err(|error| Failure::refused(error.to_string()))?;
    Box::pin(context.run(cli.command)).await
}

impl Line {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let mut line = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
            let Some(flag) = flag.filter(|flag| !flag.is_empty() && line.words.is_empty()) else {
                line.words.push(arg.clone());
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if SWITCHES.contains(&flag) => (flag, "true".to_owned()),
                None => match args.next() {
                    Some(value) => (flag, value.clone()),
                    None => {
                        return Err(Failure::refused(format!("the value of -{flag} is missing")));
                    }
                },
            };
            line.flags.push((name.to_owned(), value));
        }
        Ok(line)
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.flags.iter().filter(move |(flag, _)| flag == name);
        own.map(|(_, value)| value.as_str())
    }

    fn last<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).last()
    }

    fn has(&self, name: &str) -> bool {
        self.last(name)
            .is_some_and(|value| matches!(value, "true" | "1" | "t" | "T"))
    }

    fn pairs(&self, name: &str) -> Result<BTreeMap<String, String>, Failure> {
        let pairs = self.all(name).map(parse_pair);
        pairs.collect::<Result<_, _>>().map_err(Failure::refused)
    }
}

impl<'a> Member<'a> {
    fn of(member: &'a pb::Member) -> Self {
        let protocol = member.protocol;
        Self {
            name: display_name(member),
            addr: table::address(&member.gossip_ip, member.gossip_port),
            port: member.gossip_port,
            tags: &member.tags,
            status: status(member),
            protocol: [("max", protocol), ("min", protocol), ("version", protocol)].into(),
        }
    }
}

/// Cells of a member as serf prints them.
fn row(member: &pb::Member, detailed: bool) -> Vec<String> {
    let tags = member
        .tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let mut row = vec![
        display_name(member).to_owned(),
        table::address(&member.gossip_ip, member.gossip_port),
        status(member).to_owned(),
        tags.collect::<Vec<_>>().join(","),
    ];
    if detailed {
        let protocol = member.protocol;
        row.push(format!("Protocol Version: {protocol}"));
        row.push(format!(
            "Available Protocol Range: [{protocol}, {protocol}]"
        ));
    }
    row.iter().map(|cell| escape(cell)).collect()
}

/// serf shows nobody as suspect.
fn status(member: &pb::Member) -> &'static str {
    let status = member.status();
    if status == pb::MemberStatus::Suspect {
        return status_name(pb::MemberStatus::Alive);
    }
    status_name(status)
}

/// Columns two blanks apart, the last cell of each line as it is.
fn columns(rows: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let last = row.len().saturating_sub(1);
        let cells = row.iter().zip(&widths).enumerate();
        let cell = |(index, (cell, width)): (usize, (&String, &usize))| match index == last {
            true => cell.clone(),
            // Without a width of `format!`, which has 16 bits: tags may be longer.
            false => {
                let blanks = width.saturating_sub(cell.chars().count());
                format!("{cell}{}  ", " ".repeat(blanks))
            }
        };
        cells.map(cell).collect::<String>()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The socket of the daemon whose RPC address is asked for; the daemon names it so when
/// it is called as serf's agent. `None` lets muster look for it as always.
fn socket(line: &Line) -> Result<Option<String>, Failure> {
    let of = |variable: &str| std::env::var(variable).ok();
    let rpc = line.last("rpc-addr").map(str::to_owned);
    let rpc = rpc.or_else(|| of("SERF_RPC_ADDR")).unwrap_or_default();
    let directories = [
        Some(PathBuf::from("/run/muster")),
        of("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("muster")),
        of("HOME").map(|dir| Path::new(&dir).join(".muster")),
    ];
    let Some(name) = socket_name(&rpc)? else {
        return Ok(None);
    };
    let paths = directories.into_iter().flatten().map(|dir| dir.join(&name));
    let paths: Vec<PathBuf> = paths.collect();
    let found = paths.iter().find(|path| path.exists());
    match found {
        Some(path) => Ok(Some(path.display().to_string())),
        None if name == "api.sock" => Ok(None),
        None => Err(Failure::refused(format!(
            "no daemon with the RPC address {rpc}: there is no {name} in {}",
            paths
                .iter()
                .filter_map(|path| path.parent())
                .map(|dir| dir.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

fn socket_name(rpc: &str) -> Result<Option<String>, Failure> {
    if rpc.is_empty() || rpc == RPC {
        return Ok(Some("api.sock".to_owned()));
    }
    let address: SocketAddr = rpc
        .replace("localhost:", "127.0.0.1:")
        .parse()
        .map_err(|_not_one| Failure::refused(format!("{rpc:?} is no IP:PORT")))?;
    let (ip, port) = (address.ip(), address.port());
    Ok(Some(format!("serf-{ip}-{port}.sock")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &[&str]) -> Result<Line, Failure> {
        Line::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_written_as_for_serf() {
        let read = line(&[
            "-coalesce=false",
            "-tag",
            "a=1",
            "--tag=b=2",
            "-detailed",
            "x",
            "-y",
        ]);
        let read = read.unwrap();
        assert_eq!(read.words, ["x", "-y"]);
        assert!(read.has("detailed") && !read.has("coalesce") && !read.has("prune"));
        let tags = read.pairs("tag").unwrap();
        assert_eq!((tags["a"].as_str(), tags["b"].as_str()), ("1", "2"));
        assert!(line(&["-tag"]).is_err());
        assert!(line(&["-tag", "x"]).unwrap().pairs("tag").is_err());
    }

    #[test]
    fn members_print_as_serf_prints_them() {
        let mut one = pb::Member {
            name: "s1".into(),
            gossip_ip: "127.0.0.1".into(),
            gossip_port: 7946,
            protocol: 1,
            ..pb::Member::default()
        };
        one.set_status(pb::MemberStatus::Suspect);
        one.tags.insert("b".into(), "2".into());
        one.tags.insert("a".into(), "1".into());
        let mut two = one.clone();
        two.name = "longer".into();
        two.tags.clear();
        two.set_status(pb::MemberStatus::Left);
        let rows = [row(&one, false), row(&two, false)];
        assert_eq!(
            columns(&rows),
            "s1      127.0.0.1:7946  alive  a=1,b=2\nlonger  127.0.0.1:7946  left   "
        );
        assert!(
            columns(&[row(&one, true)])
                .ends_with("a=1,b=2  Protocol Version: 1  Available Protocol Range: [1, 1]")
        );
        assert_eq!(columns(&[]), "");
        // Tags have up to 64 KiB, and are escaped.
        let long = "x".repeat(70_000);
        let rows = [long.as_str(), "y"].map(|cell| vec![cell.to_owned(), "end".to_owned()]);
        assert!(columns(&rows).ends_with(&format!("\ny{}  end", " ".repeat(69_999))));
    }

    #[test]
    fn a_daemon_is_found_by_its_rpc_address() {
        let name = |rpc| socket_name(rpc).map(Option::unwrap_or_default);
        assert_eq!(name("").unwrap(), "api.sock");
        assert_eq!(name(RPC).unwrap(), "api.sock");
        assert_eq!(name("localhost:7374").unwrap(), "serf-127.0.0.1-7374.sock");
        assert!(name("nowhere").is_err());
    }
}
