//! Whom rounds of gossip reach.

use std::collections::BTreeSet;

use super::{Net, addr, cluster, secs};
use crate::member::Status;

/// Those that follow `n` on the ring, by number.
fn followers(net: &Net, n: u16, others: u16) -> Vec<u16> {
    let mut ring: Vec<_> = (0..others)
        .map(|n| (crate::ident::name_hash(&format!("n{n}")), n))
        .collect();
    ring.sort_unstable();
    let at = ring.iter().position(|(_, of)| *of == n).unwrap();
    assert!(net.node(n).members().count() == ring.len());
    let after = ring.iter().cycle().skip(at + 1).take(3);
    after.map(|(_, n)| *n).collect()
}

#[test]
fn each_round_reaches_the_next_one_of_the_ring_in_turn() {
    let mut net = cluster(12);
    net.run(secs(5));
    for n in [0, 5, 11] {
        let expected = followers(&net, n, 12);
        let told = net.with(n, |node, _| [(); 4].map(|()| node.told_surely().unwrap()));
        let told = told.map(|to| {
            let of = (0..12).find(|n| crate::ident::name_hash(&format!("n{n}")) == to.hash);
            of.unwrap()
        });
        // Wherever the turn stood, all three are reached by three rounds.
        assert_eq!(told[0], told[3]);
        let (told, expected) = (BTreeSet::from(told), BTreeSet::from_iter(expected));
        assert_eq!(told, expected, "node {n}");
    }
}

#[test]
fn the_dead_are_not_in_turn() {
    let mut net = cluster(8);
    net.run(secs(5));
    let next = followers(&net, 2, 8)[0];
    net.kill(next);
    net.run(secs(2));
    assert_eq!(net.status(2, &format!("n{next}")), Some(Status::Failed));
    let dead = crate::ident::name_hash(&format!("n{next}"));
    let told = net.with(2, |node, _| [(); 3].map(|()| node.told_surely().unwrap()));
    assert!(told.iter().all(|to| to.hash != dead), "{told:?}");
}

#[test]
fn two_members_have_nobody_but_each_other() {
    let mut net = cluster(2);
    net.run(secs(5));
    let told = net.with(0, |node, _| [(); 3].map(|()| node.told_surely()));
    assert_eq!(told.iter().flatten().count(), 1, "{told:?} {}", addr(1));
}
