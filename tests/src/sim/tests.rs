//! The simulator on a toy: time, network, streams, records and planted bugs.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a tap passes on all that it does not spoil"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{Output, Status};

use crate::sim::cluster::{Sim, Tap};
use crate::sim::network::Weather;
use crate::sim::script::{Action, Address};
use crate::sim::setup::Setup;
use crate::sim::toy::Toy;

const SECOND: Duration = Duration::from_secs(1);

fn toys(nodes: usize, seed: u64) -> Sim<Toy> {
    let mut sim = Sim::new(Setup {
        nodes,
        seed,
        ..Setup::default()
    });
    sim.start_all(SECOND);
    sim.run_for(SECOND);
    sim
}

fn broken(sim: &Sim<Toy>) -> Vec<&'static str> {
    sim.violations().iter().map(|v| v.invariant).collect()
}

/// A run with events from two nodes and one restart, spoilt by `tap`.
fn run(tap: Option<Tap>) -> Vec<&'static str> {
    let mut sim = toys(5, 3);
    sim.settle(20 * SECOND);
    if let Some(tap) = tap {
        sim.set_tap(tap);
    }
    for slot in [1, 2] {
        sim.apply(Action::Burst(slot, 20, 30));
    }
    sim.run_for(5 * SECOND);
    sim.apply(Action::Restart(4, Address::New));
    sim.run_for(20 * SECOND);
    sim.settle(5 * SECOND);
    sim.finish();
    broken(&sim)
}

#[test]
fn a_good_run_breaks_nothing() {
    assert_eq!(run(None), Vec::<&str>::new());
}

#[test]
fn equal_seeds_give_equal_traces() {
    let hash = |seed| {
        let mut sim = Sim::<Toy>::new(Setup {
            nodes: 6,
            seed,
            weather: Weather {
                loss_ppm: 100_000,
                duplicate_ppm: 50_000,
                reorder_ppm: 50_000,
                ..Weather::default()
            },
            ..Setup::default()
        });
        sim.start_all(SECOND);
        sim.after(3 * SECOND, Action::Pause(2));
        sim.after(5 * SECOND, Action::Resume(2));
        sim.run_for(10 * SECOND);
        (sim.trace_hash(), sim.steps())
    };
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5).0, hash(6).0);
}

#[test]
fn converges_and_counts_traffic() {
    let mut sim = toys(8, 1);
    assert!(sim.settle(20 * SECOND).is_some());
    assert!(sim.converged() && sim.everybody_counted());
    let traffic = sim.traffic(3);
    assert!(traffic.datagrams_out > 0 && traffic.stream_bytes_out > 0);
    assert!(traffic.datagram_bytes_out > 28 * traffic.datagrams_out);
    assert!(traffic.connects > 0 && traffic.connects <= traffic.exchanges);
}

#[test]
fn the_killed_are_refused_and_come_back_under_a_new_boot() {
    let mut sim = toys(5, 2);
    sim.settle(20 * SECOND);
    let boot = sim.shown(0, 3).unwrap().boot;
    sim.apply(Action::Kill(3));
    assert!(!sim.converged(), "all still show it");
    sim.run_until(20 * SECOND, SECOND, |sim| {
        sim.shown_as(3, Status::Failed) == 4
    })
    .expect("everybody is refused");
    sim.apply(Action::Restart(3, Address::New));
    assert!(sim.settle(20 * SECOND).is_some());
    assert!(sim.shown(0, 3).unwrap().boot > boot);
    assert_eq!(sim.shown(0, 3).unwrap().addr, crate::sim::address(5));
    assert_eq!(broken(&sim), Vec::<&str>::new());
}

#[test]
fn a_pause_holds_everything_up_and_loses_only_what_overflows() {
    let mut sim = toys(3, 2);
    sim.settle(20 * SECOND);
    sim.apply(Action::Pause(2));
    sim.apply(Action::Burst(1, 5, 10));
    sim.run_for(30 * SECOND);
    assert_eq!(sim.cursor(2, 0), None);
    assert_eq!(sim.traffic(2).overflowed, 0);
    sim.apply(Action::Resume(2));
    sim.run_for(2 * SECOND);
    assert_eq!(sim.cursor(2, 0).unwrap().delivered, 5);
    sim.setup.socket_buffer_bytes = 3_000;
    sim.apply(Action::Pause(2));
    sim.run_for(30 * SECOND);
    assert!(sim.traffic(2).overflowed > 0);
}

#[test]
fn cut_off_nodes_get_nothing_until_healed() {
    let mut sim = toys(4, 9);
    sim.settle(20 * SECOND);
    sim.apply(Action::Split(vec![0, 1]));
    sim.apply(Action::Burst(0, 3, 10));
    sim.run_for(20 * SECOND);
    assert_eq!(sim.cursor(1, 0).map(|c| c.last), Some(3));
    assert_eq!((sim.cursor(2, 0), sim.cursor(3, 0)), (None, None));
    sim.apply(Action::HealAll);
    sim.run_for(20 * SECOND);
    assert!((1..4).all(|slot| sim.cursor(slot, 0).is_some_and(|c| c.last == 3)));
}

#[test]
fn leavers_stop_and_are_shown_left() {
    let mut sim = toys(4, 4);
    sim.settle(20 * SECOND);
    sim.apply(Action::Leave(2));
    sim.run_for(SECOND);
    assert_eq!((sim.running(), sim.shown_as(2, Status::Left)), (3, 3));
    assert!(sim.converged());
}

