//! Which datagrams were seen before.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::time::Time;

/// How far a datagram may come behind the newest one of its sender.
pub const WINDOW: u64 = 1_024;

/// Senders that are remembered, each in about 200 bytes. At the bound the one
/// least recently heard is forgotten: its old datagrams could be replayed then,
/// which costs work and changes nothing, as all that they carry is versioned.
pub const SENDERS_MAX: usize = 8_192;

/// Recency is kept this coarsely: one busy sender is moved once per step only.
const RECENCY_STEP: Duration = Duration::from_millis(250);

const WORDS: usize = WINDOW as usize / 64;

/// Counters seen of one sender: the highest, and a bit for each of the
/// [`WINDOW`] up to it.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    highest: u64,
    /// Bit `c % WINDOW` stands for the counter `c` in `highest - WINDOW + 1 ..= highest`.
    seen: [u64; WORDS],
}

impl Window {
    fn new(first: u64) -> Self {
        let mut window = Self {
            highest: first,
            seen: [0; WORDS],
        };
        window.mark(first);
        window
    }

    /// True the first time for each counter; false for those too far behind.
    fn admit(&mut self, counter: u64) -> bool {
        if counter > self.highest {
            self.advance(counter);
        } else if self.highest - counter >= WINDOW || self.is_marked(counter) {
            return false;
        }
        self.mark(counter);
        true
    }

    fn advance(&mut self, counter: u64) {
        if counter - self.highest >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for skipped in self.highest + 1..counter {
                let (word, bit) = position(skipped);
                self.seen[word] &= !bit;
            }
        }
        self.highest = counter;
    }

    fn mark(&mut self, counter: u64) {
        let (word, bit) = position(counter);
        self.seen[word] |= bit;
    }

    fn is_marked(&self, counter: u64) -> bool {
        let (word, bit) = position(counter);
        self.seen[word] & bit != 0
    }
}

fn position(counter: u64) -> (usize, u64) {
    let slot = (counter % WINDOW) as usize;
    (slot / 64, 1 << (slot % 64))
}

/// The windows of all senders.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    senders: HashMap<u64, Sender>,
    /// Senders by when they were last heard, oldest first.
    recency: BTreeMap<(Time, u64), ()>,
}

#[derive(Debug)]
struct Sender {
    window: Window,
    heard: Time,
}

impl Replay {
    /// True the first time for each counter of a sender.
    pub(crate) fn admit(&mut self, now: Time, instance: u64, counter: u64) -> bool {
        let Some(sender) = self.senders.get_mut(&instance) else {
            self.remember(now, instance, counter);
            return true;
        };
        let fresh = sender.window.admit(counter);
        if fresh && now.since(sender.heard) >= RECENCY_STEP {
            self.recency.remove(&(sender.heard, instance));
            sender.heard = now;
            self.recency.insert((now, instance), ());
        }
        fresh
    }

    /// Senders remembered.
    pub(crate) fn len(&self) -> usize {
        self.senders.len()
    }

    fn remember(&mut self, now: Time, instance: u64, counter: u64) {
        if self.senders.len() >= SENDERS_MAX
            && let Some(((_, oldest), ())) = self.recency.pop_first()
        {
            self.senders.remove(&oldest);
        }
        self.recency.insert((now, instance), ());
        let window = Window::new(counter);
        let sender = Sender { window, heard: now };
        self.senders.insert(instance, sender);
    }
}

#[cfg(test)]
mod tests;
