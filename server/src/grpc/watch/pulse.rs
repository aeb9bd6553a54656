//! When a stream looks again: at a change, at a heartbeat, at the end of a pause.

use std::future::Future as _;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use prost_types::Duration as Proto;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::super::limits::{HEARTBEAT_DEFAULT, HEARTBEAT_MAX, HEARTBEAT_MIN, MIN_INTERVAL_MAX};
use super::super::status::invalid;
use crate::hub::signal::Listener;

/// A heartbeat interval as asked for.
///
/// # Errors
/// INVALID_ARGUMENT outside 1 s to 5 min.
pub(crate) fn heartbeat_interval(given: Option<Proto>) -> Result<Duration, Status> {
    let field = "heartbeat_interval";
    interval(
        field,
        given,
        HEARTBEAT_DEFAULT,
        HEARTBEAT_MIN,
        HEARTBEAT_MAX,
    )
}

/// A `min_interval` as asked for.
///
/// # Errors
/// INVALID_ARGUMENT if negative or above 60 s.
pub(crate) fn min_interval(given: Option<Proto>, unset: Duration) -> Result<Duration, Status> {
    interval(
        "min_interval",
        given,
        unset,
        Duration::ZERO,
        MIN_INTERVAL_MAX,
    )
}

fn interval(
    field: &str,
    given: Option<Proto>,
    unset: Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, Status> {
    let Some(given) = given else {
        return Ok(unset);
    };
    let valid = Duration::try_from(given).ok();
    valid
        .filter(|interval| (least..=most).contains(interval))
        .ok_or_else(|| {
            let message = format!("allowed are {least:?} to {most:?}");
            invalid("BAD_INTERVAL", field, message)
        })
}

/// Why a stream was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Something changed, and enough time has passed since the last message.
    Change,
    /// Nothing was sent for the heartbeat interval.
    Heartbeat,
}

/// Wakes one stream.
#[derive(Debug)]
pub(crate) struct Pulse {
    changes: Listener,
    /// A change was seen and not yet told.
    dirty: bool,
    pause: Duration,
    /// Runs while changes must wait: the pause after a message is not over.
    paused: Option<Pin<Box<Sleep>>>,
    heartbeat: Duration,
    /// When silence has lasted for the heartbeat interval.
    due: Instant,
    /// Ends then or before: a timer that every message moved would cost more than the
    /// message.
    silence: Pin<Box<Sleep>>,
}

impl Pulse {
    /// Wakes for every change from now on. At most one [`Beat::Change`] per `pause`.
    pub(crate) fn new(changes: Listener, pause: Duration, heartbeat: Duration) -> Self {
        let heartbeat = jittered(heartbeat);
        let due = Instant::now() + heartbeat;
        Self {
            changes,
            dirty: false,
            pause,
            paused: None,
            heartbeat,
            due,
            silence: Box::pin(sleep_until(due)),
        }
    }

    /// A message was sent: silence begins anew.
    pub(crate) fn sent(&mut self) {
        self.due = Instant::now() + self.heartbeat;
    }

    /// A change was told: the next one waits for the pause.
    pub(crate) fn told(&mut self) {
        if !self.pause.is_zero() {
            self.paused = Some(Box::pin(sleep_until(Instant::now() + self.pause)));
        }
    }

    /// Waits for the next reason.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        while self.changes.poll(cx).is_ready() {
            self.dirty = true;
        }
        if let Some(paused) = &mut self.paused
            && paused.as_mut().poll(cx).is_ready()
        {
            self.paused = None;
        }
        if self.dirty && self.paused.is_none() {
            self.dirty = false;
            return Poll::Ready(Beat::Change);
        }
        while self.silence.as_mut().poll(cx).is_ready() {
            let over = Instant::now() >= self.due;
            if over {
                self.sent();
            }
            self.silence.as_mut().reset(self.due);
            if over {
                return Poll::Ready(Beat::Heartbeat);
            }
        }
        Poll::Pending
    }
}

/// The interval within 10 %, so that watches that began together drift apart.
fn jittered(interval: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 2_001;
    let factor = 0.9 + 0.000_1 * f64::from(u32::try_from(random).unwrap_or(0));
    interval.mul_f64(factor)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;
    use crate::hub::signal::Signal;

    #[test]
    fn intervals_have_bounds() {
        let seconds = |seconds| Some(Proto { seconds, nanos: 0 });
        assert_eq!(heartbeat_interval(None).unwrap(), HEARTBEAT_DEFAULT);
        assert_eq!(heartbeat_interval(seconds(1)).unwrap(), HEARTBEAT_MIN);
        for bad in [seconds(0), seconds(-1), seconds(301)] {
            assert!(heartbeat_interval(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            min_interval(seconds(0), HEARTBEAT_MIN).unwrap(),
            Duration::ZERO
        );
        assert!(min_interval(seconds(61), HEARTBEAT_MIN).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_told_at_once_and_the_next_after_the_pause() {
        let changes = Arc::new(Signal::default());
        let mut pulse = Pulse::new(changes.listen(), Duration::from_secs(5), HEARTBEAT_DEFAULT);
        let start = Instant::now();
        changes.raise();
        assert_eq!(poll_fn(|cx| pulse.poll(cx)).await, Beat::Change);
        assert_eq!(start.elapsed(), Duration::ZERO);
        pulse.told();
        changes.raise();
        changes.raise();
        assert_eq!(poll_fn(|cx| pulse.poll(cx)).await, Beat::Change);
        let waited = start.elapsed();
        assert!((5_000..5_010).contains(&waited.as_millis()), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_brings_heartbeats_within_a_tenth() {
        let changes = Arc::new(Signal::default());
        let mut pulse = Pulse::new(changes.listen(), Duration::ZERO, Duration::from_secs(10));
        for _ in 0..50 {
            let start = Instant::now();
            assert_eq!(poll_fn(|cx| pulse.poll(cx)).await, Beat::Heartbeat);
            let waited = start.elapsed().as_millis();
            assert!((8_999..11_005).contains(&waited), "{waited}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_message_puts_the_heartbeat_off() {
        let changes = Arc::new(Signal::default());
        let mut pulse = Pulse::new(changes.listen(), Duration::ZERO, Duration::from_secs(10));
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(4)).await;
            changes.raise();
            assert_eq!(poll_fn(|cx| pulse.poll(cx)).await, Beat::Change);
            pulse.sent();
        }
        let start = Instant::now();
        assert_eq!(poll_fn(|cx| pulse.poll(cx)).await, Beat::Heartbeat);
        let waited = start.elapsed().as_millis();
        assert!((8_999..11_005).contains(&waited), "{waited}");
    }
}
