//! Tables without borders.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, Table};
use jiff::Timestamp;

use crate::cli::text::{age, clock, escape};
use crate::{display_name, pb, status_name};

/// Longest text of a cell that holds what others chose (tags), in characters.
const CELL_CHARS_MAX: usize = 60;

/// Lines of a table, the header first.
pub(super) fn lines(header: &[&str], rows: Vec<Vec<Cell>>, colour: bool) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// `members` and its live view. WHY is shown when somebody is not alive, WIRE when
/// somebody talks without encryption or is reached over TCP alone.
pub(super) fn members<'a>(
    members: impl IntoIterator<Item = &'a pb::Member>,
    now: Timestamp,
    colour: bool,
) -> Vec<String> {
    let members: Vec<_> = members.into_iter().collect();
    let alive = pb::MemberStatus::Alive;
    let why = members.iter().any(|member| member.status() != alive);
    let mut header = vec!["NAME", "ADDRESS", "STATUS", "ROLES", "SINCE", "TAGS"];
    let wire = members
        .iter()
        .any(|member| member.plaintext || member.by_tcp);
    if wire {
        header.push("WIRE");
    }
    if why {
        header.push("WHY");
    }
    let row = |member: &&pb::Member| {
        let mut row = vec![
            Cell::new(name(member)),
            Cell::new(address(&member.gossip_ip, member.gossip_port)),
            status(member.status()),
            Cell::new(roles(member)),
            Cell::new(age(since(member), now)),
            Cell::new(tags(&member.tags)),
        ];
        if wire && (member.plaintext || member.by_tcp) {
            row.push(Cell::new(wire_of(member)).fg(Color::Red));
        } else if wire {
            row.push(Cell::new(wire_of(member)));
        }
        if why {
            row.push(Cell::new(reason(member)));
        }
        row
    };
    lines(&header, members.iter().map(row).collect(), colour)
}

/// `members --detailed`: all that is known, nothing cut.
pub(super) fn members_detailed<'a>(
    members: impl IntoIterator<Item = &'a pb::Member>,
    now: Timestamp,
    colour: bool,
) -> Vec<String> {
    let header = [
        "NAME",
        "ADDRESS",
        "STATUS",
        "VERSION",
        "PROTOCOL",
        "BOOT",
        "STARTED",
        "INCARNATION",
        "CHANGES",
        "SINCE",
        "ROLES",
        "TAGS",
        "PORTS",
        "WIRE",
        "WHY",
    ];
    let row = |member: &'a pb::Member| {
        let services = member.roles.iter().map(|role| {
            let address = address(&role.service_ip, role.service_port);
            format!("{}={address}", escape(&role.role))
        });
        let tags = member
            .tags
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        vec![
            Cell::new(name(member)),
            Cell::new(address(&member.gossip_ip, member.gossip_port)),
            status(member.status()),
            Cell::new(escape(&member.version)),
            Cell::new(member.protocol),
            Cell::new(member.boot),
            Cell::new(clock(member.started_at.as_ref())),
            Cell::new(member.incarnation),
            Cell::new(member.transitions),
            Cell::new(age(since(member), now)),
            Cell::new(services.collect::<Vec<_>>().join(",")),
            Cell::new(escape(&tags.collect::<Vec<_>>().join(","))),
            Cell::new(ports(member)),
            Cell::new(wire_of(member)),
            Cell::new(reason(member)),
        ]
    };
    lines(&header, members.into_iter().map(row).collect(), colour)
}

/// `49153->8000/tcp`: where the host publishes the ports of a daemon in a container.
fn ports(member: &pb::Member) -> String {
    let published = member.ports.iter().flat_map(|(port, published)| {
        let host = published.host_ports.iter();
        host.map(move |host| format!("{host}->{port}"))
    });
    escape(&published.collect::<Vec<_>>().join(","))
}

/// How a member is talked to.
fn wire_of(member: &pb::Member) -> &'static str {
    match (member.plaintext, member.by_tcp) {
        (false, false) => "sealed",
        (true, false) => "PLAINTEXT",
        (false, true) => "sealed, TCP ONLY",
        (true, true) => "PLAINTEXT, TCP ONLY",
    }
}

/// A status in its colour.
pub(super) fn status(status: pb::MemberStatus) -> Cell {
    let cell = Cell::new(status_name(status));
    match status {
        pb::MemberStatus::Alive => cell.fg(Color::Green),
        pb::MemberStatus::Suspect | pb::MemberStatus::Leaving => cell.fg(Color::Yellow),
        pb::MemberStatus::Failed => cell.fg(Color::Red),
        pb::MemberStatus::Left | pb::MemberStatus::Unspecified => cell.fg(Color::DarkGrey),
    }
}

/// `did not answer probes, says n2`; empty for those alive.
pub(super) fn reason(member: &pb::Member) -> String {
    let Some(change) = &member.status_change else {
        return String::new();
    };
    if member.status() == pb::MemberStatus::Alive {
        return String::new();
    }
    let by = if change.by.is_empty() {
        String::new()
    } else {
        format!(", says {}", change.by)
    };
    escape(&format!("{}{by}", change.reason))
}

