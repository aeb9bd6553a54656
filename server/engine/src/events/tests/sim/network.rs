//! What is on its way between nodes.

use std::cmp::Reverse;

use bytes::Bytes;
use rand::RngExt as _;

use super::Sim;
use crate::api::ExchangeError;
use crate::ident::NodeRef;

#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Net {
    pub(in super::super) loss: f64,
    pub(in super::super) duplication: f64,
    pub(in super::super) delay_us: (u64, u64),
    /// Bytes per microsecond on exchanges.
    pub(in super::super) bandwidth: u64,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplication: 0.0,
            delay_us: (100, 1_000),
            bandwidth: 12,
        }
    }
}

#[derive(Debug)]
pub(super) enum Action {
    Tick,
    Datagram {
        from: NodeRef,
        section: Bytes,
    },
    PullRequest {
        from: usize,
        boot: u64,
        id: u64,
        body: Bytes,
    },
    PullAnswer {
        id: u64,
        boot: u64,
        answer: Result<Bytes, ExchangeError>,
    },
    Publish,
}

#[derive(Debug)]
pub(super) struct Due {
    pub(super) at: u64,
    nth: u64,
    pub(super) node: usize,
    pub(super) action: Action,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.nth) == (other.at, other.nth)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

impl Sim {
    pub(super) fn transmit(&mut self, index: usize, to: NodeRef, section: &Bytes) {
        self.sections += 1;
        let bytes = section.iter().fold(self.trace, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.trace = bytes ^ self.now ^ to.hash;
        assert!(section.len() <= crate::events::SECTION_BYTES_MAX);
        let Some(peer) = self.find(to) else {
            return;
        };
        let copies = 1 + u32::from(self.rng.random_bool(self.net.duplication));
        for _ in 0..copies {
            if !self.rng.random_bool(self.net.loss) {
                let at = self.now + self.delay();
                let from = self.nodes[index].me;
                let section = section.clone();
                self.schedule(at, peer, Action::Datagram { from, section });
            }
        }
    }

    pub(super) fn find(&self, node: NodeRef) -> Option<usize> {
        self.nodes.iter().position(|n| n.me == node)
    }

    pub(super) fn delay(&mut self) -> u64 {
        let (least, most) = self.net.delay_us;
        self.rng.random_range(least..=most)
    }

    pub(super) fn schedule(&mut self, at: u64, node: usize, action: Action) {
        self.nth += 1;
        let nth = self.nth;
        self.heap.push(Reverse(Due {
            at,
            nth,
            node,
            action,
        }));
    }
}
