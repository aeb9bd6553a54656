//! Bugs planted between a good engine and everybody else, and found.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a tap passes on all that it does not spoil"
)]

use std::sync::Arc;

use bytes::Bytes;
use muster_engine::{Engine, Member, Output, Status};
use muster_tests::sim::{Action, Address, QUERY_EVERY, Setup, Sim, Tap};

use crate::support::{SECOND, hosts, settled};

/// Events from two nodes, a kill and a restart, with or without a bug; what was
/// broken.
fn run(tap: Option<Tap>) -> Vec<&'static str> {
    let mut sim = settled(hosts(6, 90));
    if let Some(tap) = tap {
        sim.set_tap(tap);
    }
    for slot in [1, 2] {
        sim.apply(Action::Burst(slot, 40, 30));
    }
    sim.run_for(5 * SECOND);
    sim.apply(Action::Kill(5));
    sim.apply(Action::Restart(4, Address::New));
    sim.run_for(25 * SECOND);
    sim.settle(10 * SECOND);
    sim.finish();
    sim.violations()
        .iter()
        .map(|violation| violation.invariant)
        .collect()
}

fn found(invariant: &str, tap: Tap) {
    let broken = run(Some(tap));
    assert!(
        broken.contains(&invariant),
        "{invariant} is not in {broken:?}"
    );
}

/// Spoils the third event that reaches node 3.
fn spoilt_event(mut spoil: impl FnMut(Output) -> Vec<Output> + 'static) -> Tap {
    Box::new(move |slot, output| match &output {
        Output::Event(event) if slot == 3 && event.sequence == 3 => spoil(output),
        _ => vec![output],
    })
}

/// Follows the first update of a member at node 0 that `wanted` picks with a
/// forged one.
fn forged(wanted: fn(&Member) -> bool, change: fn(&mut Member)) -> Tap {
    let mut done = false;
    Box::new(move |slot, output| match &output {
        Output::MemberUpdated(member) if slot == 0 && !done && wanted(member) => {
            done = true;
            let mut member = (**member).clone();
            change(&mut member);
            vec![output, Output::MemberUpdated(Arc::new(member))]
        }
        _ => vec![output],
    })
}

#[test]
fn the_run_itself_is_good() {
    assert_eq!(run(None), Vec::<&str>::new());
}

#[test]
fn a_lost_event() {
    found("event_in_order", spoilt_event(|_| Vec::new()));
}

#[test]
fn a_doubled_event() {
    found(
        "event_in_order",
        spoilt_event(|event| vec![event.clone(), event]),
    );
}

#[test]
fn an_overtaken_event() {
    let mut kept = None;
    found(
        "event_in_order",
        Box::new(move |slot, output| match &output {
            Output::Event(event) if slot == 3 && event.sequence == 3 => {
                kept = Some(output);
                Vec::new()
            }
            Output::Event(event) if slot == 3 && event.sequence == 4 => {
                std::iter::once(output).chain(kept.take()).collect()
            }
            _ => vec![output],
        }),
    );
}

/// Spoils the first query of each burst that reaches node 3.
fn spoilt_query(mut spoil: impl FnMut(Output) -> Vec<Output> + 'static) -> Tap {
    Box::new(move |slot, output| match &output {
        Output::Query(query) if slot == 3 && query.sequence == QUERY_EVERY => spoil(output),
        _ => vec![output],
    })
}

#[test]
fn a_lost_query() {
    found("query_before_passed", spoilt_query(|_| Vec::new()));
}

#[test]
fn a_doubled_query() {
    found(
        "query_once",
        spoilt_query(|query| vec![query.clone(), query]),
    );
}

#[test]
fn a_damaged_event() {
    let damage = |output| match output {
        Output::Event(event) => {
            let mut event = (*event).clone();
            event.payload = Bytes::from_static(b"?");
            vec![Output::Event(Arc::new(event))]
        }
        _ => Vec::new(),
    };
    found("event_untouched", spoilt_event(damage));
}

#[test]
fn a_tail_that_never_comes() {
    found(
        "replicated_reached",
        Box::new(|slot, output| match &output {
            Output::Event(event) if slot == 3 && event.sequence > 30 => Vec::new(),
            Output::EventPassed { sequence, .. } if slot == 3 && *sequence > 30 => Vec::new(),
            _ => vec![output],
        }),
    );
}

#[test]
fn a_boast_of_copies() {
    found(
        "replicated_grows",
        Box::new(|_, output| match output {
            Output::Replicated { sequence } => {
                let sequence = sequence + 100;
                vec![Output::Replicated { sequence }]
            }
            _ => vec![output],
        }),
    );
}

