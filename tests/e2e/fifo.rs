//! Lines that are written to the FIFO of `--legacy-root` become events everywhere.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use muster_proto::v1::{Event, WatchEventsRequest, WatchEventsResponse};
use muster_tests::harness::api::Watch;
use muster_tests::harness::cluster::see_alive;
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Daemon, DaemonBuilder, EventLog};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon;

/// Longest time for all of a test's events on a busy machine.
const ALL: Duration = Duration::from_secs(90);

/// A directory for `--legacy-root`.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        Self(muster_tests::harness::daemon::temp_dir())
    }

    fn of(&self, builder: DaemonBuilder) -> DaemonBuilder {
        let root = self.0.path().join("root");
        builder
            .arg("--docker")
            .arg("off")
            .arg("--legacy-root")
            .arg(root)
    }

    fn fifo(&self) -> PathBuf {
        self.0.path().join("root/serfnode/parent")
    }

    /// Opens, writes and closes as `echo` does. Waits where that waits.
    async fn write(&self, bytes: impl Into<Vec<u8>>) {
        let (path, bytes) = (self.fifo(), bytes.into());
        let write = move || writer(&path).write_all(&bytes);
        let written = tokio::time::timeout(ALL, tokio::task::spawn_blocking(write));
        written.await.expect("the writer hangs").unwrap().unwrap();
    }

    fn is_fifo(&self) -> Result<(), String> {
        let meta = fs::symlink_metadata(self.fifo()).map_err(|error| error.to_string())?;
        let mode = meta.permissions().mode() & 0o777;
        if meta.file_type().is_fifo() && mode == 0o666 {
            return Ok(());
        }
        Err(format!("{:?} {mode:o}", meta.file_type()))
    }
}

fn writer(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

/// Two members; the first has the FIFO, the second is listened to.
struct Pair {
    root: Root,
    one: Daemon,
    two: Daemon,
    listener: Listener,
}

impl Pair {
    async fn start(args: &[&str]) -> Self {
        let root = Root::new();
        let with = |builder: DaemonBuilder| args.iter().fold(builder, |b, arg| b.arg(arg));
        let one = root.of(with(daemon("one"))).ready().await;
        let two = with(daemon("two")).join(one.addr()).ready().await;
        see_alive(&one, 2).await;
        let listener = Listener::on(&two).await;
        Self {
            root,
            one,
            two,
            listener,
        }
    }

    async fn count(&self, metric: &str) -> f64 {
        self.one.api().await.metric(metric).await
    }
}

/// Who reads events of one daemon.
struct Listener {
    watch: Watch<WatchEventsResponse>,
    log: EventLog,
}

impl Listener {
    async fn on(node: &Daemon) -> Self {
        let request = WatchEventsRequest::default();
        let (watch, token) = node.api().await.watch_events(request).await;
        let log = EventLog::from_token(&token).unwrap();
        Self { watch, log }
    }

    /// All events so far, once there are that many; the log refuses doubles and gaps
    /// that are not told.
    async fn events(&mut self, count: usize) -> &[Event] {
        let read = async {
            while self.log.events().len() < count {
                let message = self.watch.next().await;
                self.log.apply(&message).expect("the promise is broken");
            }
        };
        let read = tokio::time::timeout(ALL, read).await;
        let have = self.log.events().len();
        assert!(read.is_ok(), "{have} of {count} events came");
        assert!(self.log.gaps().is_empty());
        self.log.events()
    }

    async fn last(&mut self, count: usize) -> Event {
        self.events(count).await.last().unwrap().clone()
    }
}

fn payload(event: &Event) -> &str {
    std::str::from_utf8(&event.payload).unwrap()
}

#[tokio::test]
async fn two_writers_of_200_lines_lose_none_and_keep_their_order() {
    let mut pair = Pair::start(&[]).await;
    let script =
        r#"n=0; while [ $n -lt 200 ]; do echo "[\"$1\", {\"n\": $n}]" > "$2"; n=$((n+1)); done"#;
    let fifo = pair.root.fifo();
    let mut writers: Vec<_> = ["left", "right"]
        .map(|name| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh", name]).arg(&fifo);
            shell.spawn().unwrap()
        })
        .into();
    let events = pair.listener.events(400).await;
    for name in ["left", "right"] {
        let mine: Vec<_> = events.iter().filter(|event| event.name == name).collect();
        assert_eq!(mine.len(), 200);
        for (n, event) in mine.into_iter().enumerate() {
            assert_eq!(payload(event), format!("{{\"n\": {n}}}"));
            assert_eq!((event.child.as_str(), event.coalesce), ("", false));
        }
    }
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    let replicated = "muster_fifo_replicated_events_total";
    wait::until("all are replicated", SOON, async || {
        match pair.count(replicated).await {
            400.0 => Ok(()),
            count => Err(count),
        }
    })
    .await;
}

