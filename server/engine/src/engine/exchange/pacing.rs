//! How long exchanges may take, and how much of them this node serves.
//!
//! A node asks two at once; how many it serves at once has no bound in number, but
//! in bytes: answers take from one bucket, and each a part of what is left, so a
//! crowd that asks in the same moment gets little each and goes on with others.

use std::time::Duration;

use bytes::Bytes;

use super::{EXCHANGE_TIMEOUT, Exchanges, Pending};
use crate::api::{EXCHANGE_BYTES_MAX, ExchangeError};
use crate::time::Time;

/// How long an exchange that another member can serve as well may take; twice as long
/// after each that was too slow, up to [`EXCHANGE_TIMEOUT`].
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Doublings of [`PATIENCE`].
const LATE_MAX: u32 = 2;

/// Room kept free in an answer for what comes after the members.
pub(super) const ANSWER_SLACK: usize = 64 << 10;

/// What the answers of this node may take of its bandwidth, bytes per second: a
/// third of 100 Mbit/s. In a cold start a seed would otherwise send all to all.
const ANSWER_RATE: usize = 4 << 20;

/// Bytes of answers that may leave at once after a quiet time.
const ANSWER_BURST: usize = 2 << 20;

/// An answer takes this part of what may leave, the next one of what is left.
const ANSWER_SHARE: usize = 4;

/// But always this much, bytes: some 30 members, with whom the requester goes on.
const ANSWER_MIN: usize = 4 << 10;

/// What answers may still take: a token bucket.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    at: Time,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: ANSWER_BURST,
            at: Time::default(),
        }
    }
}

impl Budget {
    /// How long the next answer may be.
    pub(super) fn room(&mut self, now: Time) -> usize {
        let micros = now.since(self.at).min(Duration::from_secs(1)).as_micros();
        let grown = usize::try_from(micros).unwrap_or(0) * ANSWER_RATE / 1_000_000;
        (self.bytes, self.at) = ((self.bytes + grown).min(ANSWER_BURST), now);
        (self.bytes / ANSWER_SHARE).clamp(ANSWER_MIN, EXCHANGE_BYTES_MAX - ANSWER_SLACK)
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Exchanges {
    /// Learns from how an exchange went how long the next ones may take.
    pub(super) fn note_pace(&mut self, pending: Pending, result: &Result<Bytes, ExchangeError>) {
        let late = match pending {
            Pending::Pull { .. } => &mut self.late_pulls,
            Pending::Compare { .. } | Pending::Glance { .. } => &mut self.late_compares,
            Pending::Push => return,
        };
        if matches!(result, Err(ExchangeError::Timeout)) {
            *late = (*late + 1).min(LATE_MAX);
        } else if result.is_ok() {
            *late = late.saturating_sub(1);
        }
    }
}

pub(super) fn patience(late: u32) -> Duration {
    (PATIENCE * (1 << late.min(LATE_MAX))).min(EXCHANGE_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_gets_the_burst_and_a_little_each() {
        let (mut budget, now) = (Budget::default(), Time::from_micros(1));
        let mut served = 0;
        for _ in 0..1_000 {
            let room = budget.room(now);
            served += room;
            budget.take(room);
        }
        assert!(served >= ANSWER_BURST / 2, "{served}");
        assert!(served <= ANSWER_BURST + 1_000 * ANSWER_MIN, "{served}");
    }

    #[test]
    fn what_is_served_over_time_is_the_rate() {
        let mut budget = Budget::default();
        let mut served = 0;
        // A hundred requests each second, all of whom take what they can get.
        for step in 0..1_000_u64 {
            let room = budget.room(Time::from_micros(step * 10_000));
            served += room;
            budget.take(room);
        }
        assert!(served <= ANSWER_BURST + 10 * ANSWER_RATE, "{served}");
        assert!(served >= 5 * ANSWER_RATE, "{served}");
    }

    #[test]
    fn patience_grows_up_to_the_time_limit() {
        assert_eq!(patience(0), PATIENCE);
        assert_eq!(patience(1), PATIENCE * 2);
        assert_eq!(patience(1_000), EXCHANGE_TIMEOUT);
    }
}
