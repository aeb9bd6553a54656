//! One simulated node: a host, and the process on it if one runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use muster_engine::crypto::Keyring;
use muster_engine::{EventDraft, MemberKey, Note, Snapshot};

use crate::sim::carry::{Carried, Carrier};
use crate::sim::clock::Clock;
use crate::sim::exchange::Serving;
use crate::sim::pipe::{Link, Pipe};
use crate::sim::record::{Change, Cursor, Traffic, View};
use crate::sim::rng::Rng;

/// Whether the process of a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none: the host answers connects with a reset.
    Down,
    /// It runs.
    Up,
    /// It is stopped: the kernel keeps what arrives, up to a bound.
    Paused,
}

/// One run of one process.
pub(crate) type Life = (usize, u32);

/// What a paused node finds when it goes on.
#[derive(Debug)]
pub(crate) enum Held {
    Datagram { from: SocketAddr, bytes: Bytes },
    Carried(Carried),
    Step(u64),
    Timeout(u64),
    Watch(u64),
}

/// What a datagram takes in a socket buffer beside its payload, bytes.
pub(crate) const SOCKET_OVERHEAD_BYTES: usize = 768;

/// One host. What survives a restart comes first.
#[derive(Debug)]
pub(crate) struct Node<M> {
    pub(crate) name: Arc<str>,
    pub(crate) name_id: u32,
    pub(crate) realm: u32,
    pub(crate) address: u32,
    pub(crate) clock: Clock,
    pub(crate) disk_boot: u64,
    pub(crate) disk_snapshot: Option<Snapshot>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Gossip protocols that its build speaks, unless it is this one.
    pub(crate) protocol: Option<(u32, u32)>,
    /// What it was given by the script, if anything.
    pub(crate) keyring: Option<Option<Keyring>>,
    pub(crate) rng: Rng,
    pub(crate) traffic: Traffic,
    pub(crate) disturbed_until: u64,
    /// Grows with each start.
    pub(crate) life: u32,
    pub(crate) state: State,
    /// There while the process runs.
    pub(crate) machine: Option<M>,
    pub(crate) run: Run,
}

/// What belongs to one run of the process.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) boot: u64,
    pub(crate) started_us: u64,
    pub(crate) wake_at: Option<u64>,
    pub(crate) ticks_at_once: (u64, u32),
    pub(crate) held: VecDeque<Held>,
    pub(crate) held_bytes: usize,
    pub(crate) pipes: Vec<Pipe>,
    /// Pipes that carry datagrams, by address.
    pub(crate) carriers: BTreeMap<u32, Carrier>,
    pub(crate) link: Link,
    pub(crate) serving: Serving,
    pub(crate) view: View,
    /// What members publish, as surfaces of this node are told.
    pub(crate) published: BTreeMap<MemberKey, BTreeMap<Arc<str>, Bytes>>,
    pub(crate) history: Vec<Change>,
    pub(crate) cursors: Vec<Option<Cursor>>,
    /// Queries handed over: stream and sequence.
    pub(crate) queries: BTreeSet<(usize, u64)>,
    pub(crate) newest_event_boot: Vec<u64>,
    pub(crate) replicated: u64,
    pub(crate) drafts: VecDeque<EventDraft>,
    pub(crate) waiting_since: Option<u64>,
    pub(crate) waited_us: u64,
    pub(crate) leaving_since: Option<u64>,
    pub(crate) notes: Vec<Note>,
    pub(crate) joins: Vec<(u64, Result<Arc<str>, String>)>,
    pub(crate) sends: usize,
}

impl<M> Node<M> {
    /// It runs and is not stopped.
    pub(crate) fn up(&self) -> bool {
        self.state == State::Up
    }

    /// It runs, does not leave, and nothing disturbed it lately.
    pub(crate) fn calm(&self, now: u64) -> bool {
        self.up() && self.run.leaving_since.is_none() && now >= self.disturbed_until
    }

    /// The cursor on a stream, made on demand.
    pub(crate) fn cursor_slot(&mut self, stream: usize) -> &mut Option<Cursor> {
        let cursors = &mut self.run.cursors;
        if cursors.len() <= stream {
            cursors.resize(stream + 1, None);
        }
        &mut cursors[stream]
    }

    /// Keeps what arrives while the process is stopped.
    pub(crate) fn hold(&mut self, held: Held, buffer_bytes: usize) {
        if let Held::Datagram { bytes, .. } = &held {
            let size = bytes.len() + SOCKET_OVERHEAD_BYTES;
            if self.run.held_bytes + size > buffer_bytes {
                self.traffic.overflowed += 1;
                return;
            }
            self.run.held_bytes += size;
        }
        self.run.held.push_back(held);
    }
}
