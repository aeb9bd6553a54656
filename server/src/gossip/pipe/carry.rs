//! Datagrams over TCP, to members that UDP does not reach: a pipe for each of them,
//! opened by the first datagram and closed when none came for a while. What datagrams
//! may suffer, these may: nobody waits for one, and some are dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::frame::{FrameError, FrameKind, Frames};
use super::handshake::Prefer;
use super::message::{Open, Reason};
use super::outgoing::{self, Context, DialError};
use super::stream::SealedStream;
use super::{CARRIER_QUEUE_MAX, CARRIERS_MAX, IDLE_CLOSE, KEY_REMOVED};
use crate::daemon::supervisor::Tasks;
use crate::gossip::metrics::Gauge;

/// Pause after a pipe could not be opened. What comes meanwhile waits in the queue.
const OPEN_AGAIN: Duration = Duration::from_millis(250);

type Pipe = Frames<SealedStream<TcpStream>>;

/// Hands datagrams to pipes; owned by the engine's task and never waits.
#[derive(Debug)]
pub(crate) struct Carriers {
    carriers: BTreeMap<SocketAddr, Entry>,
    /// Grows with each use: tells which pipe was used least recently.
    uses: u64,
    context: Context,
    tasks: Tasks,
}

#[derive(Debug)]
struct Entry {
    datagrams: mpsc::Sender<Bytes>,
    used: u64,
}

impl Carriers {
    /// Without pipes; each gets a task on the current runtime.
    pub(crate) fn new(context: Context, tasks: Tasks) -> Self {
        Self {
            carriers: BTreeMap::new(),
            uses: 0,
            context,
            tasks,
        }
    }

    /// Puts a datagram into the queue to a peer, or drops and counts it.
    pub(crate) fn send(&mut self, to: SocketAddr, datagram: Bytes) {
        self.uses += 1;
        let ended = |entry: &&mut Entry| entry.datagrams.is_closed();
        if self.carriers.get_mut(&to).as_ref().is_none_or(ended) {
            self.carriers.remove(&to);
            self.make_room();
            self.open(to);
        }
        let Some(entry) = self.carriers.get_mut(&to) else {
            return;
        };
        entry.used = self.uses;
        let counters = &self.context.counters;
        match entry.datagrams.try_send(datagram) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => counters.datagrams_dropped_carry_full.add(1),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                counters.datagrams_dropped_carry_broken.add(1);
            }
        }
    }

    fn make_room(&mut self) {
        if self.carriers.len() < CARRIERS_MAX {
            return;
        }
        self.carriers
            .retain(|_, entry| !entry.datagrams.is_closed());
        if self.carriers.len() >= CARRIERS_MAX {
            let oldest = self.carriers.iter().min_by_key(|(_, entry)| entry.used);
            let oldest = oldest.map(|(to, _)| *to);
            // Its task ends once the queue is empty, as nobody can fill it any more.
            oldest.and_then(|to| self.carriers.remove(&to));
        }
    }

    fn open(&mut self, to: SocketAddr) {
        let (datagrams, queue) = mpsc::channel(CARRIER_QUEUE_MAX);
        let carrier = Carrier {
            to,
            queue,
            context: self.context.clone(),
        };
        self.tasks.spawn_guarded("datagrams to peer", carrier.run());
        let used = self.uses;
        self.carriers.insert(to, Entry { datagrams, used });
    }
}

/// The task of one pipe.
struct Carrier {
    to: SocketAddr,
    queue: mpsc::Receiver<Bytes>,
    context: Context,
}

enum Next {
    Datagram(Bytes),
    /// The peer closed, or broke the rules.
    Dead,
    /// The key of the pipe was removed.
    Revoked,
    /// There was nothing to send for a while, or nobody is left to send anything.
    Unused,
}

impl Carrier {
    async fn run(mut self) {
        let counters = std::sync::Arc::clone(&self.context.counters);
        let _gauge = Gauge::up(&counters, |c| &c.pipes_outgoing);
        let mut pipe = None;
        loop {
            match self.next(&mut pipe).await {
                Next::Datagram(datagram) if self.send(&mut pipe, &datagram).await => {
                    counters.datagrams_carried_sent.add(1);
                }
                Next::Datagram(_) => {
                    counters.datagrams_dropped_carry_broken.add(1);
                    self.drop_waiting();
                    sleep(OPEN_AGAIN).await;
                }
                Next::Dead => pipe = None,
                Next::Revoked => {
                    counters.pipes_closed_key_removed.add(1);
                    if let Some(pipe) = pipe.take() {
                        pipe.close(Reason::KeyRemoved, KEY_REMOVED).await;
                    }
                }
                Next::Unused => break,
            }
        }
        self.queue.close();
        self.drop_waiting();
        if let Some(pipe) = pipe {
            pipe.close(Reason::Done, "no longer needed").await;
        }
    }

    fn drop_waiting(&mut self) {
        while self.queue.try_recv().is_ok() {
            self.context.counters.datagrams_dropped_carry_broken.add(1);
        }
    }

    async fn next(&mut self, pipe: &mut Option<Pipe>) -> Next {
        let Some(pipe) = pipe else {
            return self.queue.recv().await.map_or(Next::Unused, Next::Datagram);
        };
        let revoked = self.context.identity.revoked(pipe.io().key());
        tokio::select! {
            biased;
            () = revoked => Next::Revoked,
            // Nothing is ever sent here: a goodbye, or the end.
            _ = pipe.head() => Next::Dead,
            datagram = self.queue.recv() => datagram.map_or(Next::Unused, Next::Datagram),
            () = sleep(IDLE_CLOSE) => Next::Unused,
        }
    }

    /// Sends one; on a kept pipe that died meanwhile it is tried once more.
    async fn send(&self, pipe: &mut Option<Pipe>, datagram: &[u8]) -> bool {
        if let Some(kept) = pipe {
            if kept.write(FrameKind::Body, datagram).await.is_ok() {
                return true;
            }
            *pipe = None;
        }
        let opened = match self.open().await {
            Ok(opened) => pipe.insert(opened),
            Err(error) => {
                tracing::debug!(to = %self.to, error, "no pipe for datagrams");
                return false;
            }
        };
        let sent = opened.write(FrameKind::Body, datagram).await.is_ok();
        if !sent {
            *pipe = None;
        }
        sent
    }

    async fn open(&self) -> Result<Pipe, String> {
        let counters = &self.context.counters;
        let dialled = outgoing::dial(self.to, &self.context.identity, Prefer::Stage).await;
        let stream = dialled.map_err(|error| match error {
            DialError::Connect(error) => {
                counters.pipes_failed_connect.add(1);
                error.to_string()
            }
            DialError::Handshake(error) => {
                counters.pipes_failed_handshake.add(1);
                error.to_string()
            }
        })?;
        let mut pipe = Frames::new(stream);
        let open = Open::datagrams().encode_to_vec();
        let opened = pipe.write(FrameKind::Open, &open).await;
        opened.map_err(|error: FrameError| error.to_string())?;
        counters.pipes_opened.add(1);
        Ok(pipe)
    }
}

#[cfg(test)]
mod tests;
