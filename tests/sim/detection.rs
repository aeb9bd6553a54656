//! Who is noticed to be gone, how soon, and who never is by mistake.

use std::time::Duration;

use muster_engine::{Engine, Output, Status, StatusReason};
use muster_tests::sim::{Action, Setup, Sim};

use crate::support::{
    MILLI, SECOND, counter, ends_well, hosts, lossy, never_failed, settled, times_shown,
    until_failed,
};

/// How often somebody other than `except` has shown a member as failed that is not
/// one of `except` either.
fn wrong_verdicts(sim: &Sim, except: &[usize]) -> usize {
    let others: Vec<usize> = (0..sim.hosts())
        .filter(|slot| !except.contains(slot))
        .collect();
    let pairs = others
        .iter()
        .flat_map(|viewer| others.iter().map(move |of| (*viewer, *of)));
    pairs
        .map(|(viewer, of)| times_shown(sim, viewer, of, Status::Failed).len())
        .sum()
}

#[test]
fn a_killed_process_is_known_everywhere_at_once_and_why() {
    for (nodes, loss) in [(2, 0), (3, 0), (8, 0), (64, 0), (64, 5)] {
        let mut sim = settled(Setup {
            weather: lossy(loss),
            ..hosts(nodes, 60)
        });
        let mut times = Vec::new();
        for slot in (1..nodes).take(5) {
            sim.apply(Action::Kill(slot));
            times.push(until_failed(&mut sim, slot).expect("everybody learns of it"));
            sim.run_for(2 * SECOND);
        }
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{nodes} nodes, {loss} % loss: known after {median:?}, worst {worst:?}");
        assert!(median <= 200 * MILLI && worst <= 500 * MILLI, "{times:?}");
        let change = &sim.shown(0, 1).expect("it is kept").change;
        assert_eq!(change.reason, StatusReason::ConnectionRefused);
        ends_well(&mut sim, SECOND);
    }
}

/// Its watchers may be among the dead: then others are asked.
#[test]
fn a_part_of_the_cluster_that_dies_at_once_is_known_soon() {
    let mut sim = settled(hosts(32, 61));
    let dead: Vec<usize> = (0..12).collect();
    for slot in &dead {
        sim.apply(Action::Kill(*slot));
    }
    let mut times = Vec::new();
    for slot in &dead {
        times.push(until_failed(&mut sim, *slot).expect("everybody learns of it"));
    }
    let last: Duration = times.iter().sum();
    println!("12 of 32 die at once: the last is known after {last:?}");
    // One whose three watchers all died is found by probes.
    assert!(last <= 20 * SECOND);
    ends_well(&mut sim, SECOND);
}

/// Without streams all that is left is silence: this is what the time above is
/// measured against.
#[test]
fn nobody_would_know_so_soon_without_streams() {
    let mut sim = settled(hosts(8, 62));
    sim.set_tap(Box::new(|_, output| {
        let watch = matches!(output, Output::Watch { .. });
        if watch { Vec::new() } else { vec![output] }
    }));
    // The streams from before the bug go with the processes that held them.
    for slot in 0..8 {
        sim.apply(Action::Restart(slot, muster_tests::sim::Address::Same));
    }
    sim.settle(20 * SECOND);
    sim.run_for(5 * SECOND);
    sim.apply(Action::Kill(3));
    let took = until_failed(&mut sim, 3).expect("everybody learns of it");
    println!("without streams: known after {took:?}");
    assert!(took > 3 * SECOND);
}

/// A host that is gone answers nothing at all, a stopped process's kernel does.
#[test]
fn a_host_that_vanished_goes_sooner_than_a_process_that_stands_still() {
    let (mut gone, mut stopped) = (Vec::new(), Vec::new());
    for seed in 63..68 {
        for (times, action) in [
            (&mut gone, Action::Vanish(5)),
            (&mut stopped, Action::Pause(5)),
        ] {
            let mut sim = settled(hosts(64, seed));
            sim.apply(action);
            times.push(until_failed(&mut sim, 5).expect("everybody learns of it"));
            let reason = sim.shown(0, 5).expect("it is kept").change.reason;
            assert_ne!(reason, StatusReason::ConnectionRefused);
            assert!(sim.violations().is_empty(), "{sim:#?}");
        }
    }
    gone.sort_unstable();
    stopped.sort_unstable();
    println!("a vanished host is known after {gone:?}, a stopped process after {stopped:?}");
    assert!(gone[2] < stopped[2]);
    assert!(gone[4] <= 8 * SECOND && stopped[0] >= 5 * SECOND);
}

