//! The task that owns the engine: waits for one thing, then takes in a bounded
//! batch of everything that is there, so that no source starves another.

mod core;
mod joins;
mod net;
mod notes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{ExchangeError, ExchangeId, ExchangeKind, WatchEvent, WatchId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::core::{Core, Parts};
use super::clock::Clock;
use super::handle::{Command, EventCommand};
use super::metrics::Counters;
use super::resolve::Resolved;
use crate::daemon::supervisor::Heartbeat;
pub(crate) use net::Sockets as Network;

/// Datagrams, arrivals, commands and events taken in per turn, each.
const BATCH_MAX: usize = 64;

/// Things that pipes and resolvers hand to the engine. At the bound they wait.
pub(crate) const ARRIVALS_MAX: usize = 256;

/// The loop turns at least this often: the watchdog looks at its heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// Open pipes get this long to say goodbye when the node stops.
const STOP_DEADLINE: Duration = Duration::from_millis(250);

/// What other tasks of the driver hand to the engine.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A peer asks.
    Request {
        from: SocketAddr,
        kind: ExchangeKind,
        body: Bytes,
        reply: oneshot::Sender<Option<Bytes>>,
    },
    /// A peer answered, or not.
    Response {
        slot: u64,
        id: ExchangeId,
        result: Result<Bytes, ExchangeError>,
    },
    /// A pipe to a peer has ended.
    SlotClosed { slot: u64 },
    /// Something happened to a watch stream of this node.
    Watch { id: WatchId, event: WatchEvent },
    /// A datagram came over TCP.
    Carried(Bytes),
    /// What the seeds resolve to.
    Seeds(Vec<SocketAddr>),
    /// What the addresses of a join call resolve to.
    Join { call: u64, resolved: Vec<Resolved> },
}

/// The sources of the loop.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Receiver<EventCommand>,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) stop: CancellationToken,
}

/// The loop.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) core: Core<Network>,
    pub(crate) sources: Sources,
    pub(crate) clock: Clock,
    pub(crate) heart: Heartbeat,
    pub(crate) counters: Arc<Counters>,
}

/// What ended the wait.
enum Wake {
    Stop,
    Command(Command),
    Arrival(Arrival),
    Event(EventCommand),
    /// Datagrams or a timer: found out by looking.
    Look,
}

impl Task {
    /// Runs until the daemon stops.
    ///
    /// # Errors
    /// The datagram socket broke.
    pub(crate) async fn run(mut self: Box<Self>) -> anyhow::Result<()> {
        self.core.net().udp.writable().await?;
        self.core.begin(self.clock.now());
        loop {
            let wake = self.wait().await?;
            if matches!(wake, Wake::Stop) {
                break;
            }
            if self.turn(wake)? {
                // There is more, but the pipes' tasks get their turn first.
                yield_now().await;
            }
        }
        self.core.end(self.clock.now());
        self.finish().await;
        Ok(())
    }

    async fn wait(&mut self) -> anyhow::Result<Wake> {
        let timer = self.timer();
        let room = self.core.takes_events();
        let sources = &mut self.sources;
        Ok(tokio::select! {
            biased;
            () = sources.stop.cancelled() => Wake::Stop,
            Some(command) = sources.commands.recv() => Wake::Command(command),
            () = sleep_until(timer) => Wake::Look,
            ready = self.core.net().udp.readable() => ready.map(|()| Wake::Look)?,
            Some(arrival) = sources.arrivals.recv() => Wake::Arrival(arrival),
            Some(event) = sources.events.recv(), if room => Wake::Event(event),
        })
    }

    fn timer(&self) -> Instant {
        let now = self.clock.now().at;
        let due = self.core.next_deadline().min(now + HEARTBEAT);
        self.clock.coarse_timer(now, due)
    }

    /// Takes in what is there, a bounded batch of each source; true if there may
    /// be more.
    fn turn(&mut self, wake: Wake) -> anyhow::Result<bool> {
        let began = self.clock.now().at;
        match wake {
            Wake::Command(command) => self.core.command(self.clock.now(), command),
            Wake::Arrival(arrival) => self.core.arrival(self.clock.now(), arrival),
            Wake::Event(event) => self.core.event(self.clock.now(), event),
            Wake::Look | Wake::Stop => {}
        }
        let more = [
            self.take_commands(),
            self.core.tick(self.clock.now()),
            self.take_datagrams()?,
            self.take_arrivals(),
            self.take_events(),
        ];
        self.core.flush();
        self.heart.beat();
        let took = self.clock.now().at.since(began);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counters.loop_turn_us_max.raise_to(micros);
        Ok(more.contains(&true))
    }

    fn take_commands(&mut self) -> bool {
        for _ in 0..BATCH_MAX {
            let Ok(command) = self.sources.commands.try_recv() else {
                return false;
            };
            self.core.command(self.clock.now(), command);
        }
        true
    }

    fn take_datagrams(&mut self) -> anyhow::Result<bool> {
        for _ in 0..BATCH_MAX {
            let Some((from, datagram)) = self.core.net_mut().udp.receive()? else {
                return Ok(false);
            };
            let bytes = Bytes::copy_from_slice(datagram);
            self.core.datagram(self.clock.now(), from, bytes);
        }
        Ok(true)
    }

    fn take_arrivals(&mut self) -> bool {
        for _ in 0..BATCH_MAX {
            let Ok(arrival) = self.sources.arrivals.try_recv() else {
                return false;
            };
            self.core.arrival(self.clock.now(), arrival);
        }
        true
    }

    fn take_events(&mut self) -> bool {
        for _ in 0..BATCH_MAX {
            if !self.core.takes_events() {
                return false;
            }
            let Ok(event) = self.sources.events.try_recv() else {
                return false;
            };
            self.core.event(self.clock.now(), event);
        }
        true
    }

    /// Lets the pipes say goodbye: they end when they see the stop token, or that
    /// nobody asks any more, and the last one closes the channel of arrivals.
    async fn finish(self: Box<Self>) {
        let Self {
            core, mut sources, ..
        } = *self;
        drop(core);
        let all = timeout(STOP_DEADLINE, async {
            while sources.arrivals.recv().await.is_some() {}
        });
        if all.await.is_err() {
            tracing::debug!("some pipes were cut at the stop");
        }
    }
}
