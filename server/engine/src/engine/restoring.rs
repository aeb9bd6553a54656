//! Restarts: what a node keeps for its next run, and what it does with it then.
//!
//! Members of the run before are only dialled at first. Those that are not met within
//! [`NOT_MET_AFTER`] are shown as failed, so that an operator sees who is missing after
//! everybody was restarted. They are shown and nothing else: SWIM, digests and state
//! exchanges know nothing of them, so that nobody is accused on the word of an old
//! file. A cluster that lived on meanwhile knows better who belongs to it, and what it
//! does not know is shown no longer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;

use super::Engine;
use super::exchange::answering::kept_state;
use crate::api::Output;
use crate::events::Position;
use crate::ident::{BOOT_MAX, Ident};
use crate::member::{Member, MemberKey, Status, StatusChange, StatusReason};
use crate::name::check_name;
use crate::record::Record;
use crate::snapshot::{SNAPSHOT_MEMBERS_BYTES_MAX, SNAPSHOT_MEMBERS_MAX, Snapshot};
use crate::table::Peer;
use crate::time::{Now, Time};
use crate::wire::MemberState;

/// How long members of the run before have to be met until they are shown as failed.
const NOT_MET_AFTER: Duration = Duration::from_secs(30);

/// The same after the first one was met: it tells of the others.
const SETTLES_AFTER: Duration = Duration::from_secs(5);

/// Members of the run before that were not met in this one.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    members: BTreeMap<u64, MemberState>,
    /// Keys under which some of them are shown.
    shown: BTreeMap<u64, Arc<Member>>,
    /// How old the snapshot was when it was read.
    age: Duration,
    since: Time,
    /// When those that were not met are shown.
    due: Option<Time>,
    /// The run before had met others.
    joined: bool,
}

impl Remembered {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn shown(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.shown.values()
    }

    /// Shows the others a little after the first member was met.
    pub(super) fn met_somebody(&mut self, now: Time) {
        if let Some(due) = &mut self.due {
            *due = (*due).max(now + SETTLES_AFTER);
        }
    }

    /// How long ago the run before ended.
    fn age(&self, now: Time) -> Duration {
        self.age + now.since(self.since)
    }

    /// How long ago a member was last known to be in the state that it is shown in.
    fn age_of(&self, now: Time, state: &MemberState) -> Duration {
        let before = if is_dead(state) {
            Duration::from_millis(state.state_age_ms)
        } else {
            Duration::ZERO
        };
        before.saturating_add(self.age(now))
    }

    /// Drops a member; the key under which it was shown.
    fn forget(&mut self, hash: u64) -> Option<MemberKey> {
        self.members.remove(&hash)?;
        self.shown.remove(&hash).map(|member| member.key())
    }
}

impl Engine {
    /// What the next run of this node should know. Costs a pass over all members.
    #[must_use]
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let mut dead = Vec::new();
        let mut members = Vec::new();
        let mut addresses = self.joining.past();
        for peer in self.table.iter() {
            if peer.is_active() {
                addresses.push(peer.record.parsed().addr);
                members.push(kept_state(now, peer));
            } else {
                dead.push(kept_state(now, peer));
            }
        }
        let aged = |state: &MemberState| MemberState {
            state_age_ms: super::exchange::millis(self.remembered.age_of(now.at, state)),
            state: state.state.max(2),
            ..state.clone()
        };
        members.append(&mut dead);
        members.extend(self.remembered.members.values().map(aged));
        let mut room = SNAPSHOT_MEMBERS_BYTES_MAX;
        members.truncate(SNAPSHOT_MEMBERS_MAX);
        members.retain(|state| match room.checked_sub(state.encoded_len() + 8) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        Snapshot {
            cluster: self.own.config().cluster.clone(),
            name: self.own.config().name.clone(),
            saved_unix_ms: now.unix_ms,
            left: matches!(self.own.status, Status::Leaving | Status::Left),
            joined: self.remembered.joined || !self.joining.is_first() || self.table.len() > 0,
            lamport: self.events.lamport(),
            addresses: super::joining::newest(addresses)
                .map(|addr| addr.to_string())
                .collect(),
            members,
            positions: self.events.kept_positions(),
        }
    }

