//! What follows the size of a cluster: one set of formulas for 2 to 4,096 members.
//! `docs/tuning.md` explains them, with their values.

use std::time::Duration;

use crate::engine::SUCCESSORS;
use crate::events::HOLDERS;
use crate::suspicion::{
    ACCUSERS_ENOUGH, SUSPICION_MAX, SUSPICION_MIN, SUSPICION_NO_HOST, TINY_CLUSTER,
};
use crate::swim::{FANOUT, PROBE_PERIOD};
use crate::wire::Summary;

/// Transmissions of one change for each digit of the number of members: memberlist's
/// and serf's `RetransmitMult`.
const RETRANSMIT_MULT: u32 = 4;

/// Fewest transmissions of a change: with less, losses leave somebody out (measured).
const TRANSMISSIONS_MIN: u32 = 8;

/// Larger clusters give suspected members more time: spreading the refutation takes
/// longer.
pub(crate) const FULL_SPEED_NODES: usize = 128;

/// Pause between the exchanges that happen whatever digests say, spread by half; longer
/// in clusters above [`BACKSTOP_NODES`], as memberlist's push/pull. That one's 30 s are
/// how soon it mends what gossip missed; here digests on every datagram see to that.
const BACKSTOP: Duration = Duration::from_secs(120);

/// Each doubling of the cluster above this adds another [`BACKSTOP`].
const BACKSTOP_NODES: u32 = 32;

/// What one member of a cluster of some size does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Datagrams that carry one change of a member.
    pub transmissions: u32,
    /// Datagrams that carry one event.
    pub event_packets: usize,
    /// Members that hold an event once it is REPLICATED, its origin among them.
    pub holders: usize,
    /// Idle streams to others; so many watch this member, too.
    pub streams: usize,
    /// Time in which it probed every other member once.
    pub probe_round: Duration,
    /// Members asked to try where a probe found no answer.
    pub helpers: usize,
    /// Accusers that make the shorter times of suspicion hold.
    pub accusers: usize,
    /// From an accusation to the verdict if nobody heard of a kernel either.
    pub suspicion_no_host: Duration,
    /// The same with enough accusers.
    pub suspicion_min: Duration,
    /// The same with a single one.
    pub suspicion_max: Duration,
    /// Mean pause between exchanges of state that nothing asked for.
    pub backstop: Duration,
    /// Bytes of a request that compares all that is known of members.
    pub compare_bytes: usize,
}

impl Tuning {
    /// Of a cluster with so many members, this one among them.
    #[must_use]
    pub fn of(members: usize) -> Self {
        let others = members.saturating_sub(1);
        Self {
            transmissions: transmissions(members),
            event_packets: event_packets(members),
            holders: 1 + others.min(HOLDERS),
            streams: others.min(SUCCESSORS),
            probe_round: PROBE_PERIOD * u32::try_from(others).unwrap_or(u32::MAX),
            helpers: others.saturating_sub(1).min(FANOUT),
            accusers: accusers(members),
            suspicion_no_host: suspicion(SUSPICION_NO_HOST, members),
            suspicion_min: suspicion(SUSPICION_MIN, members),
            suspicion_max: suspicion(SUSPICION_MAX, members),
            backstop: backstop(members),
            compare_bytes: others.saturating_mul(Summary::BYTES),
        }
    }
}

/// `4 * ceil(log10(N + 1))`, at least 8.
pub(crate) fn transmissions(members: usize) -> u32 {
    (RETRANSMIT_MULT * digits(members)).max(TRANSMISSIONS_MIN)
}

/// `4 * ceil(log10(N + 1))`.
pub(crate) fn event_packets(members: usize) -> usize {
    usize::try_from(RETRANSMIT_MULT * digits(members)).unwrap_or(usize::MAX)
}

/// In a tiny cluster nobody else could accuse: one is enough.
pub(crate) const fn accusers(members: usize) -> usize {
    if members <= TINY_CLUSTER {
        1
    } else {
        ACCUSERS_ENOUGH
    }
}

/// `time` up to [`FULL_SPEED_NODES`], growing with the logarithm beyond.
pub(crate) fn suspicion(time: Duration, members: usize) -> Duration {
    if members <= FULL_SPEED_NODES {
        return time;
    }
    let log = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX)).ln();
    time.mul_f64(log(members) / log(FULL_SPEED_NODES))
}

/// `120 s * (1 + floor(log2(ceil(N / 32))))`.
pub(crate) fn backstop(members: usize) -> Duration {
    let members = u32::try_from(members).unwrap_or(u32::MAX).max(1);
    BACKSTOP * (1 + members.div_ceil(BACKSTOP_NODES).ilog2())
}

/// `ceil(log10(N + 1))`, which is `floor(log10(N)) + 1`.
fn digits(members: usize) -> u32 {
    members.max(1).ilog10() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_less_in_a_larger_cluster() {
        let all = |tuning: Tuning| {
            let times = [
                tuning.probe_round,
                tuning.suspicion_no_host,
                tuning.suspicion_min,
                tuning.suspicion_max,
                tuning.backstop,
            ];
            let counts = [
                usize::try_from(tuning.transmissions).unwrap(),
                tuning.event_packets,
                tuning.holders,
                tuning.streams,
                tuning.helpers,
                tuning.accusers,
                tuning.compare_bytes,
            ];
            (times, counts)
        };
        for members in 0..5_000 {
            let (times, counts) = all(Tuning::of(members));
            let (later, more) = all(Tuning::of(members + 1));
            assert!(times.iter().zip(later).all(|(time, later)| *time <= later));
            assert!(counts.iter().zip(more).all(|(count, more)| *count <= more));
        }
        let (_, counts) = all(Tuning::of(usize::MAX));
        assert_eq!(counts[0], 80);
    }

    #[test]
    fn a_decade_more_is_four_packets_more() {
        let sizes = [0, 1, 9, 10, 99, 100, 999, 1_000, 4_096];
        assert_eq!(sizes.map(transmissions), [8, 8, 8, 8, 8, 12, 12, 16, 16]);
        assert_eq!(sizes.map(event_packets), [4, 4, 4, 8, 8, 12, 12, 16, 16]);
    }

    #[test]
    fn times_grow_with_the_logarithm() {
        assert_eq!(suspicion(SUSPICION_MIN, 128), SUSPICION_MIN);
        let of_1024 = suspicion(SUSPICION_MIN, 1_024);
        assert!(of_1024 > SUSPICION_MIN && of_1024 < SUSPICION_MIN * 2);
        let sizes = [0, 32, 33, 64, 65, 1_024, 4_096].map(|size| backstop(size) / 120);
        assert_eq!(sizes.map(|time| time.as_secs()), [1, 1, 2, 2, 2, 6, 8]);
    }
}
