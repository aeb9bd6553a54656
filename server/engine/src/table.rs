//! Everybody this node knows of, and what it believes of each.
//!
//! The table mirrors foca's member list: the same update rules, applied to the
//! same updates in the same order. It adds what foca does not keep: records, why
//! and by whom a state was set, left apart from failed. `Engine::check` compares
//! the two after every step in simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::ident::{Ident, NodeRef};
use crate::member::{Member, MemberKey, Status, StatusChange, StatusReason};
use crate::record::{Parsed, Published, Record};
use crate::swim::{State, Update};
use crate::time::{Moment, Now, Time};

/// Most members known at once, dead ones included; more are refused and counted.
pub(crate) const MEMBERS_MAX: usize = 65_536;

/// Bytes of all records held at once; members and changes beyond are refused and
/// counted.
pub(crate) const RECORDS_BYTES_MAX: usize = 256 << 20;

/// One member.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) ident: Ident,
    pub(crate) incarnation: u16,
    pub(crate) state: State,
    /// Dead for good by its own word or an operator's.
    pub(crate) left: bool,
    pub(crate) record: Record,
    /// When it joined, on this node's clock, as far as anybody told.
    pub(crate) up_since: Moment,
    pub(crate) state_since: Moment,
    pub(crate) by: u64,
    /// When this node itself last heard it, by whatever way.
    pub(crate) heard: Option<Time>,
    /// Only TCP gets there.
    by_tcp: bool,
    change: StatusChange,
    transitions: u64,
    shown: Option<Arc<Member>>,
    /// Surfaces hold something that it publishes.
    told: bool,
}

impl Peer {
    /// What people are told.
    pub(crate) fn status(&self) -> Status {
        match self.state {
            State::Down if self.left => Status::Left,
            State::Down => Status::Failed,
            State::Alive | State::Suspect if self.record.parsed().leaving => Status::Leaving,
            State::Suspect => Status::Suspect,
            State::Alive => Status::Alive,
        }
    }

    /// Alive or suspect.
    pub(crate) fn is_active(&self) -> bool {
        self.state != State::Down
    }

    /// Why it has its state.
    pub(crate) fn why(&self) -> StatusReason {
        self.change.reason
    }

    fn render(&self) -> Member {
        let said = self.record.parsed();
        let name: Arc<str> = match &self.shown {
            Some(shown) if *shown.name == *said.name => Arc::clone(&shown.name),
            _ => Arc::from(said.name.as_str()),
        };
        Member {
            alias: said.conflict.then(|| alias(said)),
            name,
            boot: self.ident.boot,
            instance: said.instance,
            incarnation: u64::from(self.ident.life) << 16 | u64::from(self.incarnation),
            addr: said.addr,
            status: self.status(),
            change: self.change.clone(),
            transitions: self.transitions,
            started_unix_ms: said.started_unix_ms,
            tags: said.tags.clone(),
            roles: said.roles.clone(),
            ports: said.ports.clone(),
            version: said.version.clone(),
            protocol: said.protocol,
            plaintext: said.plaintext,
            by_tcp: self.by_tcp && self.is_active(),
            is_self: false,
        }
    }
}

/// `NAME~<8 hex>`: how the loser of a name conflict is shown.
pub(crate) fn alias(said: &Parsed) -> Arc<str> {
    Arc::from(format!("{}~{:08x}", said.name, said.instance >> 32))
}

/// Who said so and why: goes with every update.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    /// Name hash of whose word it is; 0 for this node's own observation.
    pub(crate) by: u64,
    pub(crate) reason: StatusReason,
}

/// Members by name hash.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Boxed: a third of the places in a tree's nodes stand empty.
    peers: BTreeMap<u64, Box<Peer>>,
    active: Vec<NodeRef>,
    /// The others, by name hash: so that looking for who is to be forgotten costs
    /// nothing while nobody is dead.
    dead: BTreeSet<u64>,
    /// Bytes of all records.
    bytes: usize,
    refused: u64,
}

impl Table {
    pub(crate) fn get(&self, hash: u64) -> Option<&Peer> {
        self.peers.get(&hash).map(AsRef::as_ref)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().map(AsRef::as_ref)
    }

