use muster_engine::Member as Known;

use super::*;
use crate::hub::testing::{member, with_status, with_tag};

/// What an agent of serf 0.9.4 answered, recorded between it and its client.
macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../../../testdata/serf_rpc/", $name, ".answer")).as_slice()
    };
}

/// The member of the recordings.
fn alpha(roles: &[&str]) -> Known {
    let mut alpha = member("alpha", 1, roles);
    alpha.addr.set_port(17_946);
    alpha
}

#[test]
fn members_are_those_of_serf_to_the_byte() {
    let alpha = with_tag(alpha(&["web"]), "zone", "eu");
    let members = Members {
        members: vec![(&alpha).into()],
    };
    let answers = [head(1, ""), with_body(2, "", &members)].concat();
    assert_eq!(answers, recorded!("members"));
}

#[test]
fn a_failed_join_and_a_large_event_are_those_of_serf_to_the_byte() {
    let error = "1 error occurred:\n\t* Failed to join 127.0.0.1: dial tcp 127.0.0.1:1: connect: \
                 connection refused\n\n";
    let answers = [head(1, ""), with_body(2, error, &Joined { num: 0 })].concat();
    assert_eq!(answers, recorded!("join"));
    let error = "user event exceeds configured limit of 512 bytes before encoding";
    assert_eq!(
        [head(1, ""), head(2, error)].concat(),
        recorded!("event-large")
    );
}

#[test]
fn a_whole_session_is_that_of_serf_to_the_byte() {
    let user = |lamport, name, payload: &'static [u8]| UserEvent {
        coalesce: false,
        event: "user",
        lamport,
        name,
        payload: Payload(Bytes::from_static(payload)),
    };
    let updated = MemberEvent {
        event: "member-update",
        members: vec![(&alpha(&["db"])).into()],
    };
    let none = Members {
        members: Vec::new(),
    };
    let answers = [
        head(1, ""),
        head(2, ""),
        head(3, ""),
        head(4, ""),
        with_body(3, "", &user(6, "bin", b"\xff\x00")),
        head(5, ""),
        with_body(3, "", &user(7, "empty", b"")),
        head(6, ""),
        with_body(3, "", &updated),
        head(7, ""),
        with_body(8, "", &none),
        with_body(9, "", &Joined { num: 1 }),
        with_body(10, "", &Located::default()),
        head(11, "No pending queries matching ID"),
    ];
    assert_eq!(answers.concat(), recorded!("session"));
}

#[test]
fn statuses_are_words_of_serf() {
    let words = [
        (Status::Alive, "alive"),
        (Status::Suspect, "alive"),
        (Status::Leaving, "leaving"),
        (Status::Left, "left"),
        (Status::Failed, "failed"),
    ];
    for (known, word) in words {
        let member = Member::from(&with_status(alpha(&[]), known));
        assert_eq!(member.status, word);
    }
}

#[test]
fn the_first_role_is_a_tag_unless_there_is_one() {
    assert_eq!(tags(&alpha(&["web", "db"]))["role"], "web");
    let own = with_tag(alpha(&["web"]), "role", "own");
    assert_eq!(tags(&own)["role"], "own");
    assert_eq!(tags(&alpha(&[])), BTreeMap::new());
}

#[test]
fn addresses_have_4_or_16_bytes() {
    let mut member = alpha(&[]);
    member.addr = "[2001:db8::1]:7946".parse().unwrap();
    let bytes = with_body(1, "", &Member::from(&member));
    let v6 = b"\xa4Addr\xc4\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";
    assert!(bytes.windows(v6.len()).any(|part| part == v6));
}

#[test]
fn a_wrong_filter_is_answered_to_both_kinds_of_clients() {
    // The body is a map with a number, as any head is.
    let answer = with_body(
        300,
        "no",
        &NoMembers {
            members: [],
            seq: 300,
        },
    );
    let expected = b"\x82\xa5Error\xa2no\xa3Seq\xcd\x01\x2c\x82\xa7Members\x90\xa3Seq\xcd\x01\x2c";
    assert_eq!(answer, expected);
}
