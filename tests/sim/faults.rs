//! What clusters live through.

use std::time::Duration;

use muster_engine::{Note, Status};
use muster_tests::sim::{Action, Address, Setup, Sim};

use crate::support::{MILLI, SECOND, ends_well, hosts, lossy, never_failed, settled, times_shown};

/// Kills `slot` and waits until all others show it failed; seconds to the last.
fn kill(sim: &mut Sim, slot: usize) -> f64 {
    sim.apply(Action::Kill(slot));
    let others = sim.running();
    let shown = |sim: &Sim| sim.shown_as(slot, Status::Failed) == others;
    let took = sim.run_until(30 * SECOND, 10 * MILLI, shown);
    took.expect("everybody learns of it").as_secs_f64()
}

#[test]
fn the_killed_fail_everywhere_in_time() {
    for (nodes, loss) in [(3, 0), (8, 0), (32, 5)] {
        let mut sim = settled(Setup {
            weather: lossy(loss),
            ..hosts(nodes, 20)
        });
        let took = kill(&mut sim, 1);
        println!("{nodes} nodes, {loss} % loss: failed everywhere after {took:.2} s");
        assert!(took <= 0.5, "{took}");
        ends_well(&mut sim, SECOND);
    }
}

#[test]
fn restarts_replace_the_failed() {
    for address in [Address::Same, Address::New] {
        let mut sim = settled(hosts(8, 21));
        let boot = sim.shown(0, 4).expect("it is known").boot;
        kill(&mut sim, 4);
        sim.apply(Action::Restart(4, address));
        let took = sim.settle(10 * SECOND);
        println!("{address:?}: back everywhere after {took:?}");
        assert!(sim.shown(0, 4).is_some_and(|member| member.boot > boot));
        ends_well(&mut sim, SECOND);
    }
}

#[test]
fn quick_restarts_are_never_failures() {
    for address in [Address::Same, Address::New] {
        let mut sim = settled(hosts(8, 22));
        sim.apply(Action::Restart(4, address));
        sim.settle(10 * SECOND);
        sim.run_for(20 * SECOND);
        never_failed(&sim, 4);
        ends_well(&mut sim, SECOND);
    }
}

#[test]
fn a_pause_of_five_seconds_is_no_failure() {
    for nodes in [3, 5, 20] {
        let mut sim = settled(hosts(nodes, 23));
        for _ in 0..5 {
            sim.apply(Action::Pause(2));
            sim.run_for(5 * SECOND);
            sim.apply(Action::Resume(2));
            sim.run_for(7 * SECOND);
        }
        never_failed(&sim, 2);
        ends_well(&mut sim, 5 * SECOND);
    }
}

#[test]
fn a_pause_of_thirty_seconds_is_one() {
    let mut sim = settled(hosts(8, 24));
    let boot = sim.shown(0, 2).expect("it is known").boot;
    sim.apply(Action::Pause(2));
    sim.run_for(30 * SECOND);
    assert_eq!(sim.shown_as(2, Status::Failed), 7);
    sim.apply(Action::Resume(2));
    let took = sim.settle(15 * SECOND);
    println!("back everywhere {took:?} after it went on");
    assert!(sim.shown(0, 2).is_some_and(|member| member.boot == boot));
    ends_well(&mut sim, SECOND);
    for viewer in [0, 1, 3] {
        let failed = times_shown(&sim, viewer, 2, Status::Failed);
        assert_eq!(failed.len(), 1, "node {viewer} showed it at {failed:?}");
    }
}

#[test]
fn leavers_are_left_everywhere_within_two_seconds() {
    for (nodes, loss) in [(3, 0), (32, 0), (32, 5)] {
        let mut sim = settled(Setup {
            weather: lossy(loss),
            ..hosts(nodes, 25)
        });
        sim.apply(Action::Leave(1));
        let shown = |sim: &Sim| sim.shown_as(1, Status::Left) == nodes - 1;
        let took = sim.run_until(10 * SECOND, 10 * MILLI, shown);
        println!("{nodes} nodes, {loss} % loss: left everywhere after {took:?}");
        assert!(took.is_some_and(|took| took <= 2 * SECOND));
        sim.run_for(30 * SECOND);
        never_failed(&sim, 1);
        ends_well(&mut sim, SECOND);
    }
}

