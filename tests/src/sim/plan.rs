//! Random scenarios: a cluster, weather and faults from one seed.

use std::time::Duration;

use crate::sim::cluster::Sim;
use crate::sim::machine::Machine;
use crate::sim::network::Weather;
use crate::sim::rng::{PPM, Rng};
use crate::sim::script::{Action, Address};
use crate::sim::setup::Setup;

/// When faults begin and when the last of them ends.
const FAULTS: (u64, u64) = (15, 75);

/// How long views may take to agree after the last fault.
const SETTLE: Duration = Duration::from_secs(45);

/// How long events may take to be everywhere after that.
const REPAIR: Duration = Duration::from_secs(15);

/// A random scenario.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cluster and its weather.
    pub setup: Setup,
    /// Everybody starts within this.
    pub start: Duration,
    /// What happens, and when.
    pub actions: Vec<(Duration, Action)>,
}

impl Plan {
    /// The scenario of a seed.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed, u64::MAX);
        let setup = random_setup(seed, &mut rng);
        let start = Duration::from_secs([1, 1, 5, 10][rng.index(4)]);
        let mut plan = Self {
            setup,
            start,
            actions: Vec::new(),
        };
        let mut dice = Dice {
            whole: (0..plan.setup.nodes).collect(),
            rng,
        };
        for _ in 0..2 + dice.rng.index(4) {
            plan.add_burst(&mut dice);
        }
        for _ in 0..1 + dice.rng.index(6) {
            plan.add_fault(&mut dice);
        }
        if dice.rng.chance(PPM / 2) {
            plan.add_cut(&mut dice);
        }
        plan
    }

    /// Plays it: all start, everything happens, everything is healed, all agree
    /// again, and every replicated event is where it is owed.
    #[must_use]
    pub fn play<M: Machine>(&self) -> Sim<M> {
        let mut sim = Sim::new(self.setup.clone());
        self.play_on(&mut sim);
        sim
    }

    /// Plays it on a cluster that was made of its setup.
    pub fn play_on<M: Machine>(&self, sim: &mut Sim<M>) {
        sim.start_all(self.start);
        for (at, action) in &self.actions {
            sim.after(*at, action.clone());
        }
        sim.run_for(Duration::from_secs(FAULTS.1 + 1));
        sim.apply(Action::HealAll);
        sim.settle(SETTLE);
        sim.run_for(REPAIR);
        sim.finish();
    }

    fn add_burst(&mut self, dice: &mut Dice) {
        let slot = dice.rng.index(self.setup.nodes);
        let count = [1, 3, 20, 200][dice.rng.index(4)];
        let bytes = [0, 10, 200, 2_000][dice.rng.index(4)];
        let at = dice.time();
        self.actions.push((at, Action::Burst(slot, count, bytes)));
    }

    /// One fault of one node, which has no other: so that at most one copy of
    /// anything is lost by accident.
    fn add_fault(&mut self, dice: &mut Dice) {
        let Some(slot) = dice.take() else { return };
        let (at, later) = dice.span();
        let seed = self.setup.seeds.contains(&slot);
        let address = match dice.rng.chance(PPM / 2) {
            true => Address::Same,
            false => Address::New,
        };
        let actions = match dice.rng.index(8) {
            0 | 1 => vec![(at, Action::Restart(slot, address))],
            2 if !seed => vec![(at, Action::Kill(slot))],
            2 | 3 => vec![
                (at, Action::Kill(slot)),
                (later, Action::Restart(slot, address)),
            ],
            4 => {
                let moment = Duration::from_millis(100 + dice.rng.below(3_000));
                vec![
                    (at, Action::Pause(slot)),
                    (at + moment, Action::Resume(slot)),
                ]
            }
            5 => vec![(at, Action::Pause(slot)), (later, Action::Resume(slot))],
            6 => {
                let mut actions = vec![(at, Action::Leave(slot))];
                if seed || dice.rng.chance(PPM / 2) {
                    let back = later + Duration::from_secs(2);
                    actions.push((back, Action::Restart(slot, address)));
                }
                actions
            }
            _ => {
                let hours = [-3_600_000, -10_000, 10_000, 3_600_000][dice.rng.index(4)];
                let tag = Action::Tag(slot, "color".to_owned(), hours.to_string());
                vec![(at, Action::ClockJump(slot, hours)), (later, tag)]
            }
        };
        self.actions.extend(actions);
    }

    fn add_cut(&mut self, dice: &mut Dice) {
        let nodes = self.setup.nodes;
        let (at, later) = dice.span();
        let cut = match dice.rng.index(3) {
            0 => Action::Deafen(dice.rng.index(nodes)),
            1 => Action::Mute(vec![dice.rng.index(nodes)]),
            _ => {
                let size = 1 + dice.rng.index(nodes - 1);
                Action::Split(dice.some_of(nodes, size))
            }
        };
        self.actions.push((at, cut));
        self.actions.push((later, Action::HealAll));
    }
}

