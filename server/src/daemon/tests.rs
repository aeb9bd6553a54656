use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::signal::Signal;
use super::*;
use crate::config::{Inputs, LogFormat, Request, ThisMachine};
use crate::telemetry::log::Target;
use crate::telemetry::{LogWriter, Tail, log};

const SOON: Duration = Duration::from_secs(10);

fn setup(dir: &Path, extra: &[&str]) -> Setup {
    let socket = dir.join("api.sock").display().to_string();
    let plain = ["--insecure-plaintext", "--name", "a", "--socket", &socket];
    let args: Vec<OsString> = plain.iter().chain(extra).map(OsString::from).collect();
    let inputs = Inputs {
        args: &args,
        environment: &BTreeMap::new(),
        machine: &ThisMachine,
    };
    let Request::Run(config) = crate::config::load(&inputs).unwrap() else {
        panic!("it prints");
    };
    let writer = LogWriter::start(std::io::sink()).unwrap();
    let tail = Tail::default();
    let built = log::build(
        "off",
        LogFormat::Text,
        Target::Plain,
        writer.clone(),
        tail.clone(),
    );
    let (_log, filter) = built.unwrap();
    Setup {
        config: *config,
        environment: BTreeMap::new(),
        log: Log {
            filter,
            writer,
            tail,
        },
        reread: Reread::new(|| Err(crate::config::Problems(Vec::new()))),
    }
}

/// A daemon without sockets whose leave is reported.
fn parts(shared: &Shared, leaves: mpsc::Sender<Phase>) -> Assembled {
    let stop = shared.tasks.stop_token();
    shared.tasks.spawn("engine", async move {
        stop.cancelled().await;
        Ok(())
    });
    let phase = shared.phase.clone();
    let leave = async move {
        let phase = *phase.borrow();
        leaves.send(phase).await?;
        Ok(())
    };
    Assembled {
        bound: "127.0.0.1:4567".parse().unwrap(),
        advertise: "127.0.0.1:7946".parse().unwrap(),
        sockets: vec!["/run/a.sock".into()],
        encryption: None,
        leave: Box::new(|| leave.boxed()),
    }
}

async fn run_to_end(
    setup: Setup,
    signals: mpsc::Receiver<Signal>,
    assemble: impl FnOnce(&Shared) -> anyhow::Result<Assembled>,
) -> anyhow::Result<ExitCode> {
    let life = run_with(setup, signals, |shared| {
        std::future::ready(assemble(&shared))
    });
    tokio::time::timeout(SOON, life).await.unwrap()
}

#[tokio::test]
async fn a_life_from_ready_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let data = dir.path().join("data");
    let mut setup = setup(dir.path(), &["--data-dir", &data.display().to_string()]);
    let notify = dir.path().join("notify").display().to_string();
    setup.environment.insert("NOTIFY_SOCKET".to_owned(), notify);
    let (signals, queue) = mpsc::channel(4);
    let (leaves, mut left) = mpsc::channel(4);
    let ending = run_to_end(setup, queue, |shared| {
        assert!(
            data.join("boot").exists(),
            "the boot is kept before anybody hears of it"
        );
        signals.try_send(Signal::Terminate)?;
        Ok(parts(shared, leaves))
    });
    assert_eq!(ending.await.unwrap(), ExitCode::SUCCESS);
    assert_eq!(left.try_recv(), Ok(Phase::Leaving));
    let mut told = Vec::new();
    for _ in 0..4 {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    assert_eq!(
        told,
        [
            "READY=1\nSTATUS=a of cluster muster at 127.0.0.1:7946, NOT ENCRYPTED",
            "STOPPING=1\nSTATUS=leaving",
            "STATUS=draining",
            "STATUS=stopped",
        ]
    );
}

#[tokio::test]
async fn a_failure_is_the_exit_code_and_a_second_signal_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let (_signals, queue) = mpsc::channel(4);
    let (leaves, mut left) = mpsc::channel(4);
    let ending = run_to_end(setup(dir.path(), &[]), queue, |shared| {
        shared
            .tasks
            .spawn("api", async { anyhow::bail!("socket closed") });
        Ok(parts(shared, leaves))
    });
    assert_eq!(ending.await.unwrap(), ExitCode::FAILURE);
    assert!(left.try_recv().is_err());
    let (signals, queue) = mpsc::channel(4);
    let ending = run_to_end(setup(dir.path(), &[]), queue, |shared| {
        signals.try_send(Signal::Interrupt)?;
        signals.try_send(Signal::Interrupt)?;
        let (leaves, _) = mpsc::channel(4);
        let mut parts = parts(shared, leaves);
        parts.leave = Box::new(|| std::future::pending().boxed());
        Ok(parts)
    });
    assert_eq!(ending.await.unwrap(), ExitCode::from(130));
}

#[tokio::test]
async fn a_leave_by_a_client_ends_it_with_success() {
    let dir = tempfile::tempdir().unwrap();
    let (_signals, queue) = mpsc::channel(4);
    let (leaves, mut left) = mpsc::channel(4);
    let ending = run_to_end(setup(dir.path(), &[]), queue, |shared| {
        shared.left.cancel();
        Ok(parts(shared, leaves))
    });
    assert_eq!(ending.await.unwrap(), ExitCode::SUCCESS);
    assert!(left.try_recv().is_err());
}

#[tokio::test]
async fn what_was_spawned_before_a_failed_start_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (_signals, queue) = mpsc::channel(4);
    let mut tasks = Tasks::default();
    let ending = run_to_end(setup(dir.path(), &[]), queue, |shared| {
        let (leaves, _) = mpsc::channel(4);
        let _running = parts(shared, leaves);
        tasks = shared.tasks.clone();
        anyhow::bail!("port 7946 is in use")
    });
    assert_eq!(ending.await.unwrap_err().to_string(), "port 7946 is in use");
    assert!(tasks.live().is_empty());
}

#[tokio::test]
async fn two_daemons_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _first = DataDir::open(&data).unwrap();
    let (_signals, queue) = mpsc::channel(4);
    let setup = setup(dir.path(), &["--data-dir", &data.display().to_string()]);
    let ending = run_to_end(setup, queue, |_| panic!("it must not start"));
    let error = ending.await.unwrap_err().to_string();
    assert!(error.contains("belongs to a running daemon"), "{error}");
}
