//! What a snapshot holds, and what an engine makes of one, whole or harmed.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

use super::{Net, addr, config};
use crate::api::{Input, Output};
use crate::event::EventDraft;
use crate::{Engine, Snapshot, Status, StatusReason};

fn three() -> Net {
    let mut net = Net::new();
    for n in 0..3 {
        net.start(config(&format!("n{n}"), n, 100));
    }
    net.run(Duration::from_secs(2));
    net
}

fn send(net: &mut Net, n: u16) {
    let draft = EventDraft::new("x", Bytes::new());
    net.with(n, |node, now| node.send_event(now, draft))
        .unwrap();
}

fn snapshot(net: &mut Net, n: u16) -> Snapshot {
    net.with(n, |node, now| node.snapshot(now))
}

/// A node that begins with a snapshot, and whom it dials at once.
fn dialled(engine: &mut Engine, now: crate::Now) -> Vec<std::net::SocketAddr> {
    engine.handle(now, Input::Seeds { addrs: Vec::new() });
    let mut to = Vec::new();
    while let Some(output) = engine.poll_output() {
        if let Output::Request { to: addr, .. } = output {
            to.push(addr);
        }
    }
    to
}

#[test]
fn a_snapshot_holds_members_addresses_and_positions() {
    let mut net = three();
    send(&mut net, 1);
    net.kill(2);
    net.run(Duration::from_secs(20));
    let kept = snapshot(&mut net, 0);
    assert_eq!((kept.name.as_str(), kept.cluster.as_str()), ("n0", "test"));
    assert!(kept.joined && !kept.left && kept.lamport > 1);
    assert_eq!(kept.members(), 2);
    let addresses: BTreeSet<String> = kept.addresses.iter().cloned().collect();
    let expected = [addr(1), addr(2)].map(|addr| addr.to_string());
    assert_eq!(addresses, BTreeSet::from(expected));
    let positions: Vec<u64> = kept.positions.iter().map(|p| p.sequence).collect();
    assert!(positions.contains(&1), "{positions:?}");
}

#[test]
fn the_revision_grows_with_what_a_snapshot_would_tell() {
    let mut net = three();
    net.run(Duration::from_secs(5));
    let revision = |net: &Net| net.node(0).revision();
    let before = revision(&net);
    net.run(Duration::from_secs(20));
    assert_eq!(revision(&net), before, "nothing happened");
    send(&mut net, 1);
    net.run(Duration::from_secs(1));
    let after_event = revision(&net);
    assert!(after_event > before);
    net.kill(2);
    net.run(Duration::from_secs(20));
    let after_death = revision(&net);
    assert!(after_death > after_event);
    net.with(0, |node, now| node.leave(now));
    assert!(revision(&net) > after_death);
    assert!(snapshot(&mut net, 0).left);
}

#[test]
fn the_address_of_a_member_that_left_is_let_go() {
    let mut net = three();
    net.with(2, |node, now| node.leave(now));
    net.run(Duration::from_secs(2));
    net.kill(2);
    net.run(Duration::from_secs(2));
    let kept = snapshot(&mut net, 0);
    assert_eq!(kept.addresses, [addr(1).to_string()]);
    let now = net.clock();
    let mut back = Engine::new(config("n0", 0, 200), 1, now);
    back.restore(now, &kept);
    assert_eq!(dialled(&mut back, now), [addr(1)]);
}

