//! `muster containers` and `muster inspect`.

use std::collections::BTreeMap;

use comfy_table::{Cell, Color};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::args::{ContainerList, Inspect};
use crate::cli::failure::Failure;
use crate::cli::text::{age, escape, rfc3339};
use crate::cli::{CALL_TIMEOUT, CLUSTER_TIMEOUT, Context, note, table};
use crate::{ContainerWatchOptions, pb};

/// Digits of an id that people are shown, as Docker does.
const ID_DIGITS: usize = 12;

#[derive(Serialize)]
pub(super) struct Containers<'a> {
    containers: Vec<Container<'a>>,
}

/// One container in JSON.
#[derive(Serialize)]
pub(super) struct Container<'a> {
    node: &'a str,
    name: &'a str,
    id: &'a str,
    image: &'a str,
    image_id: &'a str,
    state: &'a str,
    health: &'static str,
    roles: &'a [String],
    labels: &'a BTreeMap<String, String>,
    labels_left_out: u32,
    ports: Vec<Port<'a>>,
    ip_by_network: &'a BTreeMap<String, String>,
    created_at: Option<String>,
    started_at: Option<String>,
    exit_code: Option<i64>,
    stale_since: Option<String>,
    stale_reason: Option<&'static str>,
    local: bool,
    files: Option<&'static str>,
    files_problem: Option<&'a str>,
}

#[derive(Serialize)]
struct Port<'a> {
    container_port: u32,
    protocol: &'a str,
    host_ip: &'a str,
    host_port: u32,
}

pub(super) async fn run(context: &mut Context, args: &ContainerList) -> Result<(), Failure> {
    let client = context.client()?;
    let options = options(args);
    let call = client.containers(&options);
    let containers = context.deadline(CALL_TIMEOUT, call).await?.items;
    let colour = context.out.colour();
    let json = Containers::of(&containers);
    context.out.answer(&json, || match containers.is_empty() {
        true => String::new(),
        false => lines(&containers, Timestamp::now(), colour).join("\n"),
    })?;
    if containers.is_empty() {
        return Err(Failure::empty("no container matches"));
    }
    Ok(())
}

/// The engine's own JSON, as Docker prints it: a list of one.
pub(super) async fn inspect(context: &mut Context, args: &Inspect) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.inspect_container(&args.container, &args.node);
    let answer = context.deadline(CLUSTER_TIMEOUT, call).await?;
    if let Some(since) = rfc3339(answer.stale_since.as_ref()) {
        note(&format!(
            "the engine of {} is away: this is as of {since}",
            answer.node
        ));
    }
    let mut text = Vec::with_capacity(answer.inspect_json.len() + 3);
    text.push(b'[');
    text.extend_from_slice(&answer.inspect_json);
    text.extend_from_slice(b"]\n");
    context.out.raw(&text)
}

/// What the options of the command line ask for.
pub(super) fn options(args: &ContainerList) -> ContainerWatchOptions {
    let label = |text: &String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text.clone(), "*".to_owned()),
    };
    let states = match (args.all, args.state.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => vec!["running".to_owned()],
        (false, false) => args.state.clone(),
    };
    ContainerWatchOptions {
        filter: pb::ContainerFilter {
            names: args.name.clone(),
            nodes: args.node.clone(),
            states,
            labels: args.labels.iter().map(label).collect(),
            roles: args.role.clone(),
            ..pb::ContainerFilter::default()
        },
        local_only: args.local,
        ..ContainerWatchOptions::default()
    }
}

/// `containers` and its live view, by node and name. STALE is shown where something may be
/// old, FILES where somebody is a child of its node.
pub(super) fn lines<'a>(
    containers: impl IntoIterator<Item = &'a pb::Container>,
    now: Timestamp,
    colour: bool,
) -> Vec<String> {
    let mut containers: Vec<_> = containers.into_iter().collect();
    containers.sort_by_key(|one| (&one.node, &one.name, &one.id));
    let stale = containers.iter().any(|one| one.stale_since.is_some());
    let mut header = vec![
        "NODE", "NAME", "ID", "IMAGE", "STATE", "SINCE", "ROLES", "PORTS",
    ];
    if stale {
        header.push("STALE");
    }
    let children = containers.iter().any(|one| files(one).is_some());
    if children {
        header.push("FILES");
    }
    let row = |one: &&pb::Container| {
        let since = one.started_at.as_ref().or(one.created_at.as_ref());
        let mut row = vec![
            Cell::new(escape(&one.node)),
            Cell::new(table::cut(&escape(&one.name))),
            Cell::new(escape(one.id.get(..ID_DIGITS).unwrap_or(&one.id))),
            Cell::new(table::cut(&escape(&one.image))),
            state(one),
            Cell::new(age(since, now)),
            Cell::new(table::cut(&escape(&one.roles.join(",")))),
            Cell::new(table::cut(&ports(one))),
        ];
        if stale {
            let since = one.stale_since.as_ref();
            let text = since.map_or_else(String::new, |_| {
                let why = stale_reason(one).unwrap_or("unknown");
                format!("{why} away for {}", age(since, now))
            });
            row.push(Cell::new(text).fg(Color::Yellow));
        }
        if children {
            row.push(files_cell(one));
        }
        row
    };
    table::lines(&header, containers.iter().map(row).collect(), colour)
}