#[tokio::test]
async fn long_lines_of_one_writer_are_whole() {
    let mut pair = Pair::start(&[]).await;
    let text = |n: usize| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(20_000 + n));
    for n in 0..40 {
        let line = format!("[\"long\",{}]\n", text(n));
        pair.root.write(line).await;
    }
    let events = pair.listener.events(40).await;
    for (n, event) in events.iter().enumerate() {
        assert_eq!(payload(event), text(n));
    }
}

#[tokio::test]
async fn bad_lines_cost_only_themselves_and_are_told() {
    let mut pair = Pair::start(&[]).await;
    let deep = format!("[\"a\",{}{}]\n", "[".repeat(1_000), "]".repeat(1_000));
    let long = format!("[\"a\",\"{}\"]\n", "x".repeat(80_000));
    let bad: [&[u8]; 9] = [
        b"no json\n",
        b"[\"torn\", {\"a\": \n",
        b"\xff\xfe\n",
        b"{\"a\": 1}\n",
        b"[\"-rpc-addr=10.0.0.1:7373\", {}]\n",
        b"[\"_muster_x\", {}]\n",
        b"[7, {}]\n",
        deep.as_bytes(),
        long.as_bytes(),
    ];
    for (n, bad) in bad.into_iter().enumerate() {
        let good = format!("\n[\"good\", {n}]\n");
        pair.root.write([bad, good.as_bytes()].concat()).await;
        assert_eq!(payload(&pair.listener.last(n + 1).await), n.to_string());
    }
    assert_eq!(pair.count("muster_fifo_lines_total").await, 18.0);
    let refused = pair.one.muster().ok(&["info", "--metrics"]).await;
    let refused = refused
        .lines()
        .filter(|line| line.starts_with("muster_fifo_refused_lines_total{"));
    let sum: u64 = refused
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum();
    assert_eq!(sum, 9);
    let log = pair.one.log();
    assert!(
        log.contains("a line of a FIFO was refused") && log.contains("no JSON"),
        "{log}"
    );
}

#[tokio::test]
async fn a_fifo_that_is_gone_or_replaced_comes_back() {
    let mut pair = Pair::start(&[]).await;
    let fifo = pair.root.fifo();
    let precious = pair.root.0.path().join("precious");
    fs::write(&precious, "as it was").unwrap();
    // As `exec 3<>` does: that never waits.
    let open = OpenOptions::new().read(true).write(true).open(&fifo);
    let mut held = open.unwrap();
    let plant: [&dyn Fn(); 3] = [&|| (), &|| fs::write(&fifo, "a file").unwrap(), &|| {
        symlink(&precious, &fifo).unwrap()
    }];
    for (n, plant) in plant.into_iter().enumerate() {
        fs::remove_file(&fifo).unwrap();
        plant();
        wait::until("the FIFO is back", SOON, async || pair.root.is_fifo()).await;
        pair.root.write(format!("[\"again\", {n}]\n")).await;
        assert_eq!(payload(&pair.listener.last(n + 1).await), n.to_string());
    }
    assert_eq!(fs::read_to_string(&precious).unwrap(), "as it was");
    // Who had it open before is heard as well.
    held.write_all(b"[\"old\", {}]\n").unwrap();
    assert_eq!(pair.listener.last(4).await.name, "old");
}

