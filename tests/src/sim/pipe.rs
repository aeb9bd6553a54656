//! What an exchange costs: connections, handshakes, bandwidth, retransmissions.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{ExchangeError, ExchangeId, ExchangeKind};

use crate::sim::node::Life;
use crate::sim::rng::Rng;

/// Outgoing pipes of one node; the one idle longest makes room.
pub(crate) const PIPES_MAX: usize = 16;

/// A pipe unused for this long is closed, microseconds.
pub(crate) const PIPE_IDLE_US: u64 = 60_000_000;

/// A lost SYN is sent again after this long, microseconds.
const SYN_AGAIN_US: u64 = 1_000_000;

/// A lost last segment is sent again after this long, microseconds.
const TAIL_AGAIN_US: u64 = 200_000;

/// Data on a cut link is tried again this often, microseconds.
pub(crate) const STALL_AGAIN_US: u64 = 400_000;

/// Payload of one TCP segment, bytes.
const SEGMENT_BYTES: u64 = 1_448;

/// Headers of one TCP segment, bytes.
const SEGMENT_HEADER_BYTES: u64 = 52;

/// Length, tag and counter of one frame, bytes.
const FRAME_BYTES: u64 = 20;

/// What each side sends for the connection and the handshake, bytes.
pub(crate) const CONNECT_BYTES: u64 = 330;

/// An outgoing pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) to: u32,
    pub(crate) kind: ExchangeKind,
    /// Who is at the other end; none while it connects.
    pub(crate) peer: Option<Life>,
    /// The exchange that it carries.
    pub(crate) current: Option<u64>,
    /// Exchanges that wait for it.
    pub(crate) queue: VecDeque<u64>,
    pub(crate) used_us: u64,
}

/// Where an exchange is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Waits for its pipe.
    Queued,
    /// Opens its pipe; counts the tries.
    Connecting(u32),
    /// Shakes hands with its peer.
    Shaking,
    /// The request travels.
    Requesting,
    /// The peer has the request.
    Serving,
    /// The answer travels.
    Responding,
    /// Bad news travels.
    Failing(ExchangeError),
}

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) from: Life,
    pub(crate) id: ExchangeId,
    pub(crate) to: u32,
    pub(crate) peer: Option<Life>,
    pub(crate) kind: ExchangeKind,
    pub(crate) body: Bytes,
    pub(crate) phase: Phase,
}

/// When each way of a node's link is free again, microseconds.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) up_free: u64,
    pub(crate) down_free: u64,
}

/// Bytes on the wire of one frame with `body` bytes.
pub(crate) const fn wire_bytes(body: usize) -> u64 {
    let bytes = body as u64 + FRAME_BYTES;
    bytes + bytes.div_ceil(SEGMENT_BYTES) * SEGMENT_HEADER_BYTES
}

/// When the last of `bytes` arrives that `sender` begins to send to `receiver` now.
/// Each way of each link carries one frame after the other.
pub(crate) fn transfer(
    (sender, receiver): (&mut Link, &mut Link),
    now: u64,
    bytes: u64,
    bandwidth: u64,
    latency: u64,
) -> u64 {
    let takes = bytes * 1_000_000 / bandwidth.max(1);
    sender.up_free = sender.up_free.max(now) + takes;
    let first = sender.up_free - takes + latency;
    receiver.down_free = receiver.down_free.max(first) + takes;
    receiver.down_free.max(sender.up_free + latency)
}

/// How long retransmissions hold up a frame of `bytes`, microseconds. A loss among
/// the last three segments waits for the timer, which doubles; one before costs a
/// round trip.
pub(crate) fn retransmissions(rng: &mut Rng, loss_ppm: u32, bytes: u64, round_trip: u64) -> u64 {
    if loss_ppm == 0 {
        return 0;
    }
    let segments = bytes.div_ceil(SEGMENT_BYTES);
    let mut held = (3..segments).filter(|_| rng.chance(loss_ppm)).count() as u64 * round_trip;
    for _ in 0..segments.min(3) {
        held += again(rng, loss_ppm, TAIL_AGAIN_US);
    }
    held
}

/// How long a connect and its handshake take, microseconds: two round trips, and
/// what is lost of them.
pub(crate) fn connecting(rng: &mut Rng, loss_ppm: u32, round_trip: u64) -> u64 {
    let syn = again(rng, loss_ppm, SYN_AGAIN_US) + again(rng, loss_ppm, SYN_AGAIN_US);
    let noise = again(rng, loss_ppm, TAIL_AGAIN_US) + again(rng, loss_ppm, TAIL_AGAIN_US);
    2 * round_trip + syn + noise
}

/// When a SYN into nowhere is tried again, microseconds from now.
pub(crate) const fn syn_again(tries: u32) -> u64 {
    SYN_AGAIN_US << if tries > 6 { 6 } else { tries }
}

/// A timer that doubles with every loss, at most six times.
fn again(rng: &mut Rng, loss_ppm: u32, first: u64) -> u64 {
    let losses = (0..6).take_while(|_| rng.chance(loss_ppm)).count();
    first * ((1 << losses) - 1)
}

/// A timeout in microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_shared_on_both_sides() {
        let (mut a, mut b, mut c) = (Link::default(), Link::default(), Link::default());
        let bandwidth = 12_500_000;
        // 125,000 bytes take 10 ms.
        assert_eq!(
            transfer((&mut a, &mut c), 0, 125_000, bandwidth, 1_000),
            11_000
        );
        assert_eq!(
            transfer((&mut a, &mut b), 0, 125_000, bandwidth, 1_000),
            21_000
        );
        assert_eq!(
            transfer((&mut b, &mut c), 0, 125_000, bandwidth, 1_000),
            21_000
        );
        assert_eq!(
            transfer((&mut b, &mut a), 90_000, 0, bandwidth, 500),
            90_500
        );
    }

    #[test]
    fn losses_delay_streams_but_lose_nothing() {
        let mut rng = Rng::new(1, 0);
        assert_eq!(retransmissions(&mut rng, 0, 1 << 20, 2_000), 0);
        assert_eq!(connecting(&mut rng, 0, 2_000), 4_000);
        let mut mean = |loss| {
            (0..2_000)
                .map(|_| retransmissions(&mut rng, loss, 1_000, 2_000))
                .sum::<u64>()
                / 2_000
        };
        assert!((16_000..30_000).contains(&mean(100_000)));
        assert!(mean(1_000_000) >= TAIL_AGAIN_US, "the timer has an end");
        assert_eq!(syn_again(0), 1_000_000);
        assert_eq!(syn_again(99), 64_000_000);
        assert_eq!(wire_bytes(100), 100 + 20 + 52);
    }
}
