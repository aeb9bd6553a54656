//! What tests and reports read of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{Member, Note, Status};

use crate::sim::cluster::Sim;
use crate::sim::machine::Machine;
use crate::sim::node::State;
use crate::sim::record::{Change, Cursor, Stream, Traffic, Violation};

/// How one address of a join went: the attempt, and who answered or why nobody.
pub type Joined = (u64, Result<Arc<str>, String>);

impl<M: Machine> Sim<M> {
    /// What was broken, in order of appearance.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Times that somebody showed a process as failed that ran, stopped ones not
    /// counted, whether or not that was excused.
    #[must_use]
    pub const fn false_failures(&self) -> u64 {
        self.false_failures
    }

    /// A hash over every input and output, equal for equal seeds and scripts.
    #[must_use]
    pub const fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Writes down in words what happens from `from` to `to`.
    pub fn watch(&mut self, from: Duration, to: Duration) {
        let micros = crate::sim::pipe::micros;
        self.trace.watch(micros(from), micros(to));
    }

    /// What was written down.
    #[must_use]
    pub fn trace_lines(&self) -> &[String] {
        self.trace.lines()
    }

    /// Things that happened so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// When something was last done to the cluster.
    #[must_use]
    pub const fn disturbed_at(&self) -> Duration {
        Duration::from_micros(self.disturbed_at)
    }

    /// Hosts.
    #[must_use]
    pub const fn hosts(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a host's process runs.
    #[must_use]
    pub fn state(&self, slot: usize) -> State {
        self.nodes[slot].state
    }

    /// The engine of a host whose process runs.
    #[must_use]
    pub fn machine(&self, slot: usize) -> Option<&M> {
        self.nodes[slot].machine.as_ref()
    }

    /// How `viewer` shows `subject`.
    #[must_use]
    pub fn shown(&self, viewer: usize, subject: usize) -> Option<&Member> {
        let id = self.nodes[subject].name_id;
        self.nodes[viewer].run.view.holder(id).map(AsRef::as_ref)
    }

    /// What `subject` publishes, as surfaces of `viewer` were told.
    #[must_use]
    pub fn published(&self, viewer: usize, subject: usize) -> Option<&BTreeMap<Arc<str>, Bytes>> {
        let name = &self.nodes[subject].name;
        let told = self.nodes[viewer].run.published.iter();
        let mut told = told.filter(|(key, _)| key.name == *name && key.conflict_boot == 0);
        told.next().map(|(_, published)| published)
    }

    /// How `viewer` shows the loser of a conflict over the name of `subject`.
    #[must_use]
    pub fn shown_loser(&self, viewer: usize, subject: usize) -> Option<&Member> {
        let node = &self.nodes[subject];
        let loser = self.nodes[viewer]
            .run
            .view
            .loser(node.name_id, node.run.boot);
        loser.map(AsRef::as_ref)
    }

    /// How many of the other running nodes show `subject` with this status.
    #[must_use]
    pub fn shown_as(&self, subject: usize, status: Status) -> usize {
        (0..self.nodes.len())
            .filter(|viewer| *viewer != subject && self.nodes[*viewer].up())
            .filter(|viewer| {
                self.shown(*viewer, subject)
                    .is_some_and(|m| m.status == status)
            })
            .count()
    }

    /// Nodes that run and are not stopped.
    #[must_use]
    pub fn running(&self) -> usize {
        self.nodes.iter().filter(|node| node.up()).count()
    }

    /// Every member change at a node since its start.
    #[must_use]
    pub fn history(&self, slot: usize) -> &[Change] {
        &self.nodes[slot].run.history
    }

    /// Number of a node's name in histories.
    #[must_use]
    pub fn name_id(&self, slot: usize) -> u32 {
        self.nodes[slot].name_id
    }

    /// Traffic of a host since the beginning.
    #[must_use]
    pub fn traffic(&self, slot: usize) -> Traffic {
        self.nodes[slot].traffic
    }

    /// What an engine found worth a line in the log.
    #[must_use]
    pub fn notes(&self, slot: usize) -> &[Note] {
        &self.nodes[slot].run.notes
    }

    /// Results of joins: attempt, and who answered or why nobody did.
    pub fn joins(&self, slot: usize) -> &[Joined] {
        &self.nodes[slot].run.joins
    }

    /// Every stream of events, by its first event.
    #[must_use]
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// The newest stream of a host's node, if it ever sent an event.
    #[must_use]
    pub fn newest_stream(&self, slot: usize) -> Option<usize> {
        let name = self.nodes[slot].name_id;
        self.streams.iter().rposition(|stream| stream.name == name)
    }

    /// Where a node stands in a stream.
    #[must_use]
    pub fn cursor(&self, slot: usize, stream: usize) -> Option<&Cursor> {
        self.nodes[slot]
            .run
            .cursors
            .get(stream)
            .and_then(Option::as_ref)
    }

    /// How long a node's events waited for room.
    #[must_use]
    pub fn waited(&self, slot: usize) -> Duration {
        let run = &self.nodes[slot].run;
        let open = run.waiting_since.map_or(0, |since| self.now - since);
        Duration::from_micros(run.waited_us + open)
    }

    /// Events of a node that wait for room.
    #[must_use]
    pub fn waiting(&self, slot: usize) -> usize {
        self.nodes[slot].run.drafts.len()
    }

    /// How long a process has run.
    #[must_use]
    pub fn uptime(&self, slot: usize) -> Duration {
        Duration::from_micros(self.now - self.nodes[slot].run.started_us)
    }
}
