//! What a script is told: serf's environment and standard input to the byte, and
//! more variables of our own.
//!
//! serf's contract: `agent/invoke.go` of serf 0.9. Its standard input has the order
//! of tags at random; ours is sorted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use muster_engine::Member;

use super::job::Cause;

/// Variables of a call.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// What a script is told of this node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// This node.
    pub(super) me: &'a Member,
    /// The API socket.
    pub(super) socket: &'a Path,
    /// Where serf's RPC is served, if it is.
    pub(super) serf_rpc: Option<&'a str>,
    /// When the script will be killed, milliseconds since 1970.
    pub(super) deadline_unix_ms: u64,
}

/// The tag `role`, as serf has it, else the first role.
fn role(member: &Member) -> &str {
    let first = || member.roles.first().map_or("", |role| role.name.as_str());
    member.tags.get("role").map_or_else(first, String::as_str)
}

/// Adds the variables of a call to those that the daemon hands on.
pub(super) fn environment(
    mut variables: Environment,
    cause: &Cause,
    around: &Surroundings<'_>,
) -> Environment {
    let mut set = |name: &str, value: &str| {
        variables.insert(name.into(), value.into());
    };
    set("SERF_EVENT", cause.word());
    set("SERF_SELF_NAME", &around.me.name);
    set("SERF_SELF_ROLE", role(around.me));
    for (key, value) in &around.me.tags {
        set(&format!("SERF_TAG_{}", variable(key)), value);
    }
    if let Some(address) = around.serf_rpc {
        set("SERF_RPC_ADDR", address);
    }
    set("MUSTER_SOCKET", &around.socket.to_string_lossy());
    set("MUSTER_DEADLINE", &around.deadline_unix_ms.to_string());
    if let Some(id) = cause.id() {
        set("MUSTER_EVENT_ID", &id);
    }
    match cause {
        Cause::Members { members, .. } => {
            set("MUSTER_MEMBER_COUNT", &members.len().to_string());
            let ports: Vec<_> = members
                .iter()
                .map(|member| member.addr.port().to_string())
                .collect();
            set("MUSTER_MEMBER_PORTS", &ports.join(" "));
            if let [member] = members.as_slice() {
                set("MUSTER_MEMBER_NAME", &member.name);
                set(
                    "MUSTER_MEMBER_ADDR",
                    &member.addr.ip().to_canonical().to_string(),
                );
                set("MUSTER_MEMBER_PORT", &ports.join(" "));
                set("MUSTER_MEMBER_BOOT", &member.boot.to_string());
            }
        }
        Cause::User { event, redelivered } => {
            set("SERF_USER_EVENT", &event.name);
            set("SERF_USER_LTIME", &event.lamport.to_string());
            set("MUSTER_ORIGIN", &event.origin.name);
            if *redelivered {
                set("MUSTER_REDELIVERED", "1");
            }
        }
        Cause::Query(query) => {
            set("SERF_QUERY_NAME", &query.name);
            set("SERF_QUERY_LTIME", &query.lamport.to_string());
            set("MUSTER_ORIGIN", &query.id.origin);
        }
    }
    variables
}

/// What serf makes of the name of a tag: upper case, all but `A-Z`, `0-9` and `_`
/// replaced by `_`.
fn variable(key: &str) -> String {
    let letter = |c: char| {
        if matches!(c, 'A'..='Z' | '0'..='9' | '_') {
            c
        } else {
            '_'
        }
    };
    key.to_ascii_uppercase().chars().map(letter).collect()
}

/// serf's standard input: a line for each member, or the payload with a line end.
pub(super) fn stdin(cause: &Cause) -> Bytes {
    match cause {
        Cause::Members { members, .. } => {
            let mut lines = String::new();
            for member in members {
                line(&mut lines, member);
            }
            lines.into()
        }
        Cause::User { event, .. } => with_line_end(&event.payload),
        Cause::Query(query) => with_line_end(&query.payload),
    }
}

