use std::net::SocketAddr;

use muster_engine::{Member, Role, Status};
use serde_json::Value;

use super::*;
use crate::hub::testing::{member, with_status};

const INSPECT: &str = include_str!("../../../tests-data/legacy/inspect.json");
const PARENT: &str = include_str!("../../../tests-data/legacy/inspect_parent.json");

fn raw(text: &str) -> Box<RawValue> {
    serde_json::from_str(text).unwrap()
}

/// Compares with a file beside the sources; `MUSTER_GOLDEN=write` writes it anew.
fn golden(name: &str, bytes: &[u8]) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests-data/legacy/");
    let path = format!("{folder}{name}");
    if std::env::var_os("MUSTER_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::str::from_utf8(bytes).unwrap(), expected, "{path}");
}

fn role(name: &str, service: &str) -> Role {
    let service: SocketAddr = service.parse().unwrap();
    Role {
        name: name.to_owned(),
        service_ip: service.ip(),
        service_port: service.port(),
        since_unix_ms: 1,
        container: None,
        healthy: true,
    }
}

/// Three members: two roles in part shared, IPv6, none; and two that are gone.
fn members() -> Vec<Arc<Member>> {
    let at = |mut member: Member, addr: &str| {
        member.addr = addr.parse().unwrap();
        member
    };
    let mut web = at(member("web-1", 1_426_000_000_999, &[]), "10.0.0.1:7946");
    web.roles = vec![
        role("web", "10.0.0.1:8080"),
        role("cache", "172.17.0.3:6379"),
    ];
    let ports = [("8000/tcp", "49153"), ("53/udp", "53")];
    let port = |(inner, outer): (&str, &str)| (inner.to_owned(), vec![outer.to_owned()]);
    web.ports = ports.map(port).into();
    let mut sick = role("web", "10.0.0.1:81");
    sick.healthy = false;
    web.roles.push(sick);
    let mut six = at(member("six", 1_426_000_001_000, &[]), "[fd00::1]:7946");
    six.roles = vec![role("web", "[fd00::1]:80"), role("web", "[fd00::1]:80")];
    let bare = with_status(
        at(member("bare", 5, &[]), "[::ffff:10.0.0.9]:5678"),
        Status::Suspect,
    );
    let failed = with_status(member("gone", 1, &["web"]), Status::Failed);
    let leaving = with_status(member("going", 1, &["web"]), Status::Leaving);
    alive([web, six, bare, failed, leaving].map(Arc::new))
}

#[test]
fn members_have_the_shape_that_serfnode_gave_them() {
    golden("serfnodes_by_id.json", &by_id(&members()));
    golden("serfnodes_by_role.json", &by_role(&members()));
    assert_eq!(by_id(&[]), b"{}");
    assert_eq!(by_role(&[]), b"{}");
}

#[test]
fn every_value_of_a_member_is_a_text() {
    let nodes: Value = serde_json::from_slice(&by_id(&members())).unwrap();
    for (id, node) in nodes.as_object().unwrap() {
        for (field, value) in node.as_object().unwrap() {
            assert_eq!(field != "ports", value.is_string(), "{id} {field}");
        }
    }
    assert_eq!(nodes["bare"]["role"], NO_ROLE);
    assert_eq!(nodes["bare"]["serf_ip"], "10.0.0.9");
}

#[test]
fn containers_have_the_shape_that_serfnode_gave_them() {
    let (inspect, parent) = (raw(INSPECT), raw(PARENT));
    let full = Inspect::new(&inspect, None, Privacy::Full);
    golden("me.json", &container("node-1", &full));
    let redacted = Inspect::new(&inspect, None, Privacy::Redacted);
    golden("me_redacted.json", &container("node-1", &redacted));
    let child = Arc::new(Inspect::new(&inspect, Some(&parent), Privacy::Redacted));
    let other = Arc::new(full);
    let children = [("web", &child), ("app", &other)];
    golden(
        "children_by_name.json",
        &children_by_name("node-1", children),
    );
    assert_eq!(
        container("n", &Inspect::none()),
        br#"{"id":"n","inspect":{}}"#
    );
    assert_eq!(children_by_name("n", []), b"{}");
}

#[test]
fn full_parity_is_the_word_of_the_engine_byte_for_byte() {
    // Numbers that a parser of floats would change, and odd spaces.
    let text = r#"{ "A": 1.10, "B":9007199254740993,"C" : [ ] }"#;
    let inspect = Inspect::new(&raw(text), None, Privacy::Full);
    assert_eq!(inspect.json().get(), text);
}

#[test]
fn nothing_secret_is_left_in_what_is_redacted() {
    let inspect = Inspect::new(&raw(INSPECT), Some(&raw(PARENT)), Privacy::Redacted);
    let text = inspect.json().get();
    assert!(INSPECT.contains("hunter2") && PARENT.contains("hunter2"));
    assert!(!text.contains("hunter2"), "{text}");
    let json: Value = serde_json::from_str(text).unwrap();
    assert_eq!(json["Config"]["Env"][0], "PASSWORD=<redacted>");
    assert_eq!(json["Config"]["Cmd"][0], "sh");
    assert_eq!(json["NetworkSettings"]["IPAddress"], "172.17.0.2");
    // What the engine does not say is not made up, and what is no inspect not shown.
    let odd = Inspect::new(&raw(r#"{"Config":null,"Args":7}"#), None, Privacy::Redacted);
    assert_eq!(odd.json().get(), r#"{"Config":null,"Args":"<redacted>"}"#);
    let odd = Inspect::new(&raw("[1]"), None, Privacy::Redacted);
    assert_eq!(odd.json().get(), "{}");
}
