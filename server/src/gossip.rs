//! The driver of the engine: its thread, its sockets, its pipes.
//!
//! One thread with a runtime of its own owns the engine, UDP and TCP of a node.
//! Nothing on it waits for files, names or other threads.

mod clock;
pub mod coordinates;
pub mod handle;
pub mod mdns;
mod metrics;
mod pipe;
pub mod resolve;
pub mod sink;
mod sockets;
mod task;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use muster_engine::{Engine, Snapshot};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Mutex, mpsc, oneshot};

use self::clock::Clock;
use self::handle::HandleEnds;
use self::metrics::Counters;
use self::pipe::carry::Carriers;
use self::pipe::handshake::Identity;
use self::pipe::incoming::Server;
use self::pipe::outgoing::Context;
use self::pipe::pool::Pool;
pub use self::pipe::rpc;
use self::pipe::rpc::{ARRIVED_MAX, Arrived, Dialer, Pipes};
use self::pipe::watch::Watches;
use self::resolve::Seeds;
use self::sockets::Sockets;
use self::task::{ARRIVALS_MAX, Core, Network, Parts, Sources, Task};
use self::udp::Udp;
use crate::daemon::supervisor::{Heartbeat, Tasks};
pub use coordinates::{Coordinates, Places};
pub use handle::{Changes, CommandError, Handle, JoinOutcome, Replicated, Report, TagKeeper};
pub use sink::{EventUpdate, MemberUpdate, Sink};

/// Threads for files and the C library's resolver; further calls wait.
const BLOCKING_THREADS_MAX: usize = 4;

/// What the driver needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where UDP and TCP listen; port 0 takes any that is free for both.
    pub bind: SocketAddr,
    /// Peers to join, as [`resolve::Seed`] reads them.
    pub seeds: Vec<String>,
    /// For the engine. Port 0 in `advertise` becomes the bound port.
    pub engine: muster_engine::Config,
    /// What the run before kept.
    pub restore: Option<Snapshot>,
    /// Addresses found by other means: seeds as well.
    pub found: Option<mdns::Found>,
}

/// A running driver.
#[derive(Debug)]
pub struct Driver {
    local_addr: SocketAddr,
    advertise: SocketAddr,
    rpc: Option<Pipes>,
    thread: JoinHandle<()>,
}

impl Driver {
    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Address that peers use, with the real port.
    #[must_use]
    pub fn advertise(&self) -> SocketAddr {
        self.advertise
    }

    /// The pipes that carry gRPC between peers, once. While nobody took them, those of
    /// peers wait.
    pub fn take_rpc(&mut self) -> Option<Pipes> {
        self.rpc.take()
    }

    /// Waits for the end of the thread. It ends after the stop token of the tasks.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the gossip thread panicked");
        }
    }
}

/// Binds the sockets and starts the thread. Updates go to `sink`, from that thread,
/// whose loop beats `heart` at least once a second.
///
/// # Errors
/// A port in use, a bad seed, no thread: each names what and where.
pub fn start(
    mut config: Config,
    sink: Arc<dyn Sink>,
    tasks: &Tasks,
    heart: Heartbeat,
) -> anyhow::Result<(Handle, Driver)> {
    let counters = Arc::new(Counters::default());
    let seeds = Seeds::new(config.seeds, Arc::clone(&counters))?.and_found(config.found);
    let sockets = Sockets::bind(config.bind)?;
    let local_addr = sockets.addr;
    if config.engine.advertise.port() == 0 {
        config.engine.advertise.set_port(local_addr.port());
    }
    let advertise = config.engine.advertise;
    let (handle, ends) = Handle::new();
    let identity = Arc::new(Identity::new(
        config.engine.cluster.clone(),
        config.engine.keyring.clone(),
    ));
    let (rpc, arrivals) = mpsc::channel(ARRIVED_MAX);
    let dialer = Dialer::new(Arc::clone(&identity), Arc::clone(&counters));
    let setup = Setup {
        identity,
        rpc,
        engine: config.engine,
        restore: config.restore,
        seeds,
        sockets,
        ends,
        sink,
        counters,
        heart,
        tasks: tasks.clone(),
    };
    let (started, starting) = sync_mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("gossip".to_owned())
        .spawn(move || setup.run(&started))
        .context("cannot start the gossip thread")?;
    starting
        .recv()
        .context("the gossip thread ended at once")?
        .context("cannot start gossip")?;
    tracing::debug!(%local_addr, %advertise, "gossip runs");
    let driver = Driver {
        local_addr,
        advertise,
        rpc: Some(Pipes { dialer, arrivals }),
        thread,
    };
    Ok((handle, driver))
}