/// `NAME\tADDR\tROLE\tKEY=VALUE,KEY=VALUE\n`. Tabs and line ends in a field are
/// written as `\t` and `\n`; nothing else is escaped, not even the comma.
fn line(lines: &mut String, member: &Member) {
    let tags: Vec<_> = member
        .tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let (name, role, tags) = (
        clean(&member.name),
        clean(role(member)),
        clean(&tags.join(",")),
    );
    let ip = member.addr.ip().to_canonical();
    // Writing to a string does not fail.
    let _written = writeln!(lines, "{name}\t{ip}\t{role}\t{tags}");
}

fn clean(field: &str) -> String {
    field.replace('\t', "\\t").replace('\n', "\\n")
}

fn with_line_end(payload: &Bytes) -> Bytes {
    match payload.last() {
        None | Some(b'\n') => payload.clone(),
        Some(_) => [payload, &b"\n"[..]].concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use muster_engine::Event;

    use super::*;
    use crate::handlers::spec::MemberKind;
    use crate::hub::testing::{member, origin, with_tag};
    use crate::queries::{Query, QueryId};

    const HEAD: &str = "MUSTER_DEADLINE=99 MUSTER_SOCKET=/s SERF_SELF_NAME=k1 SERF_SELF_ROLE=db \
                        SERF_TAG_E= SERF_TAG_K=a,b=c SERF_TAG_ROLE=db SERF_TAG_T=a\tb\nc SERF_TAG_WEB_TIER=x";

    /// The member of whom the goldens of a real serf agent (0.9.4) were taken.
    fn me() -> Member {
        let tags = [
            ("role", "db"),
            ("web-tier", "x"),
            ("k", "a,b=c"),
            ("e", ""),
            ("t", "a\tb\nc"),
        ];
        tags.iter().fold(member("k1", 1, &[]), |me, (key, value)| {
            with_tag(me, key, value)
        })
    }

    fn told(cause: &Cause) -> (String, String) {
        let me = me();
        let around = Surroundings {
            me: &me,
            socket: Path::new("/s"),
            serf_rpc: None,
            deadline_unix_ms: 99,
        };
        let variables = environment(Environment::new(), cause, &around);
        let text: Vec<_> = variables
            .iter()
            .map(|(key, value)| format!("{}={}", key.display(), value.display()))
            .collect();
        let stdin = String::from_utf8(stdin(cause).to_vec()).unwrap();
        (text.join(" "), stdin)
    }

    /// [`HEAD`] and more, sorted as variables are.
    fn with_head(more: &str) -> String {
        let (muster, serf) = HEAD.split_once(" SERF_").unwrap();
        let mut all: Vec<String> = muster.split(' ').map(str::to_owned).collect();
        all.extend(serf.split(" SERF_").map(|part| format!("SERF_{part}")));
        all.extend(more.split('|').map(str::to_owned));
        all.sort();
        all.join(" ")
    }

    fn user(payload: &'static [u8]) -> Cause {
        let event = Event {
            origin: origin("k2", 7),
            sequence: 3,
            lamport: 1,
            name: "deploy".to_owned(),
            payload: Bytes::from_static(payload),
            ..Event::default()
        };
        Cause::User {
            event: Arc::new(event),
            redelivered: false,
        }
    }

    #[test]
    fn member_lines_are_serfs() {
        let odd = with_tag(
            with_tag(
                with_tag(member("k2", 2, &[]), "role", "web\tx"),
                "t",
                "a\tb\nc",
            ),
            "k",
            "a,b=c\\d",
        );
        let bare = member("k3", 3, &[]);
        let ours = with_tag(member("k4", 4, &["web", "db"]), "zone", "1");
        let members = [me(), odd, bare, ours].map(Arc::new).to_vec();
        let (_, stdin) = told(&Cause::Members {
            kind: MemberKind::Join,
            members,
        });
        // The first three as serf wrote them, but for the order of tags.
        assert_eq!(
            stdin,
            "k1\t127.0.0.1\tdb\te=,k=a,b=c,role=db,t=a\\tb\\nc,web-tier=x\n\
             k2\t127.0.0.1\tweb\\tx\tk=a,b=c\\d,role=web\\tx,t=a\\tb\\nc\n\
             k3\t127.0.0.1\t\t\n\
             k4\t127.0.0.1\tweb\tzone=1\n"
        );
    }

    #[test]
    fn variables_of_member_events() {
        let both = vec![Arc::new(me()), Arc::new(member("k3", 3, &[]))];
        let (variables, _) = told(&Cause::Members {
            kind: MemberKind::Failed,
            members: both,
        });
        assert_eq!(
            variables,
            with_head(
                "SERF_EVENT=member-failed|MUSTER_MEMBER_COUNT=2|MUSTER_MEMBER_PORTS=7946 7946"
            )
        );
        let one = vec![Arc::new(member("k3", 3, &[]))];
        let (variables, _) = told(&Cause::Members {
            kind: MemberKind::Join,
            members: one,
        });
        assert_eq!(
            variables,
            with_head(
                "SERF_EVENT=member-join|MUSTER_MEMBER_COUNT=1|MUSTER_MEMBER_PORTS=7946|MUSTER_MEMBER_NAME=k3|\
                 MUSTER_MEMBER_ADDR=127.0.0.1|MUSTER_MEMBER_PORT=7946|MUSTER_MEMBER_BOOT=3"
            )
        );
    }

    #[test]
    fn user_events_and_queries_are_serfs() {
        let user_variables = with_head(
            "SERF_EVENT=user|SERF_USER_EVENT=deploy|SERF_USER_LTIME=1|MUSTER_EVENT_ID=k2/7/3|MUSTER_ORIGIN=k2",
        );
        for (payload, stdin) in [
            (&b""[..], ""),
            (b"x", "x\n"),
            (b"x\ny\n", "x\ny\n"),
            (b"\n", "\n"),
        ] {
            assert_eq!(
                told(&user(payload)),
                (user_variables.clone(), stdin.to_owned())
            );
        }
        let query = Query {
            id: QueryId {
                origin: Arc::from("k2"),
                boot: 7,
                sequence: 4,
            },
            name: "load".to_owned(),
            payload: Bytes::from_static(b"pay load"),
            lamport: 5,
            deadline: tokio::time::Instant::now(),
            deadline_unix_ms: 1,
        };
        let variables = with_head(
            "SERF_EVENT=query|SERF_QUERY_NAME=load|SERF_QUERY_LTIME=5|MUSTER_EVENT_ID=k2/7/4|MUSTER_ORIGIN=k2",
        );
        assert_eq!(
            told(&Cause::Query(Arc::new(query))),
            (variables, "pay load\n".to_owned())
        );
    }

    #[test]
    fn names_of_tags_become_names_of_variables() {
        assert_eq!(variable("web-tier.2"), "WEB_TIER_2");
        // As Go does it: letters outside ASCII are replaced one by one.
        assert_eq!(variable("höhe_1"), "H_HE_1");
    }

    #[test]
    fn a_redelivery_and_the_rpc_address_are_told() {
        let Cause::User { event, .. } = user(b"") else {
            unreachable!()
        };
        let me = me();
        let around = Surroundings {
            me: &me,
            socket: Path::new("/s"),
            serf_rpc: Some("127.0.0.1:7373"),
            deadline_unix_ms: 1,
        };
        let cause = Cause::User {
            event,
            redelivered: true,
        };
        let variables = environment(Environment::new(), &cause, &around);
        assert_eq!(variables[&OsString::from("MUSTER_REDELIVERED")], "1");
        assert_eq!(
            variables[&OsString::from("SERF_RPC_ADDR")],
            "127.0.0.1:7373"
        );
    }
}
