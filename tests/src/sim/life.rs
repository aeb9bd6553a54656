//! Processes start, stop, pause and end.

use std::collections::BTreeMap;

use muster_engine::crypto::{Key, Keyring};
use muster_engine::{Config, Input, Limits, Snapshot};

use crate::sim::clock::Clock;
use crate::sim::cluster::{Next, Sim};
use crate::sim::machine::Machine;
use crate::sim::node::{Held, Node, Run, State};
use crate::sim::record::Traffic;
use crate::sim::rng::{PPM, Rng};
use crate::sim::script::Address;
use crate::sim::setup::address;

/// Clocks of different nodes start up to this far apart, microseconds.
const CLOCKS_APART_US: u64 = 1_000_000_000;

/// The key of a cluster.
fn keyring(realm: u32) -> Keyring {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&realm.to_le_bytes());
    Keyring::new(Key::new(&bytes).expect("32 bytes are a key"))
}

impl<M: Machine> Sim<M> {
    pub(crate) fn start(&mut self, slot: usize, at: Address) {
        if self.nodes[slot].state != State::Down {
            return;
        }
        if at == Address::New {
            self.hosts[self.nodes[slot].address as usize] = None;
            self.nodes[slot].address = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
            self.hosts.push(Some(slot));
        }
        let node = &mut self.nodes[slot];
        let now = node.clock.read(self.now);
        let kept = if self.setup.disk {
            node.disk_boot + 1
        } else {
            0
        };
        let boot = now.unix_ms.max(kept);
        node.life += 1;
        node.state = State::Up;
        node.disturbed_until = self.now;
        node.disk_boot = node.disk_boot.max(boot);
        node.run = Run {
            boot,
            started_us: self.now,
            ..Run::default()
        };
        let seed = node.rng.draw();
        let config = Config {
            name: node.name.to_string(),
            cluster: format!("realm-{}", node.realm),
            advertise: address(node.address),
            boot,
            tags: node.tags.clone(),
            roles: Vec::new(),
            version: "0.0.0-sim".to_owned(),
            keyring: match &node.keyring {
                Some(given) => given.clone(),
                None => self.setup.sealed.then(|| keyring(node.realm)),
            },
            limits: Limits {
                protocol: node.protocol.unwrap_or(self.setup.limits.protocol),
                ..self.setup.limits.clone()
            },
            reap_left: self.setup.reap_left,
            reap_failed: self.setup.reap_failed,
            coordinates: true,
            retry_interval: self.setup.retry_interval,
        };
        let mut machine = M::start(config, seed, now);
        let stays_away = |snapshot: &Snapshot| snapshot.left && !self.setup.rejoin;
        match node.disk_snapshot.clone() {
            Some(kept) if stays_away(&kept) => machine.restore(now, &kept.without_members()),
            Some(kept) => machine.restore(now, &kept),
            None => {}
        }
        node.machine = Some(machine);
        self.disturbed_at = self.now;
        self.note_owner(slot);
        self.settle_node(slot);
    }

    /// Writes snapshots whose time has come, as the daemon does.
    pub(crate) fn save_snapshots(&mut self) {
        let every = self.setup.snapshot_secs;
        for slot in 0..self.nodes.len() {
            let turn = self.now / 1_000_000 + slot as u64;
            if every > 0 && turn.is_multiple_of(every) && self.nodes[slot].up() {
                self.save_snapshot(slot);
            }
        }
    }

    /// Writes a snapshot, unless it knows less than nothing.
    pub(crate) fn save_snapshot(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        let now = node.clock.read(self.now);
        let snapshot = node
            .machine
            .as_ref()
            .and_then(|machine| machine.snapshot(now));
        if let Some(snapshot) = snapshot.filter(|snapshot| !snapshot.knows_nobody()) {
            node.disk_snapshot = Some(snapshot);
        }
    }