    /// All, from a hash on and round to it.
    pub(crate) fn iter_from(&self, hash: u64) -> impl Iterator<Item = &Peer> {
        let (after, before) = (self.peers.range(hash..), self.peers.range(..hash));
        after.chain(before).map(|(_, peer)| peer.as_ref())
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Alive and suspect members, sorted.
    pub(crate) fn active(&self) -> &[NodeRef] {
        &self.active
    }

    /// Failed and left members.
    pub(crate) fn dead(&self) -> impl Iterator<Item = &Peer> {
        self.dead.iter().filter_map(|hash| self.get(*hash))
    }

    /// Members that found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// The peer that has exactly this identity's run.
    pub(crate) fn run(&self, node: NodeRef) -> Option<&Peer> {
        self.get(node.hash)
            .filter(|peer| peer.ident.boot == node.boot)
    }

    pub(crate) fn name_of(&self, hash: u64) -> Option<Arc<str>> {
        let peer = self.peers.get(&hash)?;
        match &peer.shown {
            Some(shown) => Some(Arc::clone(shown.display_name())),
            None => Some(Arc::from(peer.record.parsed().name.as_str())),
        }
    }

    /// The key under which surfaces see a member.
    pub(crate) fn key_of(&self, hash: u64) -> Option<MemberKey> {
        self.peers
            .get(&hash)?
            .shown
            .as_ref()
            .map(|shown| shown.key())
    }

    /// The peer called so, by name or alias.
    pub(crate) fn find(&self, name: &str) -> Option<&Peer> {
        self.iter().find(|peer| {
            let said = peer.record.parsed();
            if said.conflict {
                *alias(said) == *name
            } else {
                said.name == name
            }
        })
    }

    /// Whether foca would change anything for this update of a known member.
    pub(crate) fn is_news(&self, update: &Update<Ident>) -> bool {
        let Some(peer) = self.peers.get(&update.id().hash) else {
            return true;
        };
        if peer.ident != *update.id() {
            return update.id().beats(peer.ident);
        }
        outranks(update, peer)
    }

    /// Adds a member with its record and a state.
    pub(crate) fn insert(
        &mut self,
        now: Now,
        update: &Update<Ident>,
        record: Record,
        word: Word,
    ) -> bool {
        let known = self.peers.contains_key(&update.id().hash);
        if (self.peers.len() >= MEMBERS_MAX && !known) || !self.has_room_for(record.bytes()) {
            self.refused += 1;
            return false;
        }
        let old = self.peers.remove(&update.id().hash);
        self.bytes += record.bytes();
        self.bytes -= old.as_ref().map_or(0, |old| old.record.bytes());
        let transitions = old.as_ref().map_or(0, |old| old.transitions + 1);
        let peer = Peer {
            ident: *update.id(),
            incarnation: update.incarnation(),
            state: update.state(),
            left: update.state() == State::Down && record.parsed().leaving,
            record,
            up_since: Moment::ago(now.at, Duration::ZERO),
            state_since: Moment::ago(now.at, Duration::ZERO),
            by: word.by,
            heard: None,
            by_tcp: false,
            change: self.change(now, word),
            transitions,
            told: old.as_ref().is_some_and(|old| old.told),
            shown: old.and_then(|old| old.shown),
        };
        self.peers.insert(update.id().hash, Box::new(peer));
        self.refresh_active(update.id().hash);
        true
    }

    /// Applies an update to a known run, by foca's rules. Says whether it changed.
    pub(crate) fn apply(&mut self, now: Now, update: &Update<Ident>, word: Word) -> bool {
        if !self.is_news(update) {
            return false;
        }
        let change = self.change(now, word);
        let Some(peer) = self.peers.get_mut(&update.id().hash) else {
            return false;
        };
        let before = peer.status();
        peer.ident = *update.id();
        peer.incarnation = update.incarnation();
        peer.state = update.state();
        peer.left = update.state() == State::Down && peer.record.parsed().leaving;
        if before != peer.status() {
            peer.change = change;
            peer.transitions += 1;
            peer.state_since = Moment::ago(now.at, Duration::ZERO);
            peer.by = word.by;
        }
        self.refresh_active(update.id().hash);
        true
    }

    /// Changes a record in place; a status that follows from it (leaving, left)
    /// gets `word`.
    pub(crate) fn with_record<T>(
        &mut self,
        now: Now,
        hash: u64,
        word: Word,
        edit: impl FnOnce(&mut Record) -> T,
    ) -> Option<T> {
        let mut change = self.change(now, word);
        let peer = self.peers.get_mut(&hash)?;
        let (before, bytes) = (peer.status(), peer.record.bytes());
        let result = edit(&mut peer.record);
        self.bytes = self.bytes - bytes + peer.record.bytes();
        peer.left |= peer.state == State::Down && peer.record.parsed().leaving;
        if before != peer.status() {
            if peer.left {
                change.reason = StatusReason::Left;
            }
            peer.change = change;
            peer.transitions += 1;
            peer.by = word.by;
        }
        Some(result)
    }

    /// Notes whether a member is reached over TCP alone. Says whether that is news.
    pub(crate) fn set_by_tcp(&mut self, hash: u64, by_tcp: bool) -> bool {
        let Some(peer) = self.peers.get_mut(&hash) else {
            return false;
        };
        std::mem::replace(&mut peer.by_tcp, by_tcp) != by_tcp
    }

    /// Notes that a run was heard.
    pub(crate) fn hear(&mut self, at: Time, node: NodeRef) {
        let peer = self.peers.get_mut(&node.hash);
        if let Some(peer) = peer.filter(|peer| peer.ident.node() == node) {
            peer.heard = Some(at);
        }
    }

    /// Names the accuser of a member that was suspect by hearsay until now.
    pub(crate) fn name_accuser(&mut self, hash: u64, by: u64) {
        let name = self.name_of(by);
        if let Some(peer) = self.peers.get_mut(&hash)
            && peer.state == State::Suspect
            && peer.by == 0
        {
            (peer.by, peer.change.by) = (by, name);
        }
    }

    /// Whether records may grow by so many bytes.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.bytes.saturating_add(bytes) <= RECORDS_BYTES_MAX
    }

