//! The clocks of one node, seen from virtual time.

use muster_engine::{Now, Time};

/// Wall clock at the virtual time 0, milliseconds since the Unix epoch.
pub const EPOCH_UNIX_MS: u64 = 1_800_000_000_000;

/// How the clocks of one node relate to virtual time.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// The node's monotonic clock reads this much more, microseconds.
    pub(crate) ahead_us: u64,
    /// The node's wall clock reads this much more, milliseconds.
    pub(crate) wall_ahead_ms: i64,
    /// The wall clock gains this much, parts per million.
    pub(crate) wall_gain_ppm: i64,
}

impl Clock {
    /// Both clocks at the virtual time `now`.
    pub(crate) fn read(&self, now: u64) -> Now {
        Now {
            at: Time::from_micros(now.saturating_add(self.ahead_us)),
            unix_ms: self.wall_ms(now),
        }
    }

    /// The wall clock at the virtual time `now`, milliseconds.
    pub(crate) fn wall_ms(&self, now: u64) -> u64 {
        let elapsed = i64::try_from(now / 1_000).unwrap_or(i64::MAX);
        let gained = elapsed / 1_000 * self.wall_gain_ppm / 1_000;
        (EPOCH_UNIX_MS + now / 1_000).saturating_add_signed(self.wall_ahead_ms + gained)
    }

    /// The virtual time of a reading of the monotonic clock.
    pub(crate) const fn virtual_time(&self, at: Time) -> u64 {
        at.as_micros().saturating_sub(self.ahead_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_off_as_told() {
        let clock = Clock {
            ahead_us: 5_000,
            wall_ahead_ms: -3_600_000,
            wall_gain_ppm: 100,
        };
        let now = clock.read(10_000_000);
        assert_eq!(now.at, Time::from_micros(10_005_000));
        assert_eq!(clock.virtual_time(now.at), 10_000_000);
        assert_eq!(now.unix_ms, EPOCH_UNIX_MS + 10_000 + 1 - 3_600_000);
        assert_eq!(
            clock.virtual_time(Time::from_micros(u64::MAX)),
            u64::MAX - 5_000
        );
    }
}