    /// Grows whenever [`Engine::snapshot`] would give something else (clocks aside).
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.changes + self.joining.changes() + self.events.moves()
    }

    /// Takes in what an earlier run kept: to be called once, before anything else.
    /// What makes no sense in it is skipped and counted.
    pub fn restore(&mut self, now: Now, snapshot: &Snapshot) {
        let own = self.own.ident.hash;
        self.remembered = Remembered {
            age: Duration::from_millis(now.unix_ms.saturating_sub(snapshot.saved_unix_ms)),
            since: now.at,
            due: Some(now.at + NOT_MET_AFTER),
            joined: snapshot.joined,
            ..Remembered::default()
        };
        for state in snapshot.members.iter().take(SNAPSHOT_MEMBERS_MAX) {
            match render(state, &self.remembered, now) {
                Some((hash, _)) if hash == own => {}
                Some((hash, member)) => {
                    if member.status != Status::Left {
                        self.joining.recall(member.addr);
                    }
                    self.remembered.members.insert(hash, state.clone());
                }
                None => self.count("snapshot_entries_refused"),
            }
        }
        let here = self.own.config().advertise;
        for addr in snapshot.sockets().filter(|addr| *addr != here) {
            self.joining.recall(addr);
        }
        self.joining.expect_others(now.at);
        let positions: &[Position] = &snapshot.positions;
        let refused = self
            .events
            .restore(now, snapshot.lamport, positions, snapshot.joined);
        for _ in 0..refused {
            self.count("snapshot_entries_refused");
        }
        self.finish(now);
    }

    /// A member that is in the table is remembered no longer.
    pub(super) fn recognise(&mut self, hash: u64) {
        // It is shown under the same key: the table's view takes its place.
        let _replaced: Option<MemberKey> = self.remembered.forget(hash);
    }

    /// An operator wants a member gone that was not met. Says whether there was one.
    pub(super) fn forget_remembered(&mut self, hash: u64) -> bool {
        let known = self.remembered.members.contains_key(&hash);
        if let Some(key) = self.remembered.forget(hash) {
            self.outputs.push_back(Output::MemberRemoved(key));
        }
        self.changes += u64::from(known);
        known
    }

    /// The identity of a member that is shown though it was not met.
    pub(super) fn find_remembered(&self, name: &str) -> Option<Ident> {
        let mut shown = self.remembered.shown.iter();
        let (hash, _) = shown.find(|(_, member)| *member.name == *name)?;
        Ident::get(&self.remembered.members.get(hash)?.ident[..])
    }

    /// Shows who was not met in time, and forgets whom the cluster has forgotten.
    pub(super) fn tick_remembered(&mut self, now: Now) {
        if self.remembered.members.is_empty() || self.remembered.due.is_none_or(|at| now.at < at) {
            return;
        }
        let age = self.remembered.age(now.at);
        let up_for_longer = |peer: &Peer| peer.is_active() && peer.up_since.age(now.at) > age;
        let lived_on = self.table.iter().any(up_for_longer);
        let config = self.own.config();
        let (reap_left, reap_failed) = (config.reap_left, config.reap_failed);
        let gone = |state: &MemberState| {
            let reap = if state.state == 3 {
                reap_left
            } else {
                reap_failed
            };
            lived_on || self.remembered.age_of(now.at, state) >= reap
        };
        let states = self.remembered.members.iter();
        let due: Vec<u64> = states
            .filter(|(_, state)| gone(state))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in due {
            self.forget_remembered(hash);
        }
        if self.remembered.shown.len() == self.remembered.members.len() {
            return;
        }
        let states = self.remembered.members.values();
        let views = states.filter_map(|state| render(state, &self.remembered, now));
        for (hash, member) in views.collect::<Vec<_>>() {
            if let Entry::Vacant(free) = self.remembered.shown.entry(hash) {
                let member = Arc::clone(free.insert(Arc::new(member)));
                self.outputs.push_back(Output::MemberUpdated(member));
            }
        }
    }
}

const fn is_dead(state: &MemberState) -> bool {
    state.state >= 2
}

/// A member of the run before as it is shown if it is not met; `None` if the entry
/// makes no sense.
fn render(state: &MemberState, of: &Remembered, now: Now) -> Option<(u64, Member)> {
    let ident = Ident::get(&state.ident[..]).filter(|ident| ident.boot <= BOOT_MAX)?;
    let delta = state.record.as_ref()?;
    let record = Record::new(now.at, delta).ok()?;
    let said = record.parsed();
    let fits = record.owner() == ident.node() && check_name(&said.name).is_ok();
    if !fits || said.conflict || crate::ident::name_hash(&said.name) != ident.hash {
        return None;
    }
    let left = state.state == 3;
    let age = super::exchange::millis(of.age_of(now.at, state));
    let member = Member {
        name: Arc::from(said.name.as_str()),
        alias: None,
        boot: ident.boot,
        instance: said.instance,
        incarnation: u64::from(ident.life) << 16 | u64::from(state.incarnation),
        addr: said.addr,
        status: if left { Status::Left } else { Status::Failed },
        change: StatusChange {
            by: None,
            at_unix_ms: now.unix_ms.saturating_sub(age),
            reason: if left {
                StatusReason::Left
            } else {
                StatusReason::NotMet
            },
        },
        transitions: 0,
        started_unix_ms: said.started_unix_ms,
        tags: said.tags.clone(),
        roles: said.roles.clone(),
        ports: said.ports.clone(),
        version: said.version.clone(),
        protocol: said.protocol,
        plaintext: said.plaintext,
        by_tcp: false,
        is_self: false,
    };
    Some((ident.hash, member))
}