#[test]
fn a_long_pause_is_one_death_and_one_return() {
    let mut sim = settled(hosts(16, 70));
    sim.apply(Action::Pause(3));
    sim.run_for(20 * SECOND);
    assert_eq!(sim.shown_as(3, Status::Failed), 15);
    sim.apply(Action::Resume(3));
    let back = sim.run_until(10 * SECOND, MILLI, |sim| {
        sim.shown_as(3, Status::Alive) == 15
    });
    println!("back everywhere {back:?} after it went on");
    assert!(back.is_some_and(|back| back <= SECOND));
    ends_well(&mut sim, 15 * SECOND);
    for viewer in (0..16).filter(|viewer| *viewer != 3) {
        let failed = times_shown(&sim, viewer, 3, Status::Failed);
        assert_eq!(failed.len(), 1, "node {viewer} showed it at {failed:?}");
    }
}

#[test]
fn one_deaf_node_for_five_minutes_harms_nobody_and_says_so() {
    let mut sim = settled(hosts(64, 71));
    sim.apply(Action::Deafen(9));
    sim.run_for(300 * SECOND);
    assert_eq!(wrong_verdicts(&sim, &[9]), 0);
    assert!(counter(&sim, 9, "health_score") >= 3);
    let warnings = sim.machine(9).map(Engine::warnings).unwrap_or_default();
    assert!(
        warnings.iter().any(|text| text.starts_with("degraded")),
        "{warnings:?}"
    );
    let worst = (0..64)
        .filter(|slot| *slot != 9)
        .map(|slot| counter(&sim, slot, "health_score"));
    assert!(worst.max() < Some(3), "nobody else feels it");
    sim.apply(Action::HealAll);
    ends_well(&mut sim, 30 * SECOND);
}

/// It hears one in five datagrams, and streams to it stand still as often as not.
#[test]
fn a_node_that_hears_badly_harms_nobody() {
    let mut sim = settled(hosts(32, 72));
    let others: Vec<usize> = (0..32).filter(|slot| *slot != 9).collect();
    let cut = sim.degrade(&others, &[9], 800_000);
    sim.run_for(120 * SECOND);
    assert_eq!(wrong_verdicts(&sim, &[9]), 0);
    println!(
        "health score of the half-deaf: {}, probes without any echo: {}",
        counter(&sim, 9, "health_score"),
        counter(&sim, 9, "probes_blind")
    );
    sim.heal(cut);
    ends_well(&mut sim, 30 * SECOND);
}

#[test]
fn ten_percent_loss_for_ten_minutes_fails_nobody() {
    let mut sim = settled(Setup {
        weather: lossy(10),
        ..hosts(32, 73)
    });
    sim.run_for(600 * SECOND);
    assert_eq!(wrong_verdicts(&sim, &[]), 0);
    let tcp: u64 = (0..32)
        .map(|slot| counter(&sim, slot, "probes_answered_by_tcp"))
        .sum();
    println!("probes that only TCP answered: {tcp}");
    assert!(tcp > 0);
    ends_well(&mut sim, 5 * SECOND);
}

#[test]
fn a_tenth_of_the_cluster_that_freezes_for_three_seconds_fails_nobody() {
    let mut sim = settled(hosts(128, 74));
    for _ in 0..3 {
        (0..12).for_each(|slot| sim.apply(Action::Pause(slot * 10)));
        sim.run_for(3 * SECOND);
        (0..12).for_each(|slot| sim.apply(Action::Resume(slot * 10)));
        sim.run_for(7 * SECOND);
    }
    for subject in 0..128 {
        never_failed(&sim, subject);
    }
    ends_well(&mut sim, 10 * SECOND);
}

#[test]
fn a_cluster_that_is_quiet_opens_no_streams_and_sends_little() {
    let mut sim = settled(hosts(16, 76));
    sim.run_for(10 * SECOND);
    let before: Vec<_> = (0..16).map(|slot| sim.traffic(slot)).collect();
    sim.run_for(60 * SECOND);
    for (slot, was) in before.into_iter().enumerate() {
        assert_eq!(counter(&sim, slot, "watch_streams_open"), 3);
        let is = sim.traffic(slot);
        // Exchanges that happen whatever digests say bring one or two.
        assert!(is.connects - was.connects <= 6, "{was:?} {is:?}");
        assert_eq!(is.carried_out, 0, "UDP works");
    }
    assert_eq!(counter(&sim, 0, "watch_streams_lost_unexplained"), 0);
    ends_well(&mut sim, SECOND);
}

/// Gossip at random leaves one of 64 members out in one death of a hundred; it then
/// waits for a comparison of digests, for a second or two.
#[test]
fn chance_leaves_nobody_out() {
    let mut times = Vec::new();
    for (nodes, seeds) in [(16, 80..84), (64, 84..96)] {
        for seed in seeds {
            let mut sim = settled(hosts(nodes, seed));
            for slot in (1..nodes).step_by(nodes / 12) {
                sim.apply(Action::Kill(slot));
                let took = until_failed(&mut sim, slot).expect("everybody learns of it");
                times.push((took, nodes, seed, slot));
                sim.run_for(SECOND);
            }
            ends_well(&mut sim, SECOND);
        }
    }
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{} deaths: median {median:?}, worst {worst:?}", times.len());
    assert!(worst.0 <= 500 * MILLI, "{worst:?}");
}