/// Everything that moves to the thread.
struct Setup {
    engine: muster_engine::Config,
    identity: Arc<Identity>,
    rpc: mpsc::Sender<Arrived>,
    restore: Option<Snapshot>,
    seeds: Seeds,
    sockets: Sockets,
    ends: HandleEnds,
    sink: Arc<dyn Sink>,
    counters: Arc<Counters>,
    heart: Heartbeat,
    tasks: Tasks,
}

impl Setup {
    /// The thread: says how the start went, then runs to the end of the task.
    fn run(self, started: &sync_mpsc::SyncSender<anyhow::Result<()>>) {
        let tell = |result| {
            if started.send(result).is_err() {
                tracing::debug!("nobody waits for the start of gossip");
            }
        };
        let clock = Clock::start();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build();
        let runtime = match runtime.context("cannot start a runtime") {
            Ok(runtime) => runtime,
            Err(error) => return tell(Err(error)),
        };
        runtime.block_on(async {
            let tasks = self.tasks.clone();
            match self.build(clock) {
                Ok(task) => {
                    let (ended, end) = oneshot::channel::<()>();
                    tasks.spawn("gossip", async move {
                        let _ended = ended;
                        task.run().await
                    });
                    tell(Ok(()));
                    // Closed, never sent to: the task has ended, however it did.
                    let _closed = end.await.is_err();
                }
                Err(error) => tell(Err(error)),
            }
        });
        // A name that is being looked up does not hold up the end.
        runtime.shutdown_background();
    }

    /// Boxed, as it is large: what is moved leaves its size in touched stack behind.
    fn build(self, clock: Clock) -> anyhow::Result<Box<Task>> {
        let udp = UdpSocket::from_std(self.sockets.udp).context("cannot use the UDP socket")?;
        let tcp = TcpListener::from_std(self.sockets.tcp).context("cannot use the TCP socket")?;
        let (tasks, counters) = (self.tasks, self.counters);
        let (arrivals, arrivals_end) = mpsc::channel(ARRIVALS_MAX);
        let identity = self.identity;
        let server = Server::new(
            Arc::clone(&identity),
            arrivals.clone(),
            self.rpc,
            Arc::clone(&counters),
            tasks.stop_token(),
        );
        let context = Context {
            identity,
            arrivals: arrivals.clone(),
            counters: Arc::clone(&counters),
        };
        let net = Network {
            udp: Udp::new(udp, Arc::clone(&counters)).context("cannot use the UDP socket")?,
            pool: Pool::new(context.clone(), tasks.clone()),
            carriers: Carriers::new(context.clone(), tasks.clone()),
            watches: Watches::new(context, tasks.clone()),
            seeds: Arc::new(Mutex::new(self.seeds)),
            arrivals,
            counters: Arc::clone(&counters),
            tasks: tasks.clone(),
        };
        let mut engine = Engine::new(self.engine, rand::random(), clock.now());
        if let Some(snapshot) = &self.restore {
            engine.restore(clock.now(), snapshot);
        }
        let core = Core::new(Parts {
            engine,
            net,
            sink: self.sink,
            clock,
            counters: Arc::clone(&counters),
            replicated: self.ends.replicated,
            coordinates: self.ends.coordinates,
            changes: self.ends.changes,
            unknown_keys: self.ends.unknown_keys,
        });
        let sources = Sources {
            commands: self.ends.commands,
            events: self.ends.events,
            arrivals: arrivals_end,
            stop: tasks.stop_token(),
        };
        tasks.spawn("accept peers", server.run(tcp, tasks.clone()));
        Ok(Box::new(Task {
            core,
            sources,
            clock,
            heart: self.heart,
            counters,
        }))
    }
}

#[cfg(test)]
mod tests;