/// One line for those who follow: `n1/web running (healthy)`.
pub(super) fn describe(one: &pb::Container) -> String {
    let stale = stale_reason(one).map_or_else(String::new, |why| format!(" ({why} away)"));
    let undeliverable = one.files() == pb::FileDelivery::Undeliverable;
    let files = undeliverable.then(|| format!(", files {}", files_text(one)));
    let files = files.unwrap_or_default();
    format!(
        "{}/{} {}{stale}{files}",
        escape(&one.node),
        escape(&one.name),
        state_text(one)
    )
}

fn state(one: &pb::Container) -> Cell {
    let cell = Cell::new(state_text(one));
    let sick = one.health() == pb::ContainerHealth::Unhealthy;
    match one.state.as_str() {
        "running" if sick => cell.fg(Color::Red),
        "running" => cell.fg(Color::Green),
        "paused" | "restarting" | "removing" => cell.fg(Color::Yellow),
        _ => cell.fg(Color::DarkGrey),
    }
}

/// `running (healthy)`, `exited (137)`.
fn state_text(one: &pb::Container) -> String {
    let state = escape(&one.state);
    match (one.exit_code, health(one.health())) {
        (Some(code), _) => format!("{state} ({code})"),
        (None, "none") => state,
        (None, health) => format!("{state} ({health})"),
    }
}

/// The last column: why is not cut.
fn files_cell(one: &pb::Container) -> Cell {
    let cell = Cell::new(files_text(one));
    match one.files() {
        pb::FileDelivery::Undeliverable => cell.fg(Color::Red),
        pb::FileDelivery::Pending => cell.fg(Color::Yellow),
        pb::FileDelivery::Unspecified | pb::FileDelivery::Delivered => cell,
    }
}

/// `delivered`, `undeliverable: /me.json: ...`; empty for no child.
fn files_text(one: &pb::Container) -> String {
    let word = files(one).unwrap_or_default();
    match one.files_problem.as_str() {
        "" => word.to_owned(),
        why => format!("{word}: {}", escape(why)),
    }
}

fn files(one: &pb::Container) -> Option<&'static str> {
    match one.files() {
        pb::FileDelivery::Unspecified => None,
        pb::FileDelivery::Pending => Some("pending"),
        pb::FileDelivery::Delivered => Some("delivered"),
        pb::FileDelivery::Undeliverable => Some("undeliverable"),
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn ports(one: &pb::Container) -> String {
    let port = |port: &pb::ContainerPort| {
        let inner = format!("{}/{}", port.container_port, escape(&port.protocol));
        match port.host_port {
            0 => inner,
            number => format!("{}->{inner}", table::address(&port.host_ip, number)),
        }
    };
    one.ports.iter().map(port).collect::<Vec<_>>().join(",")
}

const fn health(health: pb::ContainerHealth) -> &'static str {
    match health {
        pb::ContainerHealth::Unspecified | pb::ContainerHealth::None => "none",
        pb::ContainerHealth::Starting => "starting",
        pb::ContainerHealth::Healthy => "healthy",
        pb::ContainerHealth::Unhealthy => "unhealthy",
    }
}

fn stale_reason(one: &pb::Container) -> Option<&'static str> {
    match one.stale_reason() {
        pb::StaleReason::Unspecified => None,
        pb::StaleReason::Node => Some("node"),
        pb::StaleReason::Engine => Some("engine"),
    }
}

impl<'a> Containers<'a> {
    pub(super) fn of(containers: &'a [pb::Container]) -> Self {
        Self {
            containers: containers.iter().map(Container::of).collect(),
        }
    }
}

