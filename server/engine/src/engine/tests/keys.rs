//! Keys that change at run time, and clusters between plaintext and encryption.

use super::*;
use crate::api::{Note, UNKNOWN_KEY_NOTE_EVERY};
use crate::crypto::Stage;

fn ring(bytes: &[u8], stage: Stage) -> Option<Keyring> {
    let mut keys = bytes.iter().map(|byte| Key::new(&[*byte; 32]).unwrap());
    let mut ring = Keyring::new(keys.next()?).at(stage);
    keys.for_each(|key| ring.install(key));
    Some(ring)
}

fn cluster(rings: &[Option<Keyring>]) -> Net {
    let mut net = Net::new();
    for (at, ring) in rings.iter().enumerate() {
        let number = u16::try_from(at).unwrap();
        net.start(Config {
            keyring: ring.clone(),
            ..config(&format!("n{at}"), number, 1)
        });
        net.run(Duration::from_millis(100));
    }
    net
}

fn rekey(net: &mut Net, at: u16, ring: Option<Keyring>) {
    let now = net.clock_of(addr(at));
    net.nodes.get_mut(&addr(at)).unwrap().set_keyring(now, ring);
    net.drain(addr(at));
}

fn alive(net: &Net, at: u16) -> usize {
    let members = net.nodes[&addr(at)].members();
    members
        .filter(|member| member.status == Status::Alive)
        .count()
}

fn counter(net: &Net, at: u16, name: &str) -> u64 {
    let counters = net.nodes[&addr(at)].counters();
    let found = counters.iter().find(|(known, _)| *known == name);
    found.map_or(0, |(_, count)| *count)
}

fn never_failed(net: &Net) {
    let bad = net.outputs.iter().find(|(_, output)| {
        matches!(output, Output::MemberUpdated(member)
            if matches!(member.status, Status::Failed | Status::Suspect))
    });
    assert!(bad.is_none(), "{bad:?}");
}

#[test]
fn neighbouring_stages_hear_each_other() {
    let stages = [
        None,
        ring(&[1], Stage::Receive),
        ring(&[1], Stage::Send),
        ring(&[1], Stage::On),
    ];
    for pair in stages.windows(2) {
        let mut net = cluster(pair);
        net.run(Duration::from_millis(30_000));
        assert_eq!((alive(&net, 0), alive(&net, 1)), (2, 2), "{pair:?}");
        never_failed(&net);
    }
}

#[test]
fn encryption_is_turned_on_without_a_suspicion() {
    let mut net = cluster(&[None, None, None, None]);
    net.run(Duration::from_millis(5_000));
    for stage in Stage::ALL {
        for at in [2, 0, 3, 1] {
            rekey(&mut net, at, ring(&[1], stage));
            net.run(Duration::from_millis(3_000));
        }
    }
    net.run(Duration::from_millis(30_000));
    never_failed(&net);
    for at in 0..4 {
        let node = &net.nodes[&addr(at)];
        assert!(node.encrypted() && node.stage() == Some(Stage::On));
        assert!(node.warnings().is_empty(), "{:?}", node.warnings());
        assert!(node.members().all(|member| !member.plaintext));
        assert_eq!(counter(&net, at, "datagrams_dropped_plaintext_refused"), 0);
        assert!(counter(&net, at, "datagrams_plaintext_accepted") > 0);
    }
}

#[test]
fn stages_between_warn_and_show() {
    let mut net = cluster(&[ring(&[1], Stage::Receive), ring(&[1], Stage::Send)]);
    net.run(Duration::from_millis(5_000));
    let warnings = |at| net.nodes[&addr(at)].warnings().join("\n");
    assert!(warnings(0).contains("stage receive"), "{}", warnings(0));
    assert!(warnings(1).contains("stage send"), "{}", warnings(1));
    let shown: Vec<bool> = net.nodes[&addr(1)]
        .members()
        .map(|member| member.plaintext)
        .collect();
    assert_eq!(shown, [false, true], "n1 seals, n0 does not");
}

#[test]
fn keys_are_rotated_without_a_suspicion() {
    let mut net = cluster(&vec![ring(&[1], Stage::On); 4]);
    net.run(Duration::from_millis(5_000));
    for keys in [&[1, 2][..], &[2, 1], &[2]] {
        for at in [3, 1, 0, 2] {
            rekey(&mut net, at, ring(keys, Stage::On));
            net.run(Duration::from_millis(2_000));
        }
    }
    net.run(Duration::from_millis(30_000));
    never_failed(&net);
    for at in 0..4 {
        assert_eq!(counter(&net, at, "datagrams_dropped_unknown_key"), 0);
    }
}

#[test]
fn what_comes_under_a_removed_key_is_dropped_counted_and_told_rarely() {
    let mut net = cluster(&vec![ring(&[1], Stage::On); 3]);
    net.run(Duration::from_millis(2_000));
    rekey(&mut net, 0, ring(&[2], Stage::On));
    let removed = ring(&[1], Stage::On).unwrap().primary().id();
    net.outputs.clear();
    net.run(Duration::from_millis(20_000));
    let dropped = counter(&net, 0, "datagrams_dropped_unknown_key");
    assert!(dropped > 20, "{dropped}");
    let told = net.outputs.iter().filter(|(at, output)| {
        let told = matches!(output, Output::Note(Note::UnknownKey { key }) if *key == removed);
        *at == addr(0) && told
    });
    let told = u64::try_from(told.count()).unwrap();
    let most = 20 / UNKNOWN_KEY_NOTE_EVERY.as_secs() + 1;
    assert!((1..=most).contains(&told), "{told} of {dropped}");
}
