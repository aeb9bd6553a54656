//! What the core does to the world.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use muster_engine::crypto::Keyring;
use muster_engine::{ExchangeError, ExchangeKind, WatchId};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::Arrival;
use crate::daemon::supervisor::Tasks;
use crate::gossip::metrics::Counters;
use crate::gossip::pipe::carry::Carriers;
use crate::gossip::pipe::outgoing::Job;
use crate::gossip::pipe::pool::Pool;
use crate::gossip::pipe::watch::Watches;
use crate::gossip::resolve::{self, Seeds};
use crate::gossip::udp::Udp;

/// Everything that the core asks for; nothing here waits.
pub(crate) trait Net {
    /// Sends a datagram or drops it.
    fn transmit(&mut self, to: SocketAddr, datagram: &[u8]);
    /// Sends a datagram over TCP or drops it.
    fn carry(&mut self, to: SocketAddr, datagram: Bytes);
    /// Sends an exchange; one [`Arrival::Response`] comes unless it is refused.
    fn exchange(
        &mut self,
        to: SocketAddr,
        kind: ExchangeKind,
        job: Job,
    ) -> Result<(), ExchangeError>;
    /// The exchange of a slot is over.
    fn freed(&mut self, slot: u64);
    /// The pipe of a slot has ended.
    fn closed(&mut self, slot: u64);
    /// Opens a watch stream; [`Arrival::Watch`] tells of it.
    fn watch(&mut self, id: WatchId, to: SocketAddr, hello: Bytes, deadline: Instant);
    /// Closes one, if it still is there.
    fn unwatch(&mut self, id: WatchId);
    /// Goes on with other keys.
    fn set_keyring(&mut self, keyring: Option<Keyring>);
    /// Brings one [`Arrival::Seeds`].
    fn resolve_seeds(&mut self);
    /// Brings one [`Arrival::Join`].
    fn resolve_join(&mut self, call: u64, addresses: Vec<String>);
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: Udp,
    pub(crate) pool: Pool,
    pub(crate) carriers: Carriers,
    pub(crate) watches: Watches,
    /// Locked by the one task that resolves; further requests wait there.
    pub(crate) seeds: Arc<Mutex<Seeds>>,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tasks: Tasks,
}

impl Net for Sockets {
    fn transmit(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.udp.send(to, datagram);
    }

    fn carry(&mut self, to: SocketAddr, datagram: Bytes) {
        self.carriers.send(to, datagram);
    }

    fn exchange(
        &mut self,
        to: SocketAddr,
        kind: ExchangeKind,
        job: Job,
    ) -> Result<(), ExchangeError> {
        self.pool.send(to, kind, job)
    }

    fn freed(&mut self, slot: u64) {
        self.pool.freed(slot);
    }

    fn closed(&mut self, slot: u64) {
        self.pool.closed(slot);
    }

    fn watch(&mut self, id: WatchId, to: SocketAddr, hello: Bytes, deadline: Instant) {
        self.watches.open(id, to, hello, deadline);
    }

    fn unwatch(&mut self, id: WatchId) {
        self.watches.close(id);
    }

    fn set_keyring(&mut self, keyring: Option<Keyring>) {
        self.pool.set_keyring(keyring);
    }

    fn resolve_seeds(&mut self) {
        let (seeds, arrivals) = (Arc::clone(&self.seeds), self.arrivals.clone());
        self.tasks.spawn_guarded("resolve seeds", async move {
            let addrs = seeds.lock().await.resolve().await;
            hand_over(&arrivals, Arrival::Seeds(addrs)).await;
        });
    }

    fn resolve_join(&mut self, call: u64, addresses: Vec<String>) {
        let (counters, arrivals) = (Arc::clone(&self.counters), self.arrivals.clone());
        self.tasks.spawn_guarded("resolve join", async move {
            let resolved = resolve::resolve(addresses, &counters).await;
            hand_over(&arrivals, Arrival::Join { call, resolved }).await;
        });
    }
}

async fn hand_over(arrivals: &mpsc::Sender<Arrival>, arrival: Arrival) {
    if arrivals.send(arrival).await.is_err() {
        tracing::trace!("the engine stopped while names were resolved");
    }
}
