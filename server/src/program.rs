//! The program `musterd`: settings, log, runtime, daemon, exit code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::config::{self, Config, Inputs, Request, ThisMachine};
use crate::daemon::{self, Setup};
use crate::telemetry;

/// Exit code of a configuration that cannot work (`EX_CONFIG` of sysexits).
const EXIT_CONFIG: u8 = 78;

/// How long work on the disk may hold up the end of the process.
const RUNTIME_WAIT: Duration = Duration::from_millis(200);

/// Runs the program with `args`, the name of the program left out.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let environment = environment();
    let inputs = Inputs {
        args: &args,
        environment: &environment,
        machine: &ThisMachine,
    };
    match config::load(&inputs) {
        Ok(Request::Run(config)) => run(*config, environment),
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

fn run(config: Config, environment: BTreeMap<String, String>) -> ExitCode {
    let ended = start(config, environment);
    ended.unwrap_or_else(|error| {
        // The log may be filtered or not there yet; this line always comes.
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn start(config: Config, environment: BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let process = &config.process;
    let log_filter = telemetry::log::init(&process.log_filter, process.log_format)?;
    let runtime = runtime(config.api.threads)?;
    let setup = Setup {
        config,
        environment,
        log_filter,
    };
    let ended = runtime.block_on(daemon::run(setup, daemon::assemble));
    // What still runs was told to stop and overran, or a second signal is not to wait.
    runtime.shutdown_timeout(RUNTIME_WAIT);
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
