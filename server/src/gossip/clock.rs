//! The only place where the gossip driver reads clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_engine::{Now, Time};
use tokio::time::Instant;

/// No timer is set further ahead than this.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// Tokio's timer wheel keeps what is further ahead in slots of this length (64 ticks of
/// 1 ms since its runtime began). It wakes the process when the slot begins and again
/// at the time itself, unless both are the same.
const SLOT: Duration = Duration::from_millis(64);

/// Waits from here on end where a slot begins.
const COARSE: Duration = Duration::from_millis(128);

/// Both clocks of this node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic part starts now: right before the runtime is built whose
    /// timers follow it.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Reads both.
    pub(crate) fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        // A clock before 1970 reads as 1970: the engine distrusts it anyway.
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            at: Time::from_micros(micros),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The timer of an engine time, at most an hour after `now`.
    pub(crate) fn timer(&self, now: Time, at: Time) -> Instant {
        self.start + Duration::from_micros(at.min(now + AHEAD_MAX).as_micros())
    }

    /// The same for times that may be up to [`SLOT`] late if they are further ahead
    /// than [`COARSE`]: an idle process is woken up half as often.
    pub(crate) fn coarse_timer(&self, now: Time, at: Time) -> Instant {
        if at.since(now) < COARSE {
            return self.timer(now, at);
        }
        let slot = u64::try_from(SLOT.as_micros()).unwrap_or(u64::MAX);
        let ends = at.min(now + AHEAD_MAX).as_micros();
        self.start + Duration::from_micros(ends.next_multiple_of(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timers_agree_with_readings() {
        let clock = Clock::start();
        let before = clock.now().at;
        let deadline = before + Duration::from_millis(250);
        tokio::time::sleep_until(clock.timer(before, deadline)).await;
        assert!(clock.now().at >= deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_that_are_long_end_at_a_slot() {
        let clock = Clock::start();
        let at = |ms| Time::default() + Duration::from_millis(ms);
        let ends = |ms| clock.coarse_timer(at(10), at(ms)) - clock.start;
        assert_eq!(ends(11), Duration::from_millis(11));
        assert_eq!(ends(137), Duration::from_millis(137));
        assert_eq!(ends(138), Duration::from_millis(192));
        assert_eq!(ends(192), Duration::from_millis(192));
        assert_eq!(ends(1_001), Duration::from_millis(1_024));
        assert_eq!(ends(u64::MAX / 1_000), Duration::from_millis(3_600_064));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_time_is_an_hour_ahead() {
        let clock = Clock::start();
        let timer = clock.timer(clock.now().at, Time::from_micros(u64::MAX));
        assert!(timer <= Instant::now() + AHEAD_MAX);
    }
}
