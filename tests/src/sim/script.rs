//! What a scenario can do to the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::crypto::Keyring;
use muster_engine::{EngineError, EventDraft, EventKind, OwnUpdate, Snapshot};

use crate::sim::cluster::Sim;
use crate::sim::machine::Machine;
use crate::sim::network::CutId;
use crate::sim::node::State;
use crate::sim::rng::PPM;
use crate::sim::setup::address;

/// In a burst every one with a number that this divides is a query.
pub const QUERY_EVERY: u64 = 5;

/// Address of a restarted node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// The one that it had.
    Same,
    /// One that nobody had before.
    New,
}

/// One thing that happens to a cluster.
#[derive(Debug, Clone)]
pub enum Action {
    /// A process starts; ignored if it runs.
    Start(usize),
    /// A process ends at once, without a word.
    Kill(usize),
    /// A host vanishes with its process: nothing answers there any more. It comes
    /// back at a new address.
    Vanish(usize),
    /// A process is stopped.
    Pause(usize),
    /// A stopped process goes on.
    Resume(usize),
    /// A process ends, if it runs, and starts again at once.
    Restart(usize, Address),
    /// A process leaves and ends.
    Leave(usize),
    /// An operator at the first ends the membership of the second.
    ForceLeave(usize, usize),
    /// These and the others do not hear each other.
    Split(Vec<usize>),
    /// What these send does not reach the others.
    Mute(Vec<usize>),
    /// This one hears nobody.
    Deafen(usize),
    /// All cuts end.
    HealAll,
    /// A wall clock jumps by so many milliseconds.
    ClockJump(usize, i64),
    /// A node sends so many events of so many bytes.
    Burst(usize, usize, usize),
    /// A node sets a tag.
    Tag(usize, String, String),
    /// A node says something else of its containers.
    Publish(usize, OwnUpdate),
    /// A node goes on with other keys, or without any; it keeps them over restarts.
    Rekey(usize, Option<Keyring>),
}

impl<M: Machine> Sim<M> {
    /// Does it now.
    pub fn apply(&mut self, action: Action) {
        self.trace.script(self.now, self.nodes.len(), &action);
        match action {
            Action::Start(slot) => self.start(slot, Address::Same),
            Action::Kill(slot) => self.stop(slot, false),
            Action::Vanish(slot) => {
                // Nothing of it is heard any more: its host goes first.
                self.hosts[self.nodes[slot].address as usize] = None;
                let life = (slot, self.nodes[slot].life);
                self.orphan_watches(life);
                self.stop(slot, false);
            }
            Action::Pause(slot) => self.pause(slot),
            Action::Resume(slot) => self.resume(slot),
            Action::Restart(slot, at) => {
                self.stop(slot, false);
                self.start(slot, at);
            }
            Action::Leave(slot) => self.leave(slot),
            Action::ForceLeave(at, whom) => {
                // A member that is live is refused: that is an answer, too.
                let _answer: Result<(), EngineError> = self.force_leave(at, whom, false);
            }
            Action::Split(side) => {
                let (side, others) = self.sides(&side);
                self.network.cut(side.clone(), others.clone(), PPM);
                self.network.cut(others, side, PPM);
                self.streams_disturbed(None);
                self.disturbed_at = self.now;
            }
            Action::Mute(side) => {
                let (side, others) = self.sides(&side);
                self.network.cut(side, others, PPM);
                self.disturb_everybody(u64::MAX);
            }
            Action::Deafen(slot) => {
                let (side, others) = self.sides(&[slot]);
                self.network.cut(others, side, PPM);
                self.disturb(slot, u64::MAX);
            }
            Action::HealAll => {
                self.network.heal_all();
                self.disturb_everybody(self.now + self.setup.demands.grace_us);
            }
            Action::ClockJump(slot, by_ms) => self.nodes[slot].clock.wall_ahead_ms += by_ms,
            Action::Burst(slot, count, bytes) => self.burst(slot, count, bytes),
            Action::Tag(slot, key, value) => self.tag(slot, key, value),
            Action::Publish(slot, update) => self.publish(slot, update),
            Action::Rekey(slot, keyring) => self.rekey(slot, keyring),
        }
    }

    /// Starts every host at a random time within `within`.
    pub fn start_all(&mut self, within: Duration) {
        for slot in 0..self.nodes.len() {
            let range = crate::sim::pipe::micros(within);
            let at = Duration::from_micros(self.rng.below(range + 1));
            self.after(at, Action::Start(slot));
        }
    }

    /// From now on nobody has seeds.
    pub fn forget_seeds(&mut self) {
        self.setup.seeds.clear();
    }

    /// From now on a node that left comes back with all that it knew.
    pub fn rejoin(&mut self) {
        self.setup.rejoin = true;
    }

    /// What a host's disk holds for its next start.
    #[must_use]
    pub fn kept(&self, slot: usize) -> Option<&Snapshot> {
        self.nodes[slot].disk_snapshot.as_ref()
    }

    /// Gives a host another node name: before its start.
    pub fn rename(&mut self, slot: usize, name: &str) {
        self.nodes[slot].name = std::sync::Arc::from(name);
        self.nodes[slot].name_id = self.names.id(&self.nodes[slot].name);
    }

    /// Gives a host another build, by the gossip protocols that it speaks: before
    /// its start.
    pub fn set_protocol(&mut self, slot: usize, protocol: (u32, u32)) {
        self.nodes[slot].protocol = Some(protocol);
    }

