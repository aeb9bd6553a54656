//! What the driver counts. Reported with the engine's own counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one or more tasks change and others read.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }

    pub(crate) fn raise_to(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Every counter and gauge of the driver.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: Count,)*
        }

        impl Counters {
            /// All of them, by name.
            pub(crate) fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Datagrams that the kernel took.
    datagrams_sent,
    /// Bytes in them.
    datagram_bytes_sent,
    /// Datagrams handed to the engine.
    datagrams_received,
    /// Bytes in them.
    datagram_bytes_received,
    /// Not sent: the socket's buffer was full.
    datagrams_dropped_send_full,
    /// Not sent: no route, or the network is down.
    datagrams_dropped_send_unreachable,
    /// Not sent: an earlier one was refused by the peer's kernel.
    datagrams_dropped_send_refused,
    /// Not sent: larger than the path allows.
    datagrams_dropped_send_too_long,
    /// Not sent: a firewall, an address of the wrong family, and so on.
    datagrams_dropped_send_other,
    /// Received but longer than any datagram of ours.
    datagrams_dropped_too_long,
    /// Receive calls that failed and were survived.
    datagram_receive_errors,
    /// Datagrams sent over TCP, to members that UDP does not reach.
    datagrams_carried_sent,
    /// Datagrams that came over TCP.
    datagrams_carried_received,
    /// Not sent over TCP: too many waited for the pipe to that member.
    datagrams_dropped_carry_full,
    /// Not sent over TCP: there was no pipe, or it broke.
    datagrams_dropped_carry_broken,
    /// Pipes opened to peers.
    pipes_opened,
    /// Pipes accepted from peers.
    pipes_accepted,
    /// Gauge: pipes to peers.
    pipes_outgoing,
    /// Gauge: pipes from peers, half-open ones included.
    pipes_incoming,
    /// Outgoing attempts that the network refused.
    pipes_failed_connect,
    /// Outgoing attempts that the handshake ended.
    pipes_failed_handshake,
    /// Idle pipes closed after a minute, or to make room.
    pipes_closed_idle,
    /// Pipes closed as their key was removed, or plaintext is accepted no longer.
    pipes_closed_key_removed,
    /// Pipes that a peer closed without a goodbye.
    pipes_closed_abruptly,
    /// Incoming: too many half-open ones.
    pipes_refused_half_open,
    /// Incoming: too many in all.
    pipes_refused_incoming,
    /// Incoming: what came was no preamble.
    pipes_refused_garbage,
    /// Incoming: another version of the framing.
    pipes_refused_version,
    /// Incoming: in clear, and this node has a key.
    pipes_refused_plaintext,
    /// Incoming: sealed, and this node has no key.
    pipes_refused_sealed,
    /// Incoming: sealed under a key that is not known here.
    pipes_refused_unknown_key,
    /// Incoming: wrong key or other cluster.
    pipes_refused_wrong_key,
    /// Incoming: the handshake took too long.
    pipes_refused_slow,
    /// Incoming: closed or broken before the handshake was done.
    pipes_refused_broken,
    /// Incoming: a kind of pipe that is not known here.
    pipes_refused_kind,
    /// Incoming pipes of gRPC: too many arrive at once.
    pipes_refused_rpc,
    /// Incoming pipes closed over a bad, oversized or slow frame.
    pipes_refused_frame,
    /// Gauge: streams that stand idle, from peers that watch this node.
    watch_streams_incoming,
    /// Streams of watchers closed as there were too many.
    watch_streams_given_up,
    /// Exchanges asked of peers.
    exchanges_sent,
    /// Exchanges that peers asked.
    exchanges_received,
    /// Exchanges without an answer, whatever the reason.
    exchanges_failed,
    /// Exchanges refused here: every pipe is busy.
    exchanges_refused_busy,
    /// Exchanges sent again on a new pipe, as a kept one had died meanwhile.
    exchanges_retried,
    /// Failed accept calls.
    accept_errors,
    /// Names that did not resolve.
    resolve_failures,
    /// Join calls refused: too many under way.
    joins_refused_busy,
    /// Times that an event had to wait for room.
    events_waited,
    /// Longest that a due timer waited for the loop, milliseconds.
    loop_lag_ms_max,
    /// Longest turn of the loop, microseconds.
    loop_turn_us_max,
}

/// The engine's and the driver's numbers as one list, sorted; a name that both
/// have is their sum.
pub(crate) fn merged(
    engine: Vec<(&'static str, u64)>,
    driver: Vec<(&'static str, u64)>,
) -> Vec<(&'static str, u64)> {
    let mut all = std::collections::BTreeMap::new();
    for (name, value) in engine.into_iter().chain(driver) {
        *all.entry(name).or_insert(0) += value;
    }
    all.into_iter().collect()
}

/// Keeps a gauge one higher while it lives.
#[derive(Debug)]
pub(crate) struct Gauge<F: Fn(&Counters) -> &Count> {
    counters: std::sync::Arc<Counters>,
    which: F,
}

impl<F: Fn(&Counters) -> &Count> Gauge<F> {
    pub(crate) fn up(counters: &std::sync::Arc<Counters>, which: F) -> Self {
        which(counters).add(1);
        Self {
            counters: std::sync::Arc::clone(counters),
            which,
        }
    }
}

impl<F: Fn(&Counters) -> &Count> Drop for Gauge<F> {
    fn drop(&mut self) {
        (self.which)(&self.counters).sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_merged_sorted_and_summed() {
        let counters = Counters::default();
        counters.datagrams_sent.add(2);
        let all = merged(
            vec![("datagrams_sent", 3), ("zebras", 1)],
            counters.snapshot(),
        );
        assert!(all.is_sorted());
        assert!(all.contains(&("datagrams_sent", 5)));
        assert!(all.contains(&("zebras", 1)));
    }

    #[test]
    fn a_gauge_falls_when_dropped() {
        let counters = std::sync::Arc::new(Counters::default());
        let gauge = Gauge::up(&counters, |c| &c.pipes_incoming);
        assert_eq!(counters.pipes_incoming.get(), 1);
        drop(gauge);
        assert_eq!(counters.pipes_incoming.get(), 0);
    }
}