#[test]
fn halves_that_lost_each_other_meet_again() {
    for nodes in [2, 8, 24] {
        let mut sim = settled(hosts(nodes, 26));
        sim.apply(Action::Split((0..nodes / 2).collect()));
        sim.run_for(60 * SECOND);
        assert_eq!(sim.shown_as(0, Status::Failed), nodes - nodes / 2);
        sim.apply(Action::HealAll);
        let took = sim.settle(15 * SECOND);
        println!("{nodes} nodes: all know all {took:?} after the heal");
        ends_well(&mut sim, SECOND);
    }
}

/// Time until all of `viewers` show all of `gone` as failed.
fn until_all_failed(sim: &mut Sim, viewers: &[usize], gone: &[usize]) -> Option<Duration> {
    sim.run_until(120 * SECOND, 100 * MILLI, |sim| {
        let failed = |viewer: usize, of: usize| {
            let shown = sim.shown(viewer, of);
            shown.is_some_and(|member| member.status == Status::Failed)
        };
        let mut pairs = viewers
            .iter()
            .flat_map(|viewer| gone.iter().map(move |of| (*viewer, *of)));
        pairs.all(|(viewer, of)| failed(viewer, of))
    })
}

/// Most of those that the smaller side asks for help are gone as well. It took 45 s and
/// more while it held that against itself.
#[test]
fn both_sides_of_a_cut_know_soon_who_is_gone() {
    for (nodes, small) in [(5, 2), (10, 4), (25, 10)] {
        let mut times = Vec::new();
        for seed in 50..58 {
            let mut sim = settled(hosts(nodes, seed));
            let here: Vec<usize> = (0..small).collect();
            let there: Vec<usize> = (small..nodes).collect();
            sim.apply(Action::Split(here.clone()));
            let few = until_all_failed(&mut sim, &here, &there);
            times.push(few.expect("the smaller side learns of it"));
            let many = until_all_failed(&mut sim, &there, &here);
            many.expect("the larger side learns of it");
            sim.apply(Action::HealAll);
            ends_well(&mut sim, 15 * SECOND);
        }
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{small} of {nodes} cut off: they know after {median:?}, worst {worst:?}");
        assert!(median <= 20 * SECOND && worst <= 30 * SECOND, "{times:?}");
    }
}

/// The first node never asked anybody to let it in: it asks for the first time when the
/// network is whole again, and that is no beginning.
#[test]
fn who_was_cut_off_gets_what_was_sent_meanwhile() {
    for seed in 26..30 {
        let mut sim = settled(hosts(6, seed));
        sim.run_for(5 * SECOND);
        sim.apply(Action::Split((0..2).collect()));
        sim.run_for(20 * SECOND);
        assert_eq!(sim.shown_as(0, Status::Failed), 4);
        sim.apply(Action::Burst(4, 20, 100));
        sim.run_for(SECOND);
        sim.apply(Action::HealAll);
        let everywhere = |sim: &Sim| {
            let sent = &sim.streams()[0].sent;
            sent.len() == 20 && sent.iter().all(|event| event.reached == 6)
        };
        let took = sim.run_until(60 * SECOND, 5 * MILLI, everywhere);
        println!("seed {seed}: events everywhere {took:?} after the heal");
        assert!(took.is_some(), "seed {seed}");
        ends_well(&mut sim, SECOND);
    }
}

#[test]
fn one_deaf_node_takes_nobody_down() {
    let mut sim = settled(hosts(10, 27));
    sim.apply(Action::Deafen(4));
    sim.run_for(60 * SECOND);
    for subject in (0..10).filter(|slot| *slot != 4) {
        for viewer in (0..10).filter(|slot| *slot != 4) {
            let failed = times_shown(&sim, viewer, subject, Status::Failed);
            assert!(
                failed.is_empty(),
                "{viewer} called {subject} failed at {failed:?}"
            );
        }
    }
    sim.apply(Action::HealAll);
    ends_well(&mut sim, 15 * SECOND);
}

