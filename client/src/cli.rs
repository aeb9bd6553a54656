//! The command line `muster`.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not found or empty,
//! 4 no daemon reachable, 5 deadline passed. Answers go to standard output, all else
//! to standard error.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::{Client, SocketPath};

mod args;
mod batch;
mod completions;
mod containers;
mod demo;
mod event;
mod explain;
mod failure;
mod health;
mod info;
mod init;
mod json;
mod keygen;
mod keys;
mod me;
mod members;
mod monitor;
mod node;
mod out;
mod proto;
mod query;
mod roles;
mod rtt;
mod run_node;
mod screen;
mod serf;
mod serve_query;
mod table;
mod text;
mod token;
mod wait;
mod watch_containers;
mod watch_events;
mod watch_members;
mod watch_role;
mod watch_view;

use args::{Cli, Command, Watch};
use failure::Failure;
use out::Out;

/// How long a call may take when `--timeout` is not given.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for commands that wait for other members: joins and replicated events.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a command gets.
struct Context {
    socket: Option<String>,
    timeout: Option<Duration>,
    out: Out,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs one command line, the program's name first. Prints to the process' own
/// standard output and error.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(me::called(args)) {
        Ok(cli) => cli,
        Err(error) => {
            // Nowhere left to report a failure to print.
            let _unprintable = error.print();
            return ExitCode::from(if error.use_stderr() {
                failure::USAGE
            } else {
                failure::OK
            });
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    let mut context = Context {
        socket: cli.socket,
        timeout: cli.timeout,
        out: Out::stdout(cli.format),
    };
    let result = runtime.block_on(context.run(cli.command));
    // A read of standard input that nobody needs any more must not hold the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::from(failure::OK),
        Err(failure) => failure.report(),
    }
}

impl Context {
    async fn run(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Demo(args) => demo::run(self, args).await,
            Command::Keygen(args) => keygen::run(self, &args),
            Command::Token(args) => token::run(self, &args),
            Command::Members(args) => members::run(self, &args).await,
            Command::Watch(Watch::Members(args)) => watch_members::run(self, &args).await,
            Command::Containers(args) => containers::run(self, &args).await,
            Command::Inspect(args) => containers::inspect(self, &args).await,
            Command::Watch(Watch::Containers(args)) => watch_containers::run(self, &args).await,
            Command::Watch(Watch::Events(args)) => watch_events::run(self, args).await,
            Command::Watch(Watch::Role(args)) => watch_role::run(self, args).await,
            Command::Event(args) => event::run(self, args).await,
            Command::Query(args) => query::run(self, args).await,
            Command::ServeQuery(args) => serve_query::run(self, args).await,
            Command::Reachability(args) => query::reachability(self, args).await,
            Command::Resolve(args) => roles::resolve(self, args).await,
            Command::Roles => roles::list(self).await,
            Command::Rtt(args) => rtt::run(self, &args).await,
            Command::Explain(args) => explain::run(self, &args).await,
            Command::Join(args) => node::join(self, args).await,
            Command::Leave(args) => node::leave(self, &args).await,
            Command::ForceLeave(args) => node::force_leave(self, &args).await,
            Command::Tags(args) => node::tags(self, args).await,
            Command::LogLevel(args) => node::log_level(self, &args).await,
            Command::Keys(command) => keys::run(self, command).await,
            Command::Info(args) => info::run(self, &args).await,
            Command::Me => me::run(self).await,
            Command::Monitor(args) => monitor::run(self, &args).await,
            Command::Reload => node::reload(self).await,
            Command::Wait(args) => wait::run(self, &args).await,
            Command::Health => health::run(self).await,
            Command::Version => info::version(self).await,
            Command::Run(args) => run_node::run(self, &args),
            Command::Init(args) => init::run(self, &args),
            Command::Proto(args) => proto::run(self, &args),
            Command::Serf(args) => serf::run(self, &args).await,
            Command::Completions(args) => completions::run(self, &args),
        }
    }

    /// The client of the daemon that was named, or found.
    fn client(&self) -> Result<Client, Failure> {
        let socket = match &self.socket {
            Some(text) => SocketPath::parse(text),
            None => SocketPath::discover(),
        };
        Ok(Client::connect(&socket.map_err(crate::Error::from)?))
    }

    /// Runs a call under the deadline of the command line, else under `usual`.
    async fn deadline<T>(
        &self,
        usual: Duration,
        call: impl Future<Output = Result<T, crate::Error>>,
    ) -> Result<T, Failure> {
        let limit = self.timeout.unwrap_or(usual);
        match tokio::time::timeout(limit, call).await {
            Ok(result) => Ok(result?),
            Err(_elapsed) => Err(Failure::deadline(limit)),
        }
    }
}

/// Runs a watch, at most for the time of the command line.
async fn until(
    limit: Option<Duration>,
    watch: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    match limit {
        None => watch.await,
        Some(limit) => match tokio::time::timeout(limit, watch).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Failure {
                code: failure::DEADLINE,
                text: format!("stopped after {limit:?}"),
            }),
        },
    }
}

/// As [`until`], and ended by a signal as if it had come to its end: nobody can stop
/// a watch in another way.
async fn until_stopped(
    limit: Option<Duration>,
    watch: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut stop = stop_signal()?;
    tokio::select! {
        ended = until(limit, watch) => ended,
        () = stop.recv() => Ok(()),
    }
}

/// A sentence to whoever looks, beside the answer.
fn note(text: &str) {
    use std::io::Write as _;
    // Nowhere left to report a failure to print.
    let _unprintable = writeln!(std::io::stderr(), "muster: {}", text::escape(text));
}

/// Ctrl-C, SIGTERM and a closed terminal, so that a live view can end in order.
struct StopSignal {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

fn stop_signal() -> Result<StopSignal, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok(StopSignal {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hangup: signal(SignalKind::hangup())?,
    })
}

impl StopSignal {
    /// Cancel-safe.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
