//! One node's place.

use std::time::Duration;

/// Dimensions of the space, height not counted.
pub const DIMENSIONS: usize = 8;

/// Error of a node that knows nothing yet, and the largest.
pub(crate) const ERROR_MAX: f64 = 1.5;

/// Least height, seconds: no node is nearer than this to any other.
pub(crate) const HEIGHT_MIN: f64 = 10.0e-6;

/// Largest component, height or adjustment that is believed, seconds.
pub(crate) const COMPONENT_MAX: f64 = 100.0;

/// Vectors shorter than this have no direction, seconds.
pub(crate) const NOTHING: f64 = 1.0e-6;

/// A node's place; all lengths are in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinate {
    /// The place in the core of the network.
    pub vec: [f64; DIMENSIONS],
    /// How far this estimate is trusted: 0 fully, 1.5 not at all.
    pub error: f64,
    /// Added to both ends of a distance: how far the recent estimates were off.
    pub adjustment: f64,
    /// Way from the node to the core of the network; at least 10 microseconds.
    pub height: f64,
}

impl Default for Coordinate {
    fn default() -> Self {
        Self {
            vec: [0.0; DIMENSIONS],
            error: ERROR_MAX,
            adjustment: 0.0,
            height: HEIGHT_MIN,
        }
    }
}

impl Coordinate {
    /// Estimated round trip time to another place.
    #[must_use]
    pub fn distance_to(&self, other: &Self) -> Duration {
        Duration::try_from_secs_f64(self.seconds_to(other)).unwrap_or(Duration::MAX)
    }

    /// The same in seconds, with both adjustments unless they outweigh the distance.
    pub(crate) fn seconds_to(&self, other: &Self) -> f64 {
        let raw = self.raw_seconds_to(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    /// Without adjustments.
    pub(crate) fn raw_seconds_to(&self, other: &Self) -> f64 {
        magnitude(&difference(&self.vec, &other.vec)) + self.height + other.height
    }

    /// Whether every number is finite and of a size that can be.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let within = |value: &f64| value.abs() <= COMPONENT_MAX;
        // What is no number compares with nothing.
        self.vec.iter().all(within)
            && within(&self.adjustment)
            && (0.0..=COMPONENT_MAX).contains(&self.height)
            && (0.0..=ERROR_MAX).contains(&self.error)
    }

    /// Moved by `force` seconds away from `other`; `unit` points the way where the two
    /// are at one place.
    pub(crate) fn pushed(mut self, force: f64, other: &Self, unit: [f64; DIMENSIONS]) -> Self {
        let away = difference(&self.vec, &other.vec);
        let apart = magnitude(&away);
        let unit = if apart > NOTHING {
            away.map(|component| component / apart)
        } else {
            unit
        };
        for (component, way) in self.vec.iter_mut().zip(unit) {
            *component += way * force;
        }
        if apart > NOTHING {
            let height = (self.height + other.height) * force / apart + self.height;
            self.height = height.max(HEIGHT_MIN);
        }
        self
    }
}

pub(crate) fn magnitude(vec: &[f64; DIMENSIONS]) -> f64 {
    vec.iter()
        .map(|component| component * component)
        .sum::<f64>()
        .sqrt()
}

fn difference(a: &[f64; DIMENSIONS], b: &[f64; DIMENSIONS]) -> [f64; DIMENSIONS] {
    std::array::from_fn(|n| a[n] - b[n])
}