#[test]
fn every_address_has_its_turn_soon() {
    let net = Net::new();
    let mut now = net.clock();
    let all: Vec<_> = (1..1_501).map(addr).collect();
    let mut engine = Engine::new(config("n0", 0, 1), 1, now);
    engine.restore(now, &Snapshot::of_addresses("test", &all));
    let kept = engine.snapshot(now).addresses;
    assert_eq!(kept.len(), 1_024, "the least recently seen went");
    assert_eq!(kept.last(), Some(&addr(1_500).to_string()));
    let mut met = BTreeSet::new();
    let began = now.at;
    while met.len() < 1_024 && now.at.since(began) < Duration::from_secs(600) {
        now.at = engine.next_deadline().max(now.at);
        engine.handle(now, Input::Tick);
        let mut asked = Vec::new();
        while let Some(output) = engine.poll_output() {
            match output {
                Output::ResolveSeeds => asked.push(None),
                Output::Request { id, to, .. } => asked.push(Some((id, to))),
                _ => {}
            }
        }
        if asked.iter().any(Option::is_none) {
            engine.handle(now, Input::Seeds { addrs: Vec::new() });
            while let Some(output) = engine.poll_output() {
                if let Output::Request { id, to, .. } = output {
                    asked.push(Some((id, to)));
                }
            }
        }
        for (id, to) in asked.into_iter().flatten() {
            met.insert(to);
            let result = Err(crate::ExchangeError::Timeout);
            engine.handle(now, Input::Response { id, result });
        }
    }
    assert_eq!(met.len(), 1_024);
    let took = now.at.since(began);
    assert!(took < Duration::from_secs(120), "{took:?}");
}

#[test]
fn the_missing_are_shown_and_an_operator_may_forget_them() {
    let mut net = three();
    let mut kept = snapshot(&mut net, 0);
    let mut now = net.clock();
    now.unix_ms += 3_600_000;
    let mut back = Engine::new(config("n0", 0, 200), 1, now);
    back.restore(now, &kept);
    assert_eq!(back.members().count(), 1, "not yet");
    now.at = now.at + Duration::from_secs(31);
    now.unix_ms += 31_000;
    back.handle(now, Input::Tick);
    let shown: Vec<_> = back.members().skip(1).collect();
    assert_eq!(shown.len(), 2);
    for member in &shown {
        assert_eq!(member.status, Status::Failed);
        assert_eq!(member.change.reason, StatusReason::NotMet);
        assert_eq!(
            member.change.at_unix_ms, kept.saved_unix_ms,
            "last seen then"
        );
    }
    assert!(back.force_leave(now, "nobody", true).is_err());
    back.force_leave(now, "n1", true).unwrap();
    assert_eq!(back.members().count(), 2);
    // A file from the future is as good as one from now; one from long ago shows nobody.
    kept.saved_unix_ms = u64::MAX;
    let mut ahead = Engine::new(config("n0", 0, 200), 1, now);
    ahead.restore(now, &kept);
    assert_eq!(ahead.snapshot(now).members(), 2);
    kept.saved_unix_ms = 0;
    let mut late = Engine::new(config("n0", 0, 200), 1, now);
    late.restore(now, &kept);
    now.at = now.at + Duration::from_secs(40);
    late.handle(now, Input::Tick);
    assert_eq!(late.members().count(), 1);
    assert_eq!(
        late.snapshot(now).addresses.len(),
        2,
        "but still knows where to look"
    );
}

/// What is done to the bytes of a snapshot: (place, new byte), cut at.
type Harm = (Vec<(usize, u8)>, Option<usize>);

fn harm() -> impl Strategy<Value = Harm> {
    let flips = prop::collection::vec((any::<usize>(), any::<u8>()), 0..6);
    (flips, prop::option::of(any::<usize>()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn harmed_snapshots_break_nothing((flips, cut) in harm()) {
        let mut net = three();
        send(&mut net, 1);
        net.run(Duration::from_secs(1));
        let mut bytes = snapshot(&mut net, 0).encode_to_vec();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len());
        }
        if let Ok(harmed) = Snapshot::decode(&bytes[..]) {
            net.kill(0);
            let mut now = net.clock();
            let mut back = Engine::new(config("n0", 0, 200), 1, now);
            back.restore(now, &harmed);
            now.at = now.at + Duration::from_secs(40);
            back.handle(now, Input::Tick);
            prop_assert!(back.check().is_ok());
            prop_assert!(back.members().count() <= 3);
            let again = back.snapshot(now);
            prop_assert!(again.members() <= 2 && again.addresses.len() <= 1_024);
        }
    }
}
