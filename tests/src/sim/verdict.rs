//! What is checked at intervals and at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_engine::Member;

use crate::sim::cluster::Sim;
use crate::sim::invariants;
use crate::sim::machine::Machine;
use crate::sim::node::{Node, State};
use crate::sim::record::Stream;

/// Deaths this close to a replication can take all copies with them,
/// microseconds.
const COPIES_SETTLE_US: u64 = 10_000_000;

/// Copies of a replicated event: the origin's and two more.
const COPIES: usize = 3;

impl<M: Machine> Sim<M> {
    /// Checks of every node, once a virtual second.
    pub(crate) fn check_all(&mut self) {
        for slot in 0..self.nodes.len() {
            let node = &self.nodes[slot];
            let Some(machine) = node.machine.as_ref().filter(|_| node.up()) else {
                continue;
            };
            let gauges =
                invariants::gauges_bounded(&machine.counters(), &self.setup.demands.gauges);
            let leaving = node.run.leaving_since.is_some();
            let alive = match node.run.view.holder(node.name_id) {
                Some(me) if me.is_self => invariants::self_alive(leaving, me),
                Some(_) if self.setup.demands.shared_names => Ok(()),
                Some(_) | None => Err("it does not show itself".to_owned()),
            };
            let others = node.run.view.holders().filter(|m| m.status.is_live());
            let lowest = others.map(|member| member.protocol.1).min();
            let protocol = invariants::protocol_understood(machine.protocol(), lowest);
            self.check(slot, "gauges_bounded", gauges);
            self.check(slot, "protocol_understood", protocol);
            self.check(slot, "self_alive", alive);
        }
    }

    /// Every running node shows every running node of its cluster as it is, and
    /// nobody else as live.
    #[must_use]
    pub fn converged(&self) -> bool {
        self.everybody_counted() && self.disagreement().is_none()
    }

    /// Every running node shows as many live members as run: cheap, and nearly
    /// always the same as [`Sim::converged`].
    #[must_use]
    pub fn everybody_counted(&self) -> bool {
        let mut running: BTreeMap<u32, usize> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.up()) {
            *running.entry(node.realm).or_default() += 1;
        }
        let counted = |node: &Node<M>| running.get(&node.realm) == Some(&node.run.view.live());
        self.setup.demands.shared_names || self.nodes.iter().all(|node| !node.up() || counted(node))
    }

    /// The first thing that a node shows wrongly.
    #[must_use]
    pub fn disagreement(&self) -> Option<(usize, String)> {
        let truth = self.truth();
        for (slot, node) in self.nodes.iter().enumerate() {
            if !node.up() || node.run.leaving_since.is_some() {
                continue;
            }
            for (realm, member) in &truth {
                let shown = node.run.view.holder(self.id_of(member)).map(AsRef::as_ref);
                let check = invariants::shown_as_it_is(shown, member);
                if let Err(text) = check.as_ref()
                    && *realm == node.realm
                {
                    return Some((slot, text.clone()));
                }
            }
            for shown in node.run.view.holders() {
                let runs = self.process_runs(shown);
                if let Err(text) = invariants::dead_not_live(shown, runs) {
                    return Some((slot, text));
                }
            }
        }
        None
    }

    /// The members that run, each as it sees itself, with its cluster. Of those
    /// that share a name, the one with the highest boot.
    fn truth(&self) -> Vec<(u32, Arc<Member>)> {
        let mut truth: Vec<(u32, Arc<Member>)> = Vec::new();
        for node in self.nodes.iter().filter(|node| node.up()) {
            let Some(me) = node.machine.as_ref().map(M::me) else {
                continue;
            };
            let same = |other: &&mut (u32, Arc<Member>)| {
                self.setup.demands.shared_names && other.0 == node.realm && other.1.name == me.name
            };
            match truth.iter_mut().find(same) {
                Some(other) if (other.1.boot, other.1.instance) < (me.boot, me.instance) => {
                    other.1 = me;
                }
                Some(_) => {}
                None => truth.push((node.realm, me)),
            }
        }
        truth
    }

    fn id_of(&self, member: &Member) -> u32 {
        let named = |node: &&Node<M>| node.name == member.name;
        // Names that are their slot's number are found without a search.
        let number = member.name.get(1..).and_then(|digits| digits.parse().ok());
        number
            .and_then(|slot: usize| self.nodes.get(slot))
            .filter(named)
            .or_else(|| self.nodes.iter().find(named))
            .map_or(u32::MAX, |node| node.name_id)
    }

    fn process_runs(&self, member: &Member) -> bool {
        let id = self.id_of(member);
        let runs = |node: &&Node<M>| {
            node.name_id == id && node.state != State::Down && node.run.boot == member.boot
        };
        match self.nodes.get(id as usize).filter(runs) {
            Some(_) => true,
            None => self.nodes.iter().any(|node| runs(&node)),
        }
    }

    /// Waits until all views agree and notes a violation if they do not within
    /// `limit`. Gives the time that it took.
    pub fn settle(&mut self, limit: Duration) -> Option<Duration> {
        let every = Duration::from_millis(50);
        let took = self.run_until(limit, every, Self::converged);
        if took.is_none() {
            let (slot, text) = self
                .disagreement()
                .unwrap_or_else(|| (0, "somebody counts members that are none".to_owned()));
            self.check(slot, "views_converge", Err(text));
        }
        took
    }

    /// The last checks: every replicated event is where it is owed.
    pub fn finish(&mut self) {
        for at in 0..self.streams.len() {
            if self.copies_lost(&self.streams[at]) {
                continue;
            }
            for slot in 0..self.nodes.len() {
                let (stream, node) = (&self.streams[at], &self.nodes[slot]);
                let listener = stream.audience.get(slot).copied().flatten();
                let owed =
                    |life| node.up() && node.life == life && node.run.leaving_since.is_none();
                let Some(listener) = listener.filter(|listener| owed(listener.life)) else {
                    continue;
                };
                let cursor = node.run.cursors.get(at).and_then(Option::as_ref);
                let check = invariants::replicated_reached(cursor, &listener, stream.replicated);
                let name = self.names.name(stream.name);
                let check = check.map_err(|text| format!("{name}/{}: {text}", stream.boot));
                self.check(slot, "replicated_reached", check);
            }
        }
    }

    /// Everybody who certainly held the last events of a stream may be dead.
    fn copies_lost(&self, stream: &Stream) -> bool {
        let origin = &self.nodes[stream.slot];
        if origin.life == stream.life && origin.state != State::Down {
            return false;
        }
        let near = |(at, _): &&(u64, usize)| at.abs_diff(stream.replicated_us) < COPIES_SETTLE_US;
        let deaths = self.deaths.iter().filter(near).count();
        deaths >= COPIES.min(stream.copies_among + 1).max(2)
    }
}
