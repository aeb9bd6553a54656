//! The program `musterd`: settings, log, runtime, daemon, exit code.

mod serf;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::config::{self, Config, Inputs, Problem, Problems, Request, ThisMachine};
use crate::daemon::reload::Reread;
use crate::daemon::{self, Setup};
use crate::telemetry;
use serf::Called;

/// Exit code of a configuration that cannot work (`EX_CONFIG` of sysexits).
const EXIT_CONFIG: u8 = 78;

/// How long work on the disk may hold up the end of the process.
const RUNTIME_WAIT: Duration = Duration::from_millis(200);

/// How long a blocked standard error may hold up the end of the process.
const LOG_WAIT: Duration = Duration::from_millis(200);

/// Runs the program with `args`, the name of the program first: called as `serf` it
/// takes the command line of serf.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let all: Vec<OsString> = args.into_iter().collect();
    let called = serf::arguments(&all).map(|args| serf::run(&all, args));
    let (args, load): (Vec<OsString>, Load) = match called {
        Some(Called::Done(code)) => return code,
        Some(Called::Agent(args)) => (args, config::load_serf_agent),
        None => (all.into_iter().skip(1).collect(), config::load),
    };
    let invocation = Arc::new(Invocation {
        args,
        environment: environment(),
        load,
    });
    match invocation.load() {
        Ok(Request::Run(config)) => run(*config, &invocation),
        Ok(Request::Print(text)) => {
            // A closed pipe, as of `| head`, is no failure.
            let _closed = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            for problem in &problems.0 {
                complain(&problem.to_string());
            }
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Which command line is read.
type Load = fn(&Inputs<'_, ThisMachine>) -> Result<Request, Problems>;

/// How the program was called.
struct Invocation {
    args: Vec<OsString>,
    environment: BTreeMap<String, String>,
    load: Load,
}

impl Invocation {
    fn load(&self) -> Result<Request, Problems> {
        (self.load)(&Inputs {
            args: &self.args,
            environment: &self.environment,
            machine: &ThisMachine,
        })
    }

    /// The settings again, with the files as they are now.
    fn reload(&self) -> Result<Config, Problems> {
        match self.load()? {
            Request::Run(config) => Ok(*config),
            Request::Print(_) => Err(Problems(vec![Problem::at(
                "reload",
                "the settings ask for something else than a daemon",
            )])),
        }
    }
}

fn run(config: Config, invocation: &Arc<Invocation>) -> ExitCode {
    let ended = start(config, invocation);
    ended.unwrap_or_else(|error| {
        // The log may be filtered or not there yet; this line always comes.
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn start(config: Config, invocation: &Arc<Invocation>) -> anyhow::Result<ExitCode> {
    let process = &config.process;
    let log = telemetry::log::init(&process.log_filter, process.log_format)?;
    let runtime = runtime(config.api.threads)?;
    let again = Arc::clone(invocation);
    let setup = Setup {
        config,
        environment: invocation.environment.clone(),
        log: log.clone(),
        reread: Reread::new(move || again.reload()),
    };
    let ended = runtime.block_on(Box::pin(daemon::run(setup, daemon::assemble)));
    // What still runs was told to stop and overran, or a second signal is not to wait.
    runtime.shutdown_timeout(RUNTIME_WAIT);
    log.writer.flush(LOG_WAIT);
    ended
}

/// The runtime of the API; the engine has its own. One thread is a runtime without
/// work stealing, which serves faster.
fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads)
        .thread_name("api")
        .enable_all()
        .build()
}

fn environment() -> BTreeMap<String, String> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn complain(line: &str) {
    // Nobody is left to be told if standard error is closed.
    let _closed = writeln!(io::stderr(), "musterd: {line}");
}