/// It suspects everybody and then stands still, while their answers come and go.
#[test]
fn a_watcher_that_stood_still_declares_nobody_failed() {
    for seed in 40..44 {
        let mut sim = settled(hosts(12, seed));
        sim.apply(Action::Deafen(4));
        sim.run_for(4 * SECOND);
        let suspects = (0..12).filter(|slot| shown_suspect(&sim, 4, *slot)).count();
        assert!(suspects > 0, "seed {seed}");
        sim.apply(Action::Pause(4));
        sim.apply(Action::HealAll);
        sim.run_for(20 * SECOND);
        sim.apply(Action::Resume(4));
        sim.run_for(20 * SECOND);
        for subject in 0..12 {
            let failed = times_shown(&sim, 4, subject, Status::Failed);
            assert!(failed.is_empty(), "seed {seed}: {subject} at {failed:?}");
        }
        ends_well(&mut sim, 15 * SECOND);
    }
}

/// It hears none of the refutations of those whom it suspects; half time is after
/// that, and they answer when asked.
#[test]
fn a_watcher_that_was_deaf_for_a_while_asks_before_it_judges() {
    for seed in 45..49 {
        let mut sim = settled(hosts(30, seed));
        sim.apply(Action::Deafen(4));
        sim.run_for(9 * SECOND / 2);
        let suspects = (0..30).filter(|slot| shown_suspect(&sim, 4, *slot)).count();
        assert!(suspects > 0, "seed {seed}");
        sim.apply(Action::HealAll);
        sim.run_for(20 * SECOND);
        // Not even its kernel was heard for so long: to the others it was gone itself.
        for subject in (0..30).filter(|slot| *slot != 4) {
            never_failed(&sim, subject);
        }
        ends_well(&mut sim, SECOND);
    }
}

fn shown_suspect(sim: &Sim, viewer: usize, subject: usize) -> bool {
    let shown = sim.shown(viewer, subject);
    shown.is_some_and(|member| member.status == Status::Suspect)
}

#[test]
fn a_mute_node_fails_and_comes_back() {
    let mut sim = settled(hosts(10, 28));
    sim.apply(Action::Mute(vec![4]));
    sim.run_for(60 * SECOND);
    assert_eq!(sim.shown_as(4, Status::Failed), 9);
    sim.apply(Action::HealAll);
    ends_well(&mut sim, 15 * SECOND);
}

#[test]
fn a_clock_set_back_changes_nothing() {
    let mut sim = settled(hosts(6, 29));
    let started = sim.shown(0, 2).expect("it is known").started_unix_ms;
    sim.apply(Action::ClockJump(2, -3_600_000));
    sim.apply(Action::Burst(2, 50, 20));
    sim.run_for(30 * SECOND);
    for subject in 0..6 {
        never_failed(&sim, subject);
    }
    assert!(
        sim.shown(0, 2)
            .is_some_and(|member| member.started_unix_ms == started)
    );
    ends_well(&mut sim, SECOND);
}

/// Without a data directory, the only source of boot numbers is the clock.
#[test]
fn a_restart_under_an_older_clock_is_still_newer() {
    let mut sim = settled(Setup {
        disk: false,
        ..hosts(6, 30)
    });
    let boot = sim.shown(0, 2).expect("it is known").boot;
    sim.apply(Action::ClockJump(2, -3_600_000));
    sim.apply(Action::Restart(2, Address::Same));
    sim.run_for(5 * SECOND);
    assert!(sim.shown(0, 2).is_some_and(|member| member.boot > boot));
    let raised = |note: &Note| matches!(note, Note::BootRaised { .. });
    assert!(sim.notes(2).iter().any(raised));
    sim.apply(Action::Burst(2, 10, 20));
    ends_well(&mut sim, 10 * SECOND);
}