    /// Takes all room for records.
    #[cfg(test)]
    pub(crate) fn fill_up(&mut self) {
        self.bytes = RECORDS_BYTES_MAX;
    }

    /// Marks a dead member as left. Says whether that is news.
    pub(crate) fn set_left(&mut self, now: Now, hash: u64, word: Word) -> bool {
        let change = self.change(now, word);
        let Some(peer) = self.peers.get_mut(&hash) else {
            return false;
        };
        if peer.left || peer.is_active() {
            return false;
        }
        (peer.left, peer.change, peer.by) = (true, change, word.by);
        peer.transitions += 1;
        true
    }

    /// Ages a dead member that others have known for longer, so that it is not
    /// kept for another full reap time, and an alive one's uptime.
    pub(crate) fn backdate(&mut self, now: Now, hash: u64, uptime: Duration, state_age: Duration) {
        if let Some(peer) = self.peers.get_mut(&hash) {
            peer.up_since = Moment::ago(now.at, uptime).min(peer.up_since);
            if !peer.is_active() {
                peer.state_since = Moment::ago(now.at, state_age).min(peer.state_since);
            }
        }
    }

    pub(crate) fn remove(&mut self, hash: u64) -> Option<(Peer, Option<MemberKey>)> {
        let peer = self.peers.remove(&hash)?;
        self.bytes -= peer.record.bytes();
        self.refresh_active(hash);
        let key = peer.shown.as_ref().map(|shown| shown.key());
        Some((*peer, key))
    }

    /// Drops what deleted keys left behind, everywhere.
    pub(crate) fn purge_records(&mut self, now: Time) {
        for peer in self.peers.values_mut() {
            self.bytes -= peer.record.purge(now);
        }
    }

    /// The member as surfaces shall see it, if that is not how they see it already;
    /// and the key under which they saw it before, if it moved.
    pub(crate) fn show(&mut self, hash: u64) -> Option<(Arc<Member>, Option<MemberKey>)> {
        let peer = self.peers.get_mut(&hash)?;
        let member = peer.render();
        if peer.shown.as_deref() == Some(&member) {
            return None;
        }
        let member = Arc::new(member);
        let old = peer.shown.replace(Arc::clone(&member));
        let moved = old.map(|old| old.key()).filter(|key| *key != member.key());
        if moved.is_some() {
            peer.record.tell_all_again();
        }
        Some((member, moved))
    }

    /// What a member that surfaces see publishes, as far as they were not told.
    pub(crate) fn take_published(&mut self, hash: u64) -> Option<(MemberKey, Published)> {
        let peer = self.peers.get_mut(&hash)?;
        let key = peer.shown.as_ref()?.key();
        let published = peer.record.take_published(&mut peer.told)?;
        Some((key, published))
    }

    /// Members as surfaces see them.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.peers.values().filter_map(|peer| peer.shown.as_ref())
    }

    fn change(&self, now: Now, word: Word) -> StatusChange {
        let by = (word.by != 0).then(|| self.name_of(word.by)).flatten();
        StatusChange {
            by,
            at_unix_ms: now.unix_ms,
            reason: word.reason,
        }
    }

    /// Keeps `active`, sorted, and `dead` in step with one member.
    fn refresh_active(&mut self, hash: u64) {
        let peer = self.peers.get(&hash);
        let node = peer.filter(|peer| peer.is_active()).map(|p| p.ident.node());
        if peer.is_some() && node.is_none() {
            self.dead.insert(hash);
        } else {
            self.dead.remove(&hash);
        }
        match (
            self.active.binary_search_by_key(&hash, |node| node.hash),
            node,
        ) {
            (Ok(at), Some(node)) => self.active[at] = node,
            (Ok(at), None) => drop(self.active.remove(at)),
            (Err(at), Some(node)) => self.active.insert(at, node),
            (Err(_), None) => {}
        }
    }
}

/// foca's order of updates about one identity (SWIM section 4.2).
fn outranks(update: &Update<Ident>, peer: &Peer) -> bool {
    let newer = update.incarnation() > peer.incarnation;
    match (peer.state, update.state()) {
        (State::Down, _) => false,
        (_, State::Down) => update.incarnation() >= peer.incarnation,
        (State::Alive, State::Alive) | (State::Suspect, _) => newer,
        (State::Alive, State::Suspect) => update.incarnation() >= peer.incarnation,
    }
}

impl crate::events::Peers for Table {
    fn live(&self) -> &[NodeRef] {
        &self.active
    }

    fn name_of(&self, hash: u64) -> Option<Arc<str>> {
        Table::name_of(self, hash)
    }
}
