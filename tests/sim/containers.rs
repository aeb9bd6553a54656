//! What nodes say of their containers reaches everybody.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{OwnUpdate, Role};
use muster_tests::sim::{Action, Address, Setup, Sim};

use crate::support::{MILLI, SECOND, ends_well, hosts, lossy, settled};

/// What one container is told in, bytes: as large as one with a few labels.
const SUMMARY_BYTES: usize = 300;

fn key(nr: usize) -> String {
    format!("container/{nr:024x}")
}

fn value(text: &str) -> Option<Bytes> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(SUMMARY_BYTES, b'.');
    Some(Bytes::from(bytes))
}

/// So many containers, one change.
fn containers(numbers: std::ops::Range<usize>, text: &str) -> OwnUpdate {
    OwnUpdate {
        publish: numbers.map(|nr| (key(nr), value(text))).collect(),
        ..OwnUpdate::default()
    }
}

/// A container with this number serves the role, or none does.
fn serves(nr: Option<usize>) -> OwnUpdate {
    let role = |nr: usize| Role {
        name: "web".to_owned(),
        service_ip: IpAddr::from([10, 0, 0, 1]),
        service_port: 80,
        since_unix_ms: 0,
        container: Some(Arc::from(format!("{nr:064x}"))),
        healthy: true,
    };
    OwnUpdate {
        roles: Some(nr.map(role).into_iter().collect()),
        ..OwnUpdate::default()
    }
}

/// Everybody is told the same of everybody's containers, and of so many.
fn all_know(sim: &Sim, subjects: usize, count: usize) -> bool {
    let same = |viewer: usize, subject: usize| {
        let own = sim.published(subject, subject);
        own.is_some_and(|own| own.len() == count) && sim.published(viewer, subject) == own
    };
    let pairs = (0..sim.hosts()).flat_map(|viewer| (0..subjects).map(move |at| (viewer, at)));
    pairs
        .into_iter()
        .all(|(viewer, subject)| same(viewer, subject))
}

#[test]
fn containers_reach_everybody_also_under_loss() {
    for (weather, seed) in [(lossy(0), 1), (lossy(15), 2)] {
        let mut sim = settled(Setup {
            weather,
            ..hosts(24, seed)
        });
        // 200 at once, as at the start of a node; the others one by one.
        sim.apply(Action::Publish(0, containers(0..200, "running")));
        for nr in 0..40 {
            let at = Duration::from_millis(50 * nr as u64);
            sim.after(at, Action::Publish(1, containers(nr..nr + 1, "running")));
        }
        let took = sim.run_until(60 * SECOND, 50 * MILLI, |sim| {
            all_know(sim, 1, 200) && sim.published(1, 1).is_some_and(|own| own.len() == 40)
        });
        println!("200 containers of one node, known to 24: {took:?}");
        assert!(took.is_some(), "{sim:?}");
        let gone = (0..40).map(|nr| (key(nr), None)).collect();
        let gone = OwnUpdate {
            publish: gone,
            ..OwnUpdate::default()
        };
        sim.apply(Action::Publish(1, gone));
        let took = sim.run_until(60 * SECOND, 50 * MILLI, |sim| {
            (0..24).all(|viewer| sim.published(viewer, 1).is_none_or(|held| held.is_empty()))
        });
        assert!(took.is_some(), "{sim:?}");
        ends_well(&mut sim, 30 * SECOND);
    }
}

#[test]
fn the_end_of_a_container_is_known_at_once_whatever_else_its_node_tells() {
    let mut sim = settled(hosts(32, 3));
    sim.apply(Action::Publish(5, containers(0..200, "running")));
    let known = sim.run_until(60 * SECOND, 50 * MILLI, |sim| {
        (0..32).all(|viewer| {
            sim.published(viewer, 5)
                .is_some_and(|held| held.len() == 200)
        })
    });
    assert!(known.is_some(), "{sim:?}");
    let roles_of = |sim: &Sim, viewer: usize| sim.shown(viewer, 5).map_or(0, |m| m.roles.len());
    let mut times = Vec::new();
    for round in 0..40 {
        sim.apply(Action::Publish(5, serves(Some(round))));
        let begun = sim.run_until(10 * SECOND, MILLI, |sim| {
            (0..32).all(|viewer| roles_of(sim, viewer) == 1)
        });
        assert!(begun.is_some(), "{sim:?}");
        // It has much else to tell in the same moment.
        let noise = containers(
            10 * (round % 10)..10 * (round % 10) + 10,
            &format!("{round}"),
        );
        let end = OwnUpdate {
            roles: serves(None).roles,
            ..noise
        };
        sim.apply(Action::Publish(5, end));
        let ended = sim.run_until(10 * SECOND, MILLI, |sim| {
            (0..32).all(|viewer| roles_of(sim, viewer) == 0)
        });
        times.push(ended.expect("it is known"));
        sim.run_for(SECOND * (round as u32 % 3));
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("the end of a role, known to the last of 32: median {median:?}, worst {worst:?}");
    assert!(worst <= 150 * MILLI, "{worst:?}");
    ends_well(&mut sim, 30 * SECOND);
}

#[test]
fn a_restart_drops_the_containers_of_the_run_before() {
    let mut sim = settled(hosts(8, 4));
    sim.apply(Action::Publish(2, containers(0..30, "running")));
    sim.apply(Action::Publish(3, containers(0..30, "running")));
    let known = sim.run_until(60 * SECOND, 50 * MILLI, |sim| {
        (0..8).all(|viewer| {
            sim.published(viewer, 2)
                .is_some_and(|held| held.len() == 30)
        })
    });
    assert!(known.is_some(), "{sim:?}");
    sim.apply(Action::Restart(2, Address::Same));
    let dropped = sim.run_until(60 * SECOND, 50 * MILLI, |sim| {
        (0..8).all(|viewer| sim.published(viewer, 2).is_none_or(|held| held.is_empty()))
    });
    assert!(dropped.is_some(), "{sim:?}");
    sim.apply(Action::Publish(2, containers(0..3, "new")));
    let told = sim.run_until(60 * SECOND, 50 * MILLI, |sim| {
        (0..8).all(|viewer| sim.published(viewer, 2).is_some_and(|held| held.len() == 3))
    });
    assert!(told.is_some(), "{sim:?}");
    let others = sim.published(2, 3).map(|held| held.len());
    assert_eq!(others, Some(30), "it learns of the others again");
    ends_well(&mut sim, 30 * SECOND);
}