/// Only the clock of the restarted node says that it is the oldest.
#[test]
fn a_wrong_clock_claims_no_seniority() {
    let mut sim = settled(hosts(6, 31));
    sim.run_for(60 * SECOND);
    sim.apply(Action::ClockJump(5, -3_600_000));
    sim.apply(Action::Restart(5, Address::Same));
    sim.settle(10 * SECOND);
    let started = |slot| sim.shown(1, slot).expect("it is known").started_unix_ms;
    assert!((0..5).all(|slot| started(slot) <= started(5)));
    ends_well(&mut sim, SECOND);
}

#[test]
fn two_nodes_with_one_name_both_stay_up() {
    let mut setup = hosts(6, 32);
    setup.demands.shared_names = true;
    let mut sim: Sim = Sim::new(setup);
    sim.rename(5, "n0003");
    for slot in 0..5 {
        sim.apply(Action::Start(slot));
    }
    sim.run_for(5 * SECOND);
    sim.apply(Action::Start(5));
    sim.settle(20 * SECOND);
    sim.run_for(20 * SECOND);
    let note = |slot, wanted: fn(&Note) -> bool| sim.notes(slot).iter().any(wanted);
    assert!(note(3, |note| matches!(note, Note::ConflictLost { .. })));
    let holder = sim.shown(0, 5).expect("the name is held");
    assert_eq!(holder.addr, muster_tests::sim::address(5));
    let loser = sim.shown_loser(0, 3).expect("the loser is shown, too");
    assert!(
        loser
            .alias
            .as_ref()
            .is_some_and(|alias| alias.starts_with("n0003~"))
    );
    assert_eq!(sim.running(), 6);
    ends_well(&mut sim, SECOND);
}

#[test]
fn the_forced_out_are_left_everywhere() {
    let mut sim = settled(hosts(8, 33));
    let refused = sim.force_leave(0, 5, false);
    assert!(refused.is_err(), "it is alive");
    kill(&mut sim, 5);
    sim.force_leave(0, 5, false).expect("it failed");
    let shown = |sim: &Sim| sim.shown_as(5, Status::Left) == 7;
    let took = sim.run_until(20 * SECOND, 10 * MILLI, shown);
    println!("left everywhere after {took:?}");
    assert!(took.is_some());
    ends_well(&mut sim, SECOND);
}

#[test]
fn all_restart_at_once() {
    let mut sim = settled(Setup {
        seeds: vec![0, 1, 2],
        ..hosts(24, 34)
    });
    for slot in 0..24 {
        sim.apply(Action::Kill(slot));
    }
    sim.run_for(2 * SECOND);
    sim.start_all(SECOND);
    sim.run_for(SECOND);
    let took = sim.settle(15 * SECOND);
    println!("all know all {took:?} after the last restart");
    ends_well(&mut sim, SECOND);
}

#[test]
fn one_after_the_other_restarts() {
    let mut sim = settled(hosts(8, 35));
    for slot in 0..8 {
        sim.apply(Action::Leave(slot));
        sim.run_for(2 * SECOND);
        sim.apply(Action::Start(slot));
        sim.run_for(3 * SECOND);
    }
    for slot in 0..8 {
        never_failed(&sim, slot);
    }
    ends_well(&mut sim, 15 * SECOND);
}

#[test]
fn tags_reach_everybody() {
    let mut sim = settled(hosts(16, 36));
    sim.apply(Action::Tag(3, "zone".to_owned(), "a".repeat(200)));
    let took = sim.settle(5 * SECOND);
    println!("tags everywhere after {took:?}");
    ends_well(&mut sim, SECOND);
}

#[test]
fn an_operator_joins_by_hand() {
    let mut sim: Sim = Sim::new(Setup {
        seeds: Vec::new(),
        ..hosts(3, 37)
    });
    sim.start_all(SECOND);
    sim.run_for(5 * SECOND);
    assert!(sim.shown(0, 1).is_none());
    sim.join(0, 7, &[1, 2, 0]);
    sim.run_for(10 * SECOND);
    let good = sim
        .joins(0)
        .iter()
        .filter(|(attempt, result)| *attempt == 7 && result.is_ok());
    assert_eq!(
        (good.count(), sim.joins(0).len()),
        (2, 3),
        "{:?}",
        sim.joins(0)
    );
    ends_well(&mut sim, 5 * SECOND);
}