#[tokio::test]
async fn a_restart_finds_the_fifo_and_what_was_written_meanwhile() {
    let root = Root::new();
    let mut one = root.of(daemon("one")).data_dir().ready().await;
    let two = daemon("two").join(one.addr()).ready().await;
    see_alive(&one, 2).await;
    let mut listener = Listener::on(&two).await;
    // As a child that keeps it open: `exec 3<>/serfnode/parent`.
    let mut held = OpenOptions::new()
        .read(true)
        .write(true)
        .open(root.fifo())
        .unwrap();
    for (n, signal) in [Signal::KILL, Signal::TERM].into_iter().enumerate() {
        one.signal(signal);
        one.wait_exit(SOON).await;
        assert_eq!(root.is_fifo(), Ok(()));
        held.write_all(format!("[\"while-away\", {n}]\n").as_bytes())
            .unwrap();
        one.restart().await;
        assert_eq!(payload(&listener.last(2 * n + 1).await), n.to_string());
        root.write("[\"back\", {}]\n").await;
        assert_eq!(listener.last(2 * n + 2).await.name, "back");
    }
}

/// A member that is stopped holds up the window of events for a while.
#[tokio::test]
async fn without_room_writers_wait_and_nothing_is_lost() {
    let args = [
        "--event-bytes-per-origin",
        "1MiB",
        "--event-bytes-total",
        "8MiB",
    ];
    let mut pair = Pair::start(&args).await;
    let mut three = daemon("three").join(pair.one.addr()).ready().await;
    see_alive(&pair.one, 3).await;
    three.pause();
    let text = Arc::new("x".repeat(60_000));
    let (fifo, body) = (pair.root.fifo(), Arc::clone(&text));
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..100 {
            let line = format!("[\"big\",{{\"n\":{n},\"text\":\"{body}\"}}]\n");
            writer(&fifo).write_all(line.as_bytes()).unwrap();
        }
    });
    let events = pair.listener.events(100).await;
    for (n, event) in events.iter().enumerate() {
        assert_eq!(payload(event), format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    writing.await.unwrap();
    assert!(pair.count("muster_fifo_waits_total").await >= 1.0);
    three.resume();
    let text = pair.one.muster().ok(&["info", "--metrics"]).await;
    assert!(!text.contains("window_full"), "{text}");
}

#[tokio::test]
async fn where_and_ports_answer_as_serfnode_did() {
    let root = Root::new();
    let one = root
        .of(daemon("one"))
        .role("web=10.0.0.7:8080")
        .ready()
        .await;
    let two = daemon("two").join(one.addr()).ready().await;
    see_alive(&two, 2).await;
    let ask = async |query: &str, payload: &str| {
        let line = ["--format", "json", "query", query, payload];
        two.muster().run(&line).await.stdout
    };
    let told = ask("where", r#"{"role": "web"}"#).await;
    assert!(
        told.contains(r#"\"service_ip\":\"10.0.0.7\""#) && told.contains(r"\n\nSUCCESS"),
        "{told}"
    );
    let told = ask("ports", r#"{"role": "web"}"#).await;
    assert!(told.contains(r#"{\"ports\":{},\"ip\":\"127."#), "{told}");
    let told = ask("where", "no json").await;
    assert!(told.contains(r"\nERROR"), "{told}");
    let told = ask("where", r#"{"role": "db"}"#).await;
    assert!(
        !told.contains("SUCCESS") && !told.contains("ERROR"),
        "{told}"
    );
    assert_eq!(
        two.muster().ok(&["me"]).await.trim_end(),
        two.addr().to_string()
    );
}

#[tokio::test]
async fn handlers_everywhere_run_with_the_payload() {
    let mut pair = Pair::start(&[]).await;
    let directory = pair.root.0.path().join("handlers");
    fs::create_dir(&directory).unwrap();
    let out = pair.root.0.path().join("out");
    let script = format!(
        "#!/bin/sh\ncat > {0}.tmp && mv {0}.tmp {0}\n",
        out.display()
    );
    fs::write(directory.join("my_event"), script).unwrap();
    fs::set_permissions(
        directory.join("my_event"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let three = daemon("three")
        .join(pair.two.addr())
        .arg("--handler-dir")
        .arg(&directory);
    let _three = three.ready().await;
    see_alive(&pair.one, 3).await;
    pair.root
        .write("[\"my_event\", {\"key\": \"value\"}]\n")
        .await;
    assert_eq!(pair.listener.last(1).await.name, "my_event");
    wait::until(
        "the handler ran",
        2 * SOON,
        async || match fs::read_to_string(&out) {
            Ok(text) if text == "{\"key\": \"value\"}\n" => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
}