#[test]
fn a_hidden_member() {
    found(
        "views_converge",
        Box::new(|slot, output| match &output {
            Output::MemberUpdated(member) if slot == 0 && &*member.name == "n0004" => Vec::new(),
            _ => vec![output],
        }),
    );
}

#[test]
fn a_death_kept_secret() {
    found(
        "views_converge",
        Box::new(|slot, output| match &output {
            Output::MemberUpdated(member) if slot == 0 && member.status == Status::Failed => {
                Vec::new()
            }
            _ => vec![output],
        }),
    );
}

#[test]
fn a_slandered_member() {
    let back = |member: &Member| &*member.name == "n0004" && member.status == Status::Alive;
    found(
        "live_not_failed",
        forged(back, |member| member.status = Status::Failed),
    );
}

#[test]
fn a_member_risen_from_the_dead() {
    let failed = |member: &Member| member.status == Status::Failed;
    found(
        "no_resurrection",
        forged(failed, |member| member.status = Status::Alive),
    );
}

#[test]
fn an_older_boot() {
    let back = |member: &Member| &*member.name == "n0004";
    found("boot_never_falls", forged(back, |member| member.boot -= 1));
}

#[test]
fn an_incarnation_that_never_was() {
    let back = |member: &Member| &*member.name == "n0004";
    found(
        "owner_said_so",
        forged(back, |member| member.incarnation += 1_000),
    );
}

#[test]
fn a_protocol_that_somebody_does_not_speak() {
    let back = |member: &Member| &*member.name == "n0004";
    found(
        "protocol_understood",
        forged(back, |member| member.protocol = (0, 0)),
    );
}

#[test]
fn a_member_shown_where_it_was_before() {
    found(
        "views_converge",
        Box::new(|slot, output| match &output {
            Output::MemberUpdated(member) if slot == 0 && &*member.name == "n0004" => {
                let mut member = (**member).clone();
                member.addr = muster_tests::sim::address(4);
                vec![Output::MemberUpdated(Arc::new(member))]
            }
            _ => vec![output],
        }),
    );
}

/// Reports count false failures whether or not something excuses them.
#[test]
fn a_slander_is_counted() {
    let mut sim = settled(hosts(4, 94));
    let before = sim.false_failures();
    let slandered = forged(
        |member| &*member.name == "n0002",
        |member| member.status = Status::Failed,
    );
    sim.set_tap(Box::new(slandered));
    sim.apply(Action::Tag(2, "color".to_owned(), "red".to_owned()));
    sim.run_for(SECOND);
    assert_eq!((before, sim.false_failures()), (0, 1));
}

#[test]
fn a_node_that_denies_itself() {
    found(
        "self_alive",
        Box::new(|slot, output| match &output {
            Output::MemberUpdated(member) if slot == 4 && member.is_self => {
                let mut me = (**member).clone();
                me.status = Status::Suspect;
                vec![Output::MemberUpdated(Arc::new(me))]
            }
            _ => vec![output],
        }),
    );
}

#[test]
fn a_flood() {
    found(
        "sends_bounded",
        Box::new(|slot, output| match &output {
            Output::Transmit { .. } if slot == 2 => vec![output; 600],
            _ => vec![output],
        }),
    );
}

#[test]
fn two_answers_to_one_request() {
    found(
        "answers_fit",
        Box::new(|_, output| match &output {
            Output::Respond { .. } => vec![output.clone(), output],
            _ => vec![output],
        }),
    );
}

#[test]
fn a_leave_that_takes_too_long() {
    let mut setup = hosts(4, 91);
    setup.demands.leave_us = 0;
    let mut sim: Sim = settled(setup);
    sim.apply(Action::Leave(2));
    sim.run_for(5 * SECOND);
    let broken: Vec<_> = sim.violations().iter().map(|v| v.invariant).collect();
    assert_eq!(broken, ["leave_in_time"]);
}

#[test]
fn a_queue_beyond_its_bound() {
    let mut setup = hosts(4, 92);
    setup.demands.gauges = vec![("members_known", 3)];
    let mut sim: Sim = Sim::new(setup);
    sim.start_all(SECOND);
    sim.run_for(5 * SECOND);
    let broken = |v: &muster_tests::sim::Violation| v.invariant == "gauges_bounded";
    assert!(sim.violations().iter().any(broken));
}

/// A gauge that the engine no longer has would never be found too large.
#[test]
fn every_bounded_gauge_is_there() {
    let sim = settled(hosts(3, 93));
    let counters = sim.machine(0).map(Engine::counters).unwrap_or_default();
    for (gauge, _) in Setup::default().demands.gauges {
        assert!(counters.iter().any(|(name, _)| *name == gauge), "{gauge}");
    }
}
