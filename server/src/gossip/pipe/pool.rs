//! The outgoing pipes of a node and which of them are free.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use muster_engine::crypto::Keyring;
use muster_engine::{ExchangeError, ExchangeKind};
use tokio::sync::mpsc;

use super::OUTGOING_MAX;
use super::outgoing::{Context, Job, Outgoing};
use crate::daemon::supervisor::Tasks;

/// Hands exchanges to pipes; owned by the engine's task and never waits.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: BTreeMap<u64, Slot>,
    slot_next: u64,
    /// Grows with each use: tells which slot was used least recently.
    uses: u64,
    context: Context,
    tasks: Tasks,
}

#[derive(Debug)]
struct Slot {
    to: SocketAddr,
    kind: ExchangeKind,
    jobs: mpsc::Sender<Job>,
    busy: bool,
    used: u64,
}

impl Pool {
    /// Without pipes; each gets a task on the current runtime.
    pub(crate) fn new(context: Context, tasks: Tasks) -> Self {
        Self {
            slots: BTreeMap::new(),
            slot_next: 0,
            uses: 0,
            context,
            tasks,
        }
    }

    /// Gives an exchange to a free pipe to `to`, or to a new one. Its end comes as
    /// one [`crate::gossip::task::Arrival::Response`].
    ///
    /// # Errors
    /// [`ExchangeError::Busy`] if all pipes are under way: nothing will come.
    pub(crate) fn send(
        &mut self,
        to: SocketAddr,
        kind: ExchangeKind,
        job: Job,
    ) -> Result<(), ExchangeError> {
        self.uses += 1;
        let Some(job) = self.reuse(to, kind, job) else {
            return Ok(());
        };
        if self.slots.len() >= OUTGOING_MAX && !self.close_idle() {
            self.context.counters.exchanges_refused_busy.add(1);
            return Err(ExchangeError::Busy);
        }
        self.open(to, kind, job);
        Ok(())
    }

    /// Goes on with other keys: pipes that they do not allow are closed.
    pub(crate) fn set_keyring(&self, keyring: Option<Keyring>) {
        self.context.identity.set_keyring(keyring);
    }

    /// The exchange of a slot is over.
    pub(crate) fn freed(&mut self, slot: u64) {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.busy = false;
        }
    }

    /// The pipe of a slot has ended.
    pub(crate) fn closed(&mut self, slot: u64) {
        self.slots.remove(&slot);
    }

    /// The job back if no pipe is free for it.
    fn reuse(&mut self, to: SocketAddr, kind: ExchangeKind, mut job: Job) -> Option<Job> {
        let uses = self.uses;
        for slot in self.slots.values_mut() {
            if slot.busy || slot.to != to || slot.kind != kind {
                continue;
            }
            match slot.jobs.try_send(job) {
                Ok(()) => {
                    slot.busy = true;
                    slot.used = uses;
                    return None;
                }
                // It is about to close.
                Err(
                    mpsc::error::TrySendError::Closed(back) | mpsc::error::TrySendError::Full(back),
                ) => {
                    job = back;
                }
            }
        }
        Some(job)
    }

    /// Closes the idle pipe that was used least recently; false if none is idle.
    fn close_idle(&mut self) -> bool {
        let idle = self.slots.iter().filter(|(_, slot)| !slot.busy);
        let oldest = idle.min_by_key(|(_, slot)| slot.used).map(|(id, _)| *id);
        // Its task ends once the sender of its jobs is gone.
        oldest.and_then(|id| self.slots.remove(&id)).is_some()
    }

    fn open(&mut self, to: SocketAddr, kind: ExchangeKind, job: Job) {
        let slot = self.slot_next;
        self.slot_next += 1;
        // One: a slot has one exchange at a time.
        let (sender, jobs) = mpsc::channel(1);
        sender
            .try_send(job)
            .expect("a new channel has room for its first job");
        let pipe = Outgoing {
            slot,
            to,
            kind,
            jobs,
            context: self.context.clone(),
        };
        self.tasks.spawn_guarded("pipe to peer", pipe.run());
        let entry = Slot {
            to,
            kind,
            jobs: sender,
            busy: true,
            used: self.uses,
        };
        self.slots.insert(slot, entry);
    }
}

#[cfg(test)]
mod tests;
