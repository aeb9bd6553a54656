//! The shapes that others script against, as golden text.

use super::*;

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds,
        nanos: 5_000_000,
    })
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn a_full_member() {
    let member = pb::Member {
        name: "n1".into(),
        status: pb::MemberStatus::Suspect.into(),
        gossip_ip: "10.0.0.1".into(),
        gossip_port: 7946,
        tags: [("zone".to_owned(), "a".to_owned())].into(),
        roles: vec![pb::RoleInstance {
            role: "web".into(),
            service_ip: "10.0.0.1".into(),
            service_port: 80,
            container: String::new(),
            healthy: true,
            since: time(0),
        }],
        incarnation: 65_537,
        started_at: time(1),
        updated_at: time(2),
        changed_revision: 9,
        transitions: 3,
        version: "0.1.0".into(),
        protocol: 1,
        boot: 1_795_255_200_000,
        status_change: Some(pb::StatusChange {
            by: "n2".into(),
            at: time(3),
            reason: "did not answer probes".into(),
        }),
        alias: "n1~00ff00ff".into(),
        plaintext: false,
        ports: BTreeMap::from([(
            "8000/tcp".to_owned(),
            pb::PublishedPorts {
                host_ports: vec!["49153".to_owned()],
            },
        )]),
        by_tcp: false,
        self_: true,
    };
    assert_eq!(
        text(&Members::of(&[member])),
        concat!(
            r#"{"members":[{"name":"n1","alias":"n1~00ff00ff","status":"suspect","#,
            r#""gossip_ip":"10.0.0.1","gossip_port":7946,"#,
            r#""roles":[{"role":"web","service_ip":"10.0.0.1","service_port":80,"#,
            r#""since":"1970-01-01T00:00:00.005Z","container":null,"healthy":true}],"tags":{"zone":"a"},"#,
            r#""started_at":"1970-01-01T00:00:01.005Z","updated_at":"1970-01-01T00:00:02.005Z","#,
            r#""changed_revision":9,"boot":1795255200000,"incarnation":65537,"transitions":3,"#,
            r#""version":"0.1.0","protocol":1,"status_change":{"by":"n2","#,
            r#""at":"1970-01-01T00:00:03.005Z","reason":"did not answer probes"},"#,
            r#""plaintext":false,"by_tcp":false,"ports":{"8000/tcp":["49153"]},"self":true}]}"#
        )
    );
}

#[test]
fn an_empty_member_has_every_key() {
    let member = pb::Member::default();
    let object = serde_json::to_value(Member::of(&member)).unwrap();
    assert_eq!(object.as_object().unwrap().len(), 20);
    assert_eq!(object["alias"], serde_json::Value::Null);
    assert_eq!(object["status"], "unknown");
    assert_eq!(object["started_at"], serde_json::Value::Null);
}

#[test]
fn endpoints_and_roles() {
    let set = pb::EndpointSet {
        role: "web".into(),
        role_known: true,
        endpoints: vec![pb::Endpoint {
            member: "n1".into(),
            address: "10.0.0.1".into(),
            port: 80,
            status: pb::MemberStatus::Alive.into(),
            since: time(1),
            tags: BTreeMap::new(),
            healthy: true,
            container: String::new(),
        }],
        total: 1,
        degraded: false,
    };
    assert_eq!(
        text(&EndpointSet::of(&set)),
        concat!(
            r#"{"role":"web","role_known":true,"degraded":false,"total":1,"endpoints":[{"#,
            r#""member":"n1","address":"10.0.0.1","port":80,"status":"alive","#,
            r#""since":"1970-01-01T00:00:01.005Z","tags":{},"container":null,"healthy":true}]}"#
        )
    );
    let roles = [pb::RoleSummary {
        role: "web".into(),
        alive: 2,
        suspect: 1,
        failed: 0,
        oldest_member: String::new(),
    }];
    assert_eq!(
        text(&Roles::of(&roles)),
        r#"{"roles":[{"role":"web","alive":2,"suspect":1,"failed":0,"oldest_member":null}]}"#
    );
}

#[test]
fn events_and_gaps() {
    let mut event = pb::Event {
        id: Some(pb::EventId {
            origin: "n1".into(),
            boot: 7,
            sequence: 3,
        }),
        name: "deploy".into(),
        payload: "{\"x\":1}".into(),
        lamport_time: 12,
        received_at: time(1),
        ..pb::Event::default()
    };
    assert_eq!(
        text(&Event::of(&event)),
        concat!(
            r#"{"type":"event","origin":"n1","boot":7,"sequence":3,"name":"deploy","#,
            r#""payload":"{\"x\":1}","lamport_time":12,"received_at":"1970-01-01T00:00:01.005Z","#,
            r#""child":null,"coalesce":false,"merged":0,"attributes":{},"target":null}"#
        )
    );
    event.target = Some(pb::MemberFilter {
        names: vec!["n2".into()],
        ..pb::MemberFilter::default()
    });
    event.attributes = [("k".to_owned(), "v".to_owned())].into();
    assert!(text(&Event::of(&event)).ends_with(concat!(
        r#""attributes":{"k":"v"},"target":{"names":["n2"],"roles":[],"statuses":[],"#,
        r#""tags":{},"name_regex":null}}"#
    )));
    event.payload = b"\xff\x00".as_slice().into();
    let binary = text(&Event::of(&event));
    assert!(binary.contains(r#""payload_base64":"/wA=""#) && !binary.contains(r#""payload":"#));
    event.payload = bytes::Bytes::new();
    assert!(text(&Event::of(&event)).contains(r#""payload":"","#));
    let gap = pb::EventGap {
        origin: "n1".into(),
        boot: 7,
        first_sequence: 4,
        last_sequence: 9,
        reason: pb::EventGapReason::NotHeld.into(),
    };
    assert_eq!(
        text(&Gap::of(&gap)),
        concat!(
            r#"{"type":"gap","origin":"n1","boot":7,"first_sequence":4,"last_sequence":9,"#,
            r#""reason":"not_held"}"#
        )
    );
}

#[test]
fn a_loss() {
    let lost = crate::Lost {
        error: crate::Error::Ended {
            call: "WatchEvents",
        },
        retry_in: std::time::Duration::from_millis(70),
        failures: 1,
    };
    assert_eq!(
        text(&Disconnected::of(&lost)),
        concat!(
            r#"{"type":"disconnected","error":"the daemon ended WatchEvents: it is shutting down","#,
            r#""retry_in_ms":70,"failures":1}"#
        )
    );
}
