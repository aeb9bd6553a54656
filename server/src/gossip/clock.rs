//! The only place where the gossip driver reads clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_engine::{Now, Time};
use tokio::time::Instant;

/// No timer is set further ahead than this.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// Both clocks of this node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic part starts now.
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
    async fn the_end_of_time_is_an_hour_ahead() {
        let clock = Clock::start();
        let timer = clock.timer(clock.now().at, Time::from_micros(u64::MAX));
        assert!(timer <= Instant::now() + AHEAD_MAX);
    }
}
