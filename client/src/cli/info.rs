//! `muster info` and `muster version`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::args::Info;
use crate::cli::failure::Failure;
use crate::cli::text::{clock, escape, rfc3339};
use crate::cli::{CALL_TIMEOUT, Context, json, table};
use crate::{display_name, pb, status_name};

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
struct Answer<'a> {
    cluster: &'a str,
    version: &'a str,
    started_at: Option<String>,
    bind: &'a str,
    encrypted: bool,
    sockets: &'a [String],
    capabilities: &'a [String],
    features: &'a [String],
    log_filter: &'a str,
    warnings: &'a [String],
    epoch: Option<&'a str>,
    revision: Option<u64>,
    counters: &'a BTreeMap<String, u64>,
    #[serde(rename = "self")]
    this: Option<json::Member<'a>>,
}

#[derive(Serialize)]
struct Versions<'a> {
    client: &'static str,
    daemon: Option<&'a str>,
}

pub(super) async fn run(context: &mut Context, args: &Info) -> Result<(), Failure> {
    let client = context.client()?;
    if args.metrics {
        let metrics = context.deadline(CALL_TIMEOUT, client.metrics()).await?;
        return context.out.raw(metrics.as_bytes());
    }
    let info = context.deadline(CALL_TIMEOUT, client.info()).await?;
    context
        .out
        .answer(&Answer::of(&info), || lines(&info, args.all).join("\n"))
}

pub(super) async fn version(context: &mut Context) -> Result<(), Failure> {
    let daemon = match context.client() {
        Ok(client) => context.deadline(CALL_TIMEOUT, client.info()).await,
        Err(failure) => Err(failure),
    };
    let object = Versions {
        client: VERSION,
        daemon: daemon.as_ref().ok().map(|info| info.version.as_str()),
    };
    context.out.answer(&object, || {
        let daemon = match &daemon {
            Ok(info) => escape(&info.version),
            Err(failure) => format!("not reached ({})", escape(&failure.text)),
        };
        format!("muster {VERSION}\nmusterd {daemon}")
    })
}

impl<'a> Answer<'a> {
    fn of(info: &'a pb::GetInfoResponse) -> Self {
        let position = info.position.as_ref();
        Self {
            cluster: &info.cluster,
            version: &info.version,
            started_at: rfc3339(info.started_at.as_ref()),
            bind: &info.bind,
            encrypted: info.encrypted,
            sockets: &info.sockets,
            capabilities: &info.capabilities,
            features: &info.features,
            log_filter: &info.log_filter,
            warnings: &info.warnings,
            epoch: position.map(|position| position.epoch.as_str()),
            revision: position.map(|position| position.revision),
            counters: &info.counters,
            this: info.self_.as_ref().map(json::Member::of),
        }
    }
}

/// What needs attention, then who and where, then the counters in groups.
fn lines(info: &pb::GetInfoResponse, all: bool) -> Vec<String> {
    let line = |key: &str, value: &str| format!("{key:<13} {}", escape(value));
    let mut lines = Vec::new();
    for warning in &info.warnings {
        lines.push(line("WARNING", warning));
    }
    let mut put = |key: &str, value: &str| lines.push(line(key, value));
    if let Some(member) = &info.self_ {
        put("name", display_name(member));
        put("status", status_name(member.status()));
        put(
            "address",
            &table::address(&member.gossip_ip, member.gossip_port),
        );
    }
    put("cluster", &info.cluster);
    put("encrypted", if info.encrypted { "yes" } else { "NO" });
    put("version", &info.version);
    put("started", &clock(info.started_at.as_ref()));
    put("bind", &info.bind);
    put("sockets", &info.sockets.join(" "));
    put("you may", &info.capabilities.join(", "));
    put("features", &info.features.join(", "));
    put("log filter", &info.log_filter);
    lines.extend(counters(&info.counters, all));
    lines
}

/// A block for each first word of the names, with the names under it. Counters at 0
/// are left out unless `all`.
fn counters(counters: &BTreeMap<String, u64>, all: bool) -> Vec<String> {
    let group = |name: &str| name.split('_').next().unwrap_or_default().to_owned();
    let shown = counters.iter().filter(|(_, count)| all || **count > 0);
    let mut lines = Vec::new();
    let mut last = None;
    for (name, count) in shown {
        let group = Some(group(name));
        if group != last {
            lines.push(String::new());
            last = group;
        }
        lines.push(format!("{:<38} {count}", escape(name)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_in_groups_and_zeros_are_left_out() {
        let given = [("datagrams_sent", 3), ("datagrams_late", 0), ("events", 1)];
        let given = given.map(|(name, count)| (name.to_owned(), count)).into();
        let names = |all| -> Vec<String> {
            let lines = counters(&given, all);
            let first = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
            lines.iter().map(first).collect()
        };
        assert_eq!(names(false), ["", "datagrams_sent", "", "events"]);
        let all = ["", "datagrams_late", "datagrams_sent", "", "events"];
        assert_eq!(names(true), all);
    }

    #[test]
    fn warnings_come_first() {
        let info = pb::GetInfoResponse {
            warnings: vec!["not encrypted".to_owned()],
            ..pb::GetInfoResponse::default()
        };
        assert_eq!(lines(&info, false)[0], "WARNING       not encrypted");
    }
}
