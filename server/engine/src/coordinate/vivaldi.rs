//! How a node finds its place: each measured round trip pushes or pulls it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::place::{Coordinate, DIMENSIONS, ERROR_MAX, NOTHING, magnitude};

/// Weight of one measurement in the error.
const ERROR_WEIGHT: f64 = 0.25;

/// Weight of one measurement in the place.
const FORCE_WEIGHT: f64 = 0.25;

/// Measurements that the adjustment is made of.
const ADJUSTMENT_WINDOW: usize = 20;

/// Measurements of one member whose median counts: one slow answer moves nobody.
const MEDIAN_OF: usize = 3;

/// At this distance from the origin gravity pulls by a second; the whole cluster
/// would drift away otherwise.
const GRAVITY_RHO: f64 = 150.0;

/// Longest round trip that is believed.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);

/// Why a measurement moved nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// The other node's coordinate is none.
    #[error("not a coordinate")]
    Coordinate,
    /// Longer than any round trip that counts.
    #[error("the round trip took too long")]
    RoundTrip,
}

/// Finds and keeps this node's place.
#[derive(Debug)]
pub(crate) struct Vivaldi {
    place: Coordinate,
    /// How far the recent estimates were off, seconds; a ring.
    off_by: [f64; ADJUSTMENT_WINDOW],
    at: usize,
    /// The latest round trips of each member, seconds, oldest first.
    recent: BTreeMap<u64, Vec<f64>>,
    resets: u64,
    rng: StdRng,
}

impl Vivaldi {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            place: Coordinate::default(),
            off_by: [0.0; ADJUSTMENT_WINDOW],
            at: 0,
            recent: BTreeMap::new(),
            resets: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Where this node is.
    pub(crate) fn place(&self) -> Coordinate {
        self.place
    }

    /// How often the place became none and was begun anew.
    pub(crate) fn resets(&self) -> u64 {
        self.resets
    }

    /// Takes in a round trip to a member that said where it is. `member` tells
    /// members apart; who calls [`Vivaldi::forget`] bounds how many there are.
    ///
    /// # Errors
    /// What is not believed; nothing changes then.
    pub(crate) fn update(
        &mut self,
        member: u64,
        other: &Coordinate,
        round_trip: Duration,
    ) -> Result<(), Rejected> {
        if !other.is_valid() {
            return Err(Rejected::Coordinate);
        }
        if round_trip > ROUND_TRIP_MAX {
            return Err(Rejected::RoundTrip);
        }
        let seconds = self.median(member, round_trip.as_secs_f64());
        self.pull(other, seconds);
        self.adjust(other, seconds);
        self.gravitate();
        if !self.place.is_valid() {
            self.resets += 1;
            self.place = Coordinate::default();
            self.off_by = [0.0; ADJUSTMENT_WINDOW];
        }
        Ok(())
    }

    /// Drops what was measured of a member.
    pub(crate) fn forget(&mut self, member: u64) {
        self.recent.remove(&member);
    }

    #[cfg(test)]
    pub(crate) fn set_place(&mut self, place: Coordinate) {
        self.place = place;
    }

    fn median(&mut self, member: u64, seconds: f64) -> f64 {
        let recent = self.recent.entry(member).or_default();
        if recent.len() >= MEDIAN_OF {
            recent.remove(0);
        }
        recent.push(seconds);
        let mut sorted = recent.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// The spring between the two (Vivaldi, figure 3).
    fn pull(&mut self, other: &Coordinate, seconds: f64) {
        let estimated = self.place.seconds_to(other);
        let seconds = seconds.max(NOTHING);
        let wrong = (estimated - seconds).abs() / seconds;
        let total = (self.place.error + other.error).max(NOTHING);
        let weight = self.place.error / total;
        let error =
            ERROR_WEIGHT * weight * wrong + self.place.error * (1.0 - ERROR_WEIGHT * weight);
        self.place.error = error.min(ERROR_MAX);
        let force = FORCE_WEIGHT * weight * (seconds - estimated);
        self.push(force, other);
    }

    fn adjust(&mut self, other: &Coordinate, seconds: f64) {
        self.off_by[self.at] = seconds - self.place.raw_seconds_to(other);
        self.at = (self.at + 1) % ADJUSTMENT_WINDOW;
        let sum: f64 = self.off_by.iter().sum();
        // Half for this node, half for the other.
        self.place.adjustment = sum / (2.0 * ADJUSTMENT_WINDOW as f64);
    }

    fn gravitate(&mut self) {
        let origin = Coordinate::default();
        let share = origin.seconds_to(&self.place) / GRAVITY_RHO;
        self.push(-share * share, &origin);
    }

    fn push(&mut self, force: f64, other: &Coordinate) {
        let unit = self.any_direction();
        self.place = self.place.pushed(force, other, unit);
    }

    fn any_direction(&mut self) -> [f64; DIMENSIONS] {
        let vec: [f64; DIMENSIONS] = std::array::from_fn(|_| self.rng.random_range(-0.5..0.5));
        let length = magnitude(&vec);
        if length > NOTHING {
            return vec.map(|component| component / length);
        }
        let mut first = [0.0; DIMENSIONS];
        first[0] = 1.0;
        first
    }
}
