//! What is simulated: the public face of an engine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use muster_engine::crypto::Keyring;
use muster_engine::{
    Accepted, Config, Engine, EngineError, EventDraft, EventError, Input, Member, Now, Output,
    OwnUpdate, Snapshot, Time,
};

/// The engine as the simulator drives it. A trait, so that the simulator's own
/// parts can be tested on something simpler.
pub trait Machine: Sized {
    /// [`Engine::new`].
    fn start(config: Config, seed: u64, now: Now) -> Self;
    /// [`Engine::handle`].
    fn handle(&mut self, now: Now, input: Input);
    /// [`Engine::poll_output`].
    fn poll_output(&mut self) -> Option<Output>;
    /// [`Engine::next_deadline`].
    fn next_deadline(&self) -> Time;
    /// [`Engine::join`].
    fn join(&mut self, now: Now, attempt: u64, addrs: &[SocketAddr]);
    /// [`Engine::leave`].
    fn leave(&mut self, now: Now);
    /// [`Engine::force_leave`].
    ///
    /// # Errors
    /// The engine's.
    fn force_leave(&mut self, now: Now, name: &str, prune: bool) -> Result<(), EngineError>;
    /// [`Engine::update_tags`].
    ///
    /// # Errors
    /// The engine's.
    fn update_tags(
        &mut self,
        now: Now,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), EngineError>;
    /// [`Engine::update_own`], of what has one.
    ///
    /// # Errors
    /// The engine's.
    fn update_own(&mut self, _now: Now, _update: OwnUpdate) -> Result<(), EngineError> {
        Ok(())
    }
    /// [`Engine::set_keyring`].
    fn set_keyring(&mut self, now: Now, keyring: Option<Keyring>);
    /// [`Engine::send_event`].
    ///
    /// # Errors
    /// The engine's.
    fn send_event(&mut self, now: Now, draft: EventDraft) -> Result<Accepted, EventError>;
    /// [`Engine::me`].
    fn me(&self) -> Arc<Member>;
    /// [`Engine::counters`].
    fn counters(&self) -> Vec<(&'static str, u64)>;
    /// [`Engine::protocol`], of what has one.
    fn protocol(&self) -> Option<u32> {
        None
    }
    /// [`Engine::snapshot`], of what has one.
    fn snapshot(&self, _now: Now) -> Option<Snapshot> {
        None
    }
    /// [`Engine::restore`].
    fn restore(&mut self, _now: Now, _snapshot: &Snapshot) {}
}

impl Machine for Engine {
    fn start(config: Config, seed: u64, now: Now) -> Self {
        Self::new(config, seed, now)
    }

    fn handle(&mut self, now: Now, input: Input) {
        self.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }

    fn next_deadline(&self) -> Time {
        self.next_deadline()
    }

    fn join(&mut self, now: Now, attempt: u64, addrs: &[SocketAddr]) {
        self.join(now, attempt, addrs);
    }

    fn leave(&mut self, now: Now) {
        self.leave(now);
    }

    fn force_leave(&mut self, now: Now, name: &str, prune: bool) -> Result<(), EngineError> {
        self.force_leave(now, name, prune)
    }

    fn update_tags(
        &mut self,
        now: Now,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), EngineError> {
        self.update_tags(now, set, remove)
    }

    fn update_own(&mut self, now: Now, update: OwnUpdate) -> Result<(), EngineError> {
        self.update_own(now, update)
    }

    fn set_keyring(&mut self, now: Now, keyring: Option<Keyring>) {
        self.set_keyring(now, keyring);
    }

    fn send_event(&mut self, now: Now, draft: EventDraft) -> Result<Accepted, EventError> {
        self.send_event(now, draft)
    }

    fn me(&self) -> Arc<Member> {
        self.me()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters()
    }

    fn protocol(&self) -> Option<u32> {
        Some(self.protocol())
    }

    fn snapshot(&self, now: Now) -> Option<Snapshot> {
        Some(self.snapshot(now))
    }

    fn restore(&mut self, now: Now, snapshot: &Snapshot) {
        self.restore(now, snapshot);
    }
}