/// `IP:PORT`, IPv6 in brackets; `-` if there is none.
pub(super) fn address(ip: &str, port: u32) -> String {
    match (ip, port) {
        ("", _) => "-".to_owned(),
        (ip, 0) => escape(ip),
        (ip, port) if ip.contains(':') => format!("[{}]:{port}", escape(ip)),
        (ip, port) => format!("{}:{port}", escape(ip)),
    }
}

pub(super) fn tags(tags: &std::collections::BTreeMap<String, String>) -> String {
    let tags: Vec<String> = tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    cut(&escape(&tags.join(",")))
}

/// Cuts to the width of a cell.
pub(super) fn cut(text: &str) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    format!("{kept}…")
}

fn name(member: &pb::Member) -> String {
    let name = escape(display_name(member));
    if member.self_ {
        format!("{name} *")
    } else {
        name
    }
}

fn roles(member: &pb::Member) -> String {
    let roles: Vec<&str> = member.roles.iter().map(|role| role.role.as_str()).collect();
    cut(&escape(&roles.join(",")))
}

fn since(member: &pb::Member) -> Option<&prost_types::Timestamp> {
    let change = member.status_change.as_ref();
    change
        .and_then(|change| change.at.as_ref())
        .or(member.started_at.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, status: pb::MemberStatus) -> pb::Member {
        pb::Member {
            name: name.into(),
            status: status.into(),
            gossip_ip: "10.0.0.1".into(),
            gossip_port: 7946,
            started_at: Some(prost_types::Timestamp {
                seconds: 940,
                nanos: 0,
            }),
            ..pb::Member::default()
        }
    }

    #[test]
    fn members_are_plain_columns() {
        let mut one = member("n1", pb::MemberStatus::Alive);
        one.self_ = true;
        one.roles.push(pb::RoleInstance {
            role: "web".into(),
            ..pb::RoleInstance::default()
        });
        one.tags.insert("zone".into(), "a".into());
        let two = member("longer-name", pb::MemberStatus::Alive);
        let now = Timestamp::new(1000, 0).unwrap();
        assert_eq!(
            members([&one, &two], now, false),
            [
                "NAME         ADDRESS        STATUS  ROLES  SINCE  TAGS",
                "n1 *         10.0.0.1:7946  alive   web    60s    zone=a",
                "longer-name  10.0.0.1:7946  alive          60s",
            ]
        );
    }

    #[test]
    fn why_is_told_for_those_who_are_not_alive() {
        let mut failed = member("n\u{1b}2", pb::MemberStatus::Failed);
        failed.status_change = Some(pb::StatusChange {
            by: "n3".into(),
            at: Some(prost_types::Timestamp {
                seconds: 990,
                nanos: 0,
            }),
            reason: "did not refute a suspicion in time".into(),
        });
        let now = Timestamp::new(1000, 0).unwrap();
        let lines = members([&failed], now, false);
        assert!(lines[0].ends_with("TAGS  WHY"), "{lines:?}");
        assert!(
            lines[1].contains("n\\u{1b}2") && lines[1].contains("10s"),
            "{lines:?}"
        );
        assert!(lines[1].ends_with("did not refute a suspicion in time, says n3"));
        let coloured = members([&failed], now, true).join("\n");
        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
    }

    #[test]
    fn plaintext_is_loud() {
        let sealed = member("n1", pb::MemberStatus::Alive);
        let mut open = member("n2", pb::MemberStatus::Alive);
        open.plaintext = true;
        let now = Timestamp::new(1000, 0).unwrap();
        let lines = members([&sealed, &open], now, false);
        assert!(lines[0].ends_with("TAGS  WIRE"), "{lines:?}");
        assert!(lines[1].ends_with("sealed"), "{lines:?}");
        assert!(lines[2].ends_with("PLAINTEXT"), "{lines:?}");
    }

    #[test]
    fn details_show_published_ports() {
        let mut one = member("n1", pb::MemberStatus::Alive);
        let host_ports = vec!["49153".to_owned(), "49154".to_owned()];
        let published = pb::PublishedPorts { host_ports };
        one.ports.insert("8000/tcp".to_owned(), published);
        let now = Timestamp::new(1000, 0).unwrap();
        let lines = members_detailed([&one], now, false);
        assert!(lines[0].contains("  PORTS  "), "{lines:?}");
        let shown = "  49153->8000/tcp,49154->8000/tcp  ";
        assert!(lines[1].contains(shown), "{lines:?}");
    }

    #[test]
    fn addresses_and_long_cells() {
        assert_eq!(address("::1", 80), "[::1]:80");
        assert_eq!(address("10.0.0.1", 0), "10.0.0.1");
        assert_eq!(address("", 0), "-");
        assert_eq!(cut(&"x".repeat(80)).chars().count(), CELL_CHARS_MAX);
    }
}