    /// Gives a host the address of another one whose process does not run, which
    /// moves to one that nobody had before: before its start.
    pub fn take_address(&mut self, slot: usize, from: usize) {
        let (own, taken) = (self.nodes[slot].address, self.nodes[from].address);
        self.nodes[slot].address = taken;
        self.hosts[taken as usize] = Some(slot);
        self.hosts[own as usize] = None;
        self.nodes[from].address = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.hosts.push(Some(from));
    }

    /// Gives a host another cluster: before its start.
    pub fn set_realm(&mut self, slot: usize, realm: u32) {
        self.nodes[slot].realm = realm;
    }

    /// Loses datagrams from `from` to `to`, per million, until healed.
    pub fn degrade(&mut self, from: &[usize], to: &[usize], drop_ppm: u32) -> CutId {
        let (from, to) = (self.sides(from).0, self.sides(to).0);
        self.network.cut(from, to, drop_ppm)
    }

    /// Ends what [`Sim::degrade`] began.
    pub fn heal(&mut self, cut: CutId) {
        self.network.heal(cut);
    }

    /// An event of a node's own making; it waits while the window is full.
    pub fn send_event(&mut self, slot: usize, name: &str, payload: Bytes) {
        self.send(slot, EventDraft::new(name, payload));
    }

    /// As [`Sim::send_event`], of any kind.
    pub fn send(&mut self, slot: usize, draft: EventDraft) {
        if self.nodes[slot].state != State::Up {
            return;
        }
        self.nodes[slot].run.drafts.push_back(draft);
        if self.nodes[slot].run.waiting_since.is_none() {
            self.send_waiting(slot);
            self.settle_node(slot);
        }
    }

    /// An operator's join at a node: one result an address.
    pub fn join(&mut self, slot: usize, attempt: u64, whom: &[usize]) {
        let addrs: Vec<_> = whom
            .iter()
            .map(|at| address(self.nodes[*at].address))
            .collect();
        let now = self.nodes[slot].clock.read(self.now);
        if let Some(machine) = self.nodes[slot].machine.as_mut() {
            machine.join(now, attempt, &addrs);
        }
        self.settle_node(slot);
    }

    /// An operator at a node ends the membership of another.
    ///
    /// # Errors
    /// The engine's.
    pub fn force_leave(&mut self, at: usize, whom: usize, prune: bool) -> Result<(), EngineError> {
        let name = std::sync::Arc::clone(&self.nodes[whom].name);
        let now = self.nodes[at].clock.read(self.now);
        let Some(machine) = self.nodes[at].machine.as_mut() else {
            return Err(EngineError::Leaving);
        };
        let answer = machine.force_leave(now, &name, prune);
        self.settle_node(at);
        answer
    }

    fn burst(&mut self, slot: usize, count: usize, bytes: usize) {
        for nth in 1..=count as u64 {
            let mut payload = vec![0; bytes];
            for chunk in payload.chunks_mut(8) {
                let word = self.rng.draw().to_le_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
            let mut draft = EventDraft::new("burst", payload);
            if nth.is_multiple_of(QUERY_EVERY) {
                draft.kind = EventKind::Query;
            }
            self.send(slot, draft);
        }
    }

    fn tag(&mut self, slot: usize, key: String, value: String) {
        let set = BTreeMap::from([(key, value)]);
        let now = self.nodes[slot].clock.read(self.now);
        let Some(machine) = self.nodes[slot].machine.as_mut() else {
            return;
        };
        let check = machine.update_tags(now, set.clone(), &[]);
        self.nodes[slot].tags.extend(set);
        self.check(
            slot,
            "tags_accepted",
            check.map_err(|error| error.to_string()),
        );
        self.disturbed_at = self.now;
        self.settle_node(slot);
    }

    fn publish(&mut self, slot: usize, update: OwnUpdate) {
        let now = self.nodes[slot].clock.read(self.now);
        let Some(machine) = self.nodes[slot].machine.as_mut() else {
            return;
        };
        let check = machine.update_own(now, update);
        let check = check.map_err(|error| error.to_string());
        self.check(slot, "own_updates_accepted", check);
        self.disturbed_at = self.now;
        self.settle_node(slot);
    }

    fn rekey(&mut self, slot: usize, keyring: Option<Keyring>) {
        let node = &mut self.nodes[slot];
        node.keyring = Some(keyring.clone());
        let now = node.clock.read(self.now);
        if let Some(machine) = node.machine.as_mut() {
            machine.set_keyring(now, keyring);
        }
        self.settle_node(slot);
    }

    fn leave(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        if node.state != State::Up || node.run.leaving_since.is_some() {
            return;
        }
        node.run.leaving_since = Some(self.now);
        let now = node.clock.read(self.now);
        if let Some(machine) = node.machine.as_mut() {
            machine.leave(now);
        }
        self.disturbed_at = self.now;
        self.streams_disturbed(Some(slot));
        self.settle_node(slot);
    }

    fn sides(&self, side: &[usize]) -> (Vec<bool>, Vec<bool>) {
        let inside: Vec<bool> = (0..self.nodes.len()).map(|at| side.contains(&at)).collect();
        let outside = inside.iter().map(|inside| !inside).collect();
        (inside, outside)
    }
}