impl<'a> Container<'a> {
    pub(super) fn of(one: &'a pb::Container) -> Self {
        let ports = one.ports.iter().map(|port| Port {
            container_port: port.container_port,
            protocol: &port.protocol,
            host_ip: &port.host_ip,
            host_port: port.host_port,
        });
        Self {
            node: &one.node,
            name: &one.name,
            id: &one.id,
            image: &one.image,
            image_id: &one.image_id,
            state: &one.state,
            health: health(one.health()),
            roles: &one.roles,
            labels: &one.labels,
            labels_left_out: one.labels_left_out,
            ports: ports.collect(),
            ip_by_network: &one.ip_by_network,
            created_at: rfc3339(one.created_at.as_ref()),
            started_at: rfc3339(one.started_at.as_ref()),
            exit_code: one.exit_code,
            stale_since: rfc3339(one.stale_since.as_ref()),
            stale_reason: stale_reason(one),
            local: one.local,
            files: files(one),
            files_problem: some(&one.files_problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn container() -> pb::Container {
        pb::Container {
            id: "0123456789abcdef".to_owned(),
            name: "web".to_owned(),
            node: "n1".to_owned(),
            image: "nginx".to_owned(),
            state: "running".to_owned(),
            started_at: seconds(940),
            roles: vec!["web".to_owned()],
            ports: vec![pb::ContainerPort {
                container_port: 80,
                protocol: "tcp".to_owned(),
                host_ip: "0.0.0.0".to_owned(),
                host_port: 8_080,
            }],
            ..pb::Container::default()
        }
    }

    #[test]
    fn containers_are_plain_columns_and_what_is_old_says_so() {
        let now = Timestamp::new(1_000, 0).unwrap();
        let one = container();
        assert_eq!(
            lines([&one], now, false),
            [
                "NODE  NAME  ID            IMAGE  STATE    SINCE  ROLES  PORTS",
                "n1    web   0123456789ab  nginx  running  60s    web    0.0.0.0:8080->80/tcp",
            ]
        );
        let (mut first, mut last) = (container(), container());
        (first.name, last.node) = ("app".to_owned(), "n2".to_owned());
        let shown = lines([&last, &one, &first], now, false);
        let begins = |at: usize, text: &str| shown[at].starts_with(text);
        assert!(
            begins(1, "n1    app") && begins(2, "n1    web") && begins(3, "n2    web"),
            "{shown:?}"
        );
        let mut old = container();
        old.name = "w\u{1b}b".to_owned();
        (old.exit_code, old.state) = (Some(137), "exited".to_owned());
        old.stale_since = seconds(990);
        old.set_stale_reason(pb::StaleReason::Engine);
        let shown = lines([&old], now, false);
        assert!(
            shown[1].contains("w\\u{1b}b") && shown[1].contains("exited (137)"),
            "{shown:?}"
        );
        assert!(shown[1].ends_with("engine away for 10s"), "{shown:?}");
        assert_eq!(describe(&old), "n1/w\\u{1b}b exited (137) (engine away)");
    }

    #[test]
    fn children_show_what_became_of_their_files() {
        let now = Timestamp::new(1_000, 0).unwrap();
        let (stranger, mut child, mut bad) = (container(), container(), container());
        child.set_files(pb::FileDelivery::Delivered);
        bad.set_files(pb::FileDelivery::Undeliverable);
        bad.files_problem = format!("/me.json: {}", "long ".repeat(30).trim_end());
        let shown = lines([&stranger, &child, &bad], now, false);
        assert!(
            shown[0].ends_with("PORTS                 FILES"),
            "{shown:?}"
        );
        assert!(shown[1].ends_with("->80/tcp"), "{shown:?}");
        assert!(shown[2].ends_with("->80/tcp  delivered"), "{shown:?}");
        assert!(
            shown[3].contains("  undeliverable: /me.json: long long"),
            "{shown:?}"
        );
        assert!(shown[3].ends_with("long") && shown.len() == 4, "{shown:?}");
        assert!(describe(&bad).starts_with("n1/web running, files undeliverable: /me"));
        assert_eq!(describe(&child), "n1/web running");
        let json = serde_json::to_value(Container::of(&bad)).unwrap();
        assert_eq!(json["files"], "undeliverable");
        assert!(
            json["files_problem"]
                .as_str()
                .unwrap()
                .starts_with("/me.json")
        );
        let json = serde_json::to_value(Container::of(&stranger)).unwrap();
        assert!(json["files"].is_null() && json["files_problem"].is_null());
    }

    #[test]
    fn only_running_ones_are_listed_unless_asked_for() {
        let mut args = ContainerList::default();
        assert_eq!(options(&args).filter.states, ["running"]);
        args.state = vec!["exited".to_owned()];
        assert_eq!(options(&args).filter.states, ["exited"]);
        (args.state, args.all) = (Vec::new(), true);
        args.labels = vec!["app".to_owned(), "tier=front=end".to_owned()];
        let filter = options(&args).filter;
        assert!(filter.states.is_empty());
        assert_eq!(
            (
                filter.labels["app"].as_str(),
                filter.labels["tier"].as_str()
            ),
            ("*", "front=end")
        );
    }
}