/// Chance, and who has had no fault yet.
struct Dice {
    rng: Rng,
    whole: Vec<usize>,
}

impl Dice {
    fn time(&mut self) -> Duration {
        let (from, to) = FAULTS;
        Duration::from_micros(self.rng.between(from * 1_000_000, to * 1_000_000))
    }

    /// Two times, the earlier one first.
    fn span(&mut self) -> (Duration, Duration) {
        let (one, other) = (self.time(), self.time());
        (one.min(other), one.max(other))
    }

    /// A node without a fault, as long as a third of the cluster has none.
    fn take(&mut self) -> Option<usize> {
        let index = self.rng.index(self.whole.len());
        (self.whole.len() > 2).then(|| self.whole.swap_remove(index))
    }

    fn some_of(&mut self, nodes: usize, size: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..nodes).collect();
        while all.len() > size {
            let at = self.rng.index(all.len());
            all.swap_remove(at);
        }
        all
    }
}

fn random_setup(seed: u64, rng: &mut Rng) -> Setup {
    let nodes = match rng.index(20) {
        0..10 => rng.between(3, 8),
        10..17 => rng.between(9, 20),
        _ => rng.between(21, 40),
    };
    let percent = |percent: u32| PPM / 100 * percent;
    let weather = Weather {
        loss_ppm: percent([0, 0, 1, 5, 10][rng.index(5)]),
        duplicate_ppm: percent([0, 1, 5][rng.index(3)]),
        reorder_ppm: percent([0, 1, 5][rng.index(3)]),
        ..Weather::default()
    };
    let seeds = match rng.chance(PPM / 2) {
        true => vec![0],
        false => vec![0, 1, 2],
    };
    Setup {
        nodes: usize::try_from(nodes).unwrap_or(3),
        seed,
        weather,
        seeds,
        dns_loss_ppm: percent([0, 0, 20][rng.index(3)]),
        disk: rng.chance(PPM / 2),
        wall_skew_ms: [0, 0, 5_000, 3_600_000][rng.index(4)],
        sealed: rng.chance(PPM / 4),
        ..Setup::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_decide_everything_and_differ() {
        let show = |seed| format!("{:?}", Plan::random(seed));
        assert_eq!(show(4), show(4));
        assert_ne!(show(4), show(5));
    }

    #[test]
    fn every_pause_and_cut_ends_and_seeds_come_back() {
        for seed in 0..500 {
            let plan = Plan::random(seed);
            let last = |wanted: fn(&Action) -> bool| {
                let times = plan.actions.iter().filter(|(_, action)| wanted(action));
                times.map(|(at, _)| *at).max()
            };
            let pause = last(|action| matches!(action, Action::Pause(_)));
            assert!(
                pause <= last(|action| matches!(action, Action::Resume(_))),
                "{seed}"
            );
            let kill = last(|action| matches!(action, Action::Kill(0) | Action::Leave(0)));
            assert!(
                kill <= last(|action| matches!(action, Action::Restart(0, _))),
                "{seed}"
            );
            assert!((3..=40).contains(&plan.setup.nodes));
        }
    }
}