#[test]
fn strangers_do_not_meet() {
    let mut sim = Sim::<Toy>::new(Setup {
        nodes: 3,
        ..Setup::default()
    });
    sim.set_realm(2, 1);
    sim.start_all(SECOND);
    sim.run_for(10 * SECOND);
    assert!(sim.shown(0, 1).is_some() && sim.shown(0, 2).is_none());
    assert!(sim.converged());
}

/// Spoils the third event at node 3.
fn at_third_event(mut spoil: impl FnMut(Output) -> Vec<Output> + 'static) -> Tap {
    Box::new(move |slot, output| match &output {
        Output::Event(event) if slot == 3 && event.sequence == 3 => spoil(output),
        _ => vec![output],
    })
}

#[test]
fn lost_doubled_reordered_and_damaged_events_are_found() {
    let lost = run(Some(at_third_event(|_| Vec::new())));
    assert!(lost.contains(&"event_in_order"), "{lost:?}");
    let doubled = run(Some(at_third_event(|event| vec![event.clone(), event])));
    assert!(doubled.contains(&"event_in_order"), "{doubled:?}");
    let mut kept = None;
    let reordered: Tap = Box::new(move |slot, output| match &output {
        Output::Event(event) if slot == 3 && event.sequence == 3 => {
            kept = Some(output);
            Vec::new()
        }
        Output::Event(event) if slot == 3 && event.sequence == 4 => {
            std::iter::once(output).chain(kept.take()).collect()
        }
        _ => vec![output],
    });
    assert!(run(Some(reordered)).contains(&"event_in_order"));
    let damaged = run(Some(at_third_event(|output| {
        let Output::Event(event) = output else {
            return Vec::new();
        };
        let mut event = (*event).clone();
        event.payload = Bytes::from_static(b"?");
        vec![Output::Event(Arc::new(event))]
    })));
    assert_eq!(damaged, ["event_untouched"; 2]);
}

#[test]
fn a_stream_that_ends_early_is_found() {
    let deaf: Tap = Box::new(|slot, output| match &output {
        Output::Event(event) if slot == 3 && event.sequence > 15 => Vec::new(),
        _ => vec![output],
    });
    assert_eq!(run(Some(deaf)), ["replicated_reached"; 2]);
}

#[test]
fn hidden_forged_and_slandered_members_are_found() {
    let hidden: Tap = Box::new(|slot, output| match &output {
        Output::MemberUpdated(m) if slot == 0 && &*m.name == "n0004" => Vec::new(),
        _ => vec![output],
    });
    assert_eq!(run(Some(hidden)), ["views_converge"]);
    let forge = |change: fn(&mut muster_engine::Member)| -> Tap {
        let mut done = false;
        Box::new(move |slot, output| {
            let Output::MemberUpdated(m) = &output else {
                return vec![output];
            };
            if done || slot != 0 || &*m.name != "n0004" {
                return vec![output];
            }
            done = true;
            let mut forged = (**m).clone();
            change(&mut forged);
            vec![output, Output::MemberUpdated(Arc::new(forged))]
        })
    };
    let failed = run(Some(forge(|m| m.status = Status::Failed)));
    assert!(failed.contains(&"live_not_failed"), "{failed:?}");
    let older = run(Some(forge(|m| m.boot -= 1)));
    assert!(older.contains(&"boot_never_falls"), "{older:?}");
    let ahead = run(Some(forge(|m| m.incarnation += 1)));
    assert!(ahead.contains(&"owner_said_so"), "{ahead:?}");
}

#[test]
fn the_resurrected_are_found() {
    let mut sim = toys(4, 2);
    sim.settle(20 * SECOND);
    let mut alive = None;
    sim.set_tap(Box::new(move |slot, output| match &output {
        Output::MemberUpdated(m) if slot == 1 && m.status == Status::Failed => {
            let mut risen = (**m).clone();
            risen.status = Status::Alive;
            alive.get_or_insert(());
            vec![output, Output::MemberUpdated(Arc::new(risen))]
        }
        _ => vec![output],
    }));
    sim.apply(Action::Kill(3));
    sim.run_for(20 * SECOND);
    assert!(broken(&sim).contains(&"no_resurrection"));
    assert!(sim.settle(SECOND).is_none());
    assert!(broken(&sim).contains(&"views_converge"));
}

#[test]
fn who_denies_itself_or_floods_is_found() {
    let denied = run(Some(Box::new(|slot, output| match &output {
        Output::MemberUpdated(m) if slot == 4 && m.is_self => {
            let mut me = (**m).clone();
            me.status = Status::Suspect;
            vec![Output::MemberUpdated(Arc::new(me))]
        }
        _ => vec![output],
    })));
    assert!(denied.contains(&"self_alive"), "{denied:?}");
    let flood = run(Some(Box::new(|slot, output| match &output {
        Output::Transmit { .. } if slot == 2 => vec![output; 600],
        _ => vec![output],
    })));
    assert!(flood.contains(&"sends_bounded"), "{flood:?}");
    let twice = run(Some(Box::new(|slot, output| match &output {
        Output::Respond { .. } if slot == 2 => vec![output.clone(), output],
        _ => vec![output],
    })));
    assert!(twice.contains(&"answers_fit"), "{twice:?}");
    let boast = run(Some(Box::new(|_, output| match output {
        Output::Replicated { sequence } => vec![Output::Replicated {
            sequence: sequence + 1,
        }],
        _ => vec![output],
    })));
    assert!(boast.contains(&"replicated_grows"), "{boast:?}");
}