    /// Ends a process, without a goodbye unless it says one.
    pub(crate) fn stop(&mut self, slot: usize, goodbye: bool) {
        if self.nodes[slot].state == State::Down {
            return;
        }
        self.note_owner(slot);
        self.streams_disturbed(Some(slot));
        let node = &mut self.nodes[slot];
        node.state = State::Down;
        node.machine = None;
        node.run.pipes.clear();
        node.run.carriers.clear();
        node.run.held.clear();
        node.run.drafts.clear();
        node.run.wake_at = None;
        let life = (slot, node.life);
        self.break_watches(life, goodbye);
        self.deaths.push((self.now, slot));
        self.disturbed_at = self.now;
    }

    pub(crate) fn pause(&mut self, slot: usize) {
        if self.nodes[slot].state == State::Up {
            self.nodes[slot].state = State::Paused;
            self.nodes[slot].run.wake_at = None;
            self.disturb(slot, u64::MAX);
        }
    }

    pub(crate) fn resume(&mut self, slot: usize) {
        if self.nodes[slot].state != State::Paused {
            return;
        }
        self.nodes[slot].state = State::Up;
        self.disturb(slot, self.now + self.setup.demands.grace_us);
        self.nodes[slot].run.held_bytes = 0;
        // Timers and sockets are ready at once: either may come first.
        if self.rng.chance(PPM / 2) {
            self.deliver(slot, Input::Tick);
        }
        let held = std::mem::take(&mut self.nodes[slot].run.held);
        let to = self.nodes[slot].address;
        for held in held {
            let next = match held {
                Held::Datagram { from, bytes } => Next::Datagram { to, from, bytes },
                Held::Carried(carried) => Next::Carried(carried),
                Held::Step(uid) => Next::Step(uid),
                Held::Timeout(uid) => Next::Timeout(uid),
                Held::Watch(uid) => Next::Watch(uid),
            };
            self.queue.push(self.now, next);
        }
        self.settle_node(slot);
    }

    /// From now until `until`, this node's misfortunes are excused.
    pub(crate) fn disturb(&mut self, slot: usize, until: u64) {
        self.nodes[slot].disturbed_until = until;
        self.disturbed_at = self.now;
        self.streams_disturbed(Some(slot));
    }

    pub(crate) fn disturb_everybody(&mut self, until: u64) {
        for slot in 0..self.nodes.len() {
            self.nodes[slot].disturbed_until = until;
        }
        self.disturbed_at = self.now;
        self.streams_disturbed(None);
    }

    /// What streams owe to one node, or to all, may have gaps from now on.
    pub(crate) fn streams_disturbed(&mut self, slot: Option<usize>) {
        for stream in &mut self.streams {
            for (at, listener) in stream.audience.iter_mut().enumerate() {
                if let Some(listener) = listener.as_mut().filter(|_| slot.is_none_or(|s| s == at)) {
                    listener.calm_from = u64::MAX;
                }
            }
        }
    }

    pub(crate) fn new_node(&mut self, slot: usize) -> Node<M> {
        let mut rng = Rng::new(self.setup.seed, slot as u64 + 1);
        let name = std::sync::Arc::from(format!("n{slot:04}"));
        let skew = i64::try_from(self.setup.wall_skew_ms).unwrap_or(0);
        let off = i64::try_from(rng.below(2 * self.setup.wall_skew_ms + 1)).unwrap_or(0);
        Node {
            name_id: self.names.id(&name),
            name,
            realm: 0,
            address: u32::try_from(slot).unwrap_or(u32::MAX),
            clock: Clock {
                ahead_us: rng.below(CLOCKS_APART_US),
                wall_ahead_ms: off - skew,
                wall_gain_ppm: 0,
            },
            disk_boot: 0,
            disk_snapshot: None,
            tags: BTreeMap::new(),
            protocol: None,
            keyring: None,
            rng,
            traffic: Traffic::default(),
            disturbed_until: 0,
            life: 0,
            state: State::Down,
            machine: None,
            run: Run::default(),
        }
    }
}
