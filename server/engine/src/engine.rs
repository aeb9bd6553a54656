//! The engine itself.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::api::{Config, EngineError, Input, Output};
use crate::event::{Accepted, EventDraft, EventError};
use crate::member::{Member, MemberKey, Status, StatusChange, StatusReason};
use crate::time::{Now, Time};

/// One node of a cluster, without its clock and its sockets.
#[derive(Debug)]
pub struct Engine {
    me: Arc<Member>,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// A node that knows nobody yet. `seed` decides every random choice.
    #[must_use]
    pub fn new(config: Config, _seed: u64, now: Now) -> Self {
        let me = Arc::new(Member {
            name: Arc::from(config.name),
            alias: None,
            boot: config.boot,
            instance: 0,
            incarnation: 0,
            addr: config.advertise,
            status: Status::Alive,
            change: StatusChange {
                by: None,
                at_unix_ms: now.unix_ms,
                reason: StatusReason::Joined,
            },
            transitions: 0,
            started_unix_ms: now.unix_ms,
            tags: config.tags,
            roles: config.roles,
            version: config.version,
            protocol: (1, 1),
            plaintext: config.keyring.is_none(),
            is_self: true,
        });
        let outputs = VecDeque::from([Output::MemberUpdated(Arc::clone(&me))]);
        Self { me, outputs }
    }

    /// Takes in one input. Drain [`Engine::poll_output`] afterwards.
    pub fn handle(&mut self, _now: Now, _input: Input) {}

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        Time::from_micros(u64::MAX)
    }

    /// Contacts addresses once; one [`Output::JoinResult`] comes for each.
    pub fn join(&mut self, _now: Now, _attempt: u64, _addrs: &[SocketAddr]) {}

    /// Leaves the cluster; [`Output::LeaveDone`] comes within 1.5 s.
    pub fn leave(&mut self, _now: Now) {}

    /// Turns a failed member into a left one; `prune` forgets it at once.
    ///
    /// # Errors
    /// Unknown or live members are refused.
    pub fn force_leave(&mut self, _now: Now, name: &str, _prune: bool) -> Result<(), EngineError> {
        Err(EngineError::UnknownMember(name.to_owned()))
    }

    /// Sets and removes tags of this node.
    ///
    /// # Errors
    /// Bad or too many tags.
    pub fn update_tags(
        &mut self,
        _now: Now,
        _set: BTreeMap<String, String>,
        _remove: &[String],
    ) -> Result<(), EngineError> {
        Ok(())
    }

    /// Sends an event from this node.
    ///
    /// # Errors
    /// Bad drafts, a leaving node, or [`EventError::Full`] while the window is full.
    pub fn send_event(&mut self, _now: Now, _draft: EventDraft) -> Result<Accepted, EventError> {
        Err(EventError::Full)
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> Arc<Member> {
        Arc::clone(&self.me)
    }

    /// Every member, this node included, by key.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        let _: Option<MemberKey> = None;
        std::iter::once(&self.me)
    }

    /// Every counter and gauge, sorted by name.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Whether peers are talked to under a key.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        !self.me.plaintext
    }

    /// What an operator should look at.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
