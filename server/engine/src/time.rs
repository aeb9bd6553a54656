//! Time as the engine sees it: always an argument, never read from a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock of one node, in microseconds since an
/// arbitrary start. Readings of two nodes never compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The point `micros` microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// A moment that may lie before this node's clock started: since when somebody else
/// is up, or dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    /// The moment `age` before `now`.
    pub(crate) fn ago(now: Time, age: Duration) -> Self {
        let signed = |micros| i64::try_from(micros).unwrap_or(i64::MAX);
        Self(signed(u128::from(now.0)).saturating_sub(signed(age.as_micros())))
    }

    /// How long ago it is; zero if it is yet to come.
    pub(crate) fn age(self, now: Time) -> Duration {
        let now = i64::try_from(now.0).unwrap_or(i64::MAX);
        let age = now.saturating_sub(self.0);
        Duration::from_micros(u64::try_from(age).unwrap_or(0))
    }
}

/// One reading of both clocks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock: all timers and intervals.
    pub at: Time,
    /// Wall clock, milliseconds since the Unix epoch: only for times that people
    /// read and for seniority, which does not trust it alone.
    pub unix_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_reach_back_before_the_clock_started() {
        let now = Time::from_micros(1_000_000);
        let day = Duration::from_secs(86_400);
        let moment = Moment::ago(now, day);
        assert_eq!(moment.age(now), day);
        assert_eq!(moment.age(now + day), day * 2);
        assert!(moment < Moment::ago(now, Duration::ZERO));
        let ever = Moment::ago(now, Duration::MAX);
        assert!(ever.age(now) > day * 365_000, "{ever:?}");
        assert_eq!(
            Moment::ago(now, Duration::ZERO).age(Time::default()),
            Duration::ZERO
        );
    }
}
