//! foca by itself, over the same kind of network: what membership costs at the least.

mod codec;

use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use foca::{AccumulatingRuntime, Foca, NoCustomBroadcast, Timer};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use self::codec::Fixed;
use super::net::{Meter, Work};

/// Port of everybody.
const PORT: u16 = 7946;

/// Virtual time that a datagram takes.
const DELAY: Duration = Duration::from_micros(100);

type Node = Foca<SocketAddrV4, Fixed, StdRng, NoCustomBroadcast>;

/// Nodes and what is on its way to them.
pub(crate) struct Alone {
    nodes: Vec<Node>,
    now: Duration,
    queue: BinaryHeap<Due>,
    next: u64,
    runtime: AccumulatingRuntime<SocketAddrV4>,
    meter: Meter,
    work: Work,
}

/// What happens to a node, and when; those of one moment in the order of their numbers.
struct Due {
    at: Duration,
    number: u64,
    node: usize,
    what: What,
}

enum What {
    Datagram(Bytes),
    Timer(Timer<SocketAddrV4>),
}

impl Alone {
    /// Nodes that join through the first, with foca's own settings for this size.
    pub(crate) fn new(size: usize, meter: Meter) -> anyhow::Result<Self> {
        let settings = NonZeroU32::new(u32::try_from(size)?).context("nobody")?;
        let node = |number: usize| {
            let config = foca::Config::new_lan(settings);
            Foca::new(
                addr(number),
                config,
                StdRng::seed_from_u64(number as u64),
                Fixed,
            )
        };
        let mut net = Self {
            nodes: (0..size).map(node).collect(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            next: 0,
            runtime: AccumulatingRuntime::new(),
            meter,
            work: Work::default(),
        };
        for number in 1..size {
            net.nodes[number].announce(addr(0), &mut net.runtime)?;
            net.drain(number);
        }
        Ok(net)
    }

    /// Lets virtual time pass.
    pub(crate) fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.now + time;
        while self.queue.peek().is_some_and(|due| due.at < end) {
            let Some(due) = self.queue.pop() else { break };
            self.now = due.at;
            let node = &mut self.nodes[due.node];
            let began = (self.meter)();
            match due.what {
                What::Datagram(bytes) => {
                    self.work.datagrams += 1;
                    self.work.bytes += bytes.len() as u64;
                    node.handle_data(&bytes, &mut self.runtime)?;
                }
                What::Timer(timer) => node.handle_timer(timer, &mut self.runtime)?,
            }
            self.work.spent += (self.meter)() - began;
            self.drain(due.node);
        }
        self.now = end;
        Ok(())
    }

    /// What was done since the last call.
    pub(crate) fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    /// Whether everybody knows everybody.
    pub(crate) fn is_together(&self) -> bool {
        let others = self.nodes.len() - 1;
        self.nodes.iter().all(|node| node.num_members() == others)
    }

    fn drain(&mut self, node: usize) {
        while let Some((to, bytes)) = self.runtime.to_send() {
            let low = u32::from(*to.ip()) & 0x00ff_ffff;
            let place = usize::try_from(low).unwrap_or_default();
            self.push(DELAY, place - 1, What::Datagram(bytes));
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.push(after, node, What::Timer(timer));
        }
        while self.runtime.to_notify().is_some() {}
    }

    fn push(&mut self, after: Duration, node: usize, what: What) {
        let (at, number) = (self.now + after, self.next);
        self.next += 1;
        self.queue.push(Due {
            at,
            number,
            node,
            what,
        });
    }
}

impl Due {
    /// The heap gives the largest first.
    fn order(&self) -> std::cmp::Reverse<(Duration, u64)> {
        std::cmp::Reverse((self.at, self.number))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
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
        self.order().cmp(&other.order())
    }
}

fn addr(number: usize) -> SocketAddrV4 {
    let low = u32::try_from(number + 1).unwrap_or(u32::MAX);
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 | low), PORT)
}
