use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use muster_engine::EventError;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::gossip::Replicated;
use crate::gossip::handle::{EventCommand, HandleEnds};

const LIMIT: Duration = Duration::from_secs(120);
const PAYLOAD_MAX: usize = 1_000;

/// A reader of a FIFO, with the test as the engine.
struct Rig {
    dir: TempDir,
    ends: HandleEnds,
    metrics: Metrics,
    control: watch::Sender<Control>,
    stop: CancellationToken,
    reader: JoinHandle<()>,
    sequence: u64,
    /// Others get what is sent at once.
    replicate: bool,
}

impl Rig {
    fn new() -> Self {
        Self::with_rate(None)
    }

    fn with_rate(rate: Option<u32>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = File::open(dir.path()).unwrap();
        let opened = pipe::check(root.as_fd(), Path::new(""), None)
            .unwrap()
            .unwrap();
        let (handle, ends) = Handle::new();
        let (control, control_end) = watch::channel(Control::default());
        let (metrics, stop) = (Metrics::default(), CancellationToken::new());
        let parts = Parts {
            child: Some("web".to_owned()),
            config: Config {
                rate: rate.and_then(NonZeroU32::new),
                payload_bytes_max: PAYLOAD_MAX,
            },
            handle,
            metrics: metrics.clone(),
            control: control_end,
            stop: stop.clone(),
        };
        let reader = Reader::new(Receiver::from_file(opened.file).unwrap(), parts);
        let reader = tokio::spawn(reader.run());
        Self {
            dir,
            ends,
            metrics,
            control,
            stop,
            reader,
            sequence: 0,
            replicate: true,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(pipe::NAME)
    }

    /// Opens it as a shell does.
    fn writer(&self) -> File {
        OpenOptions::new().write(true).open(self.path()).unwrap()
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        self.writer().write_all(text.as_ref()).unwrap();
    }

    async fn asked(&mut self) -> EventCommand {
        let asked = timeout(LIMIT, self.ends.events.recv());
        asked.await.expect("no event in time").unwrap()
    }

    fn accept(&mut self, command: EventCommand) -> EventDraft {
        self.sequence += 1;
        let accepted = Accepted {
            boot: 1,
            sequence: self.sequence,
            lamport: 1,
        };
        command.reply.send(Ok(accepted)).unwrap();
        if self.replicate {
            let (boot, sequence) = (1, self.sequence);
            let held = Replicated { boot, sequence };
            self.ends.replicated.send_replace(held);
        }
        command.draft
    }

    /// The next event, taken.
    async fn event(&mut self) -> EventDraft {
        let asked = self.asked().await;
        self.accept(asked)
    }

    async fn name(&mut self) -> String {
        self.event().await.name
    }

    fn refused(&self, reason: &'static str) -> u64 {
        let reason = super::super::metrics::Reason { reason };
        self.metrics.refused.get_or_create(&reason).get()
    }

    async fn until(&self, what: &str, met: impl Fn(&Self) -> bool) {
        let wait = async {
            while !met(self) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = timeout(LIMIT, wait).await;
        assert!(waited.is_ok(), "never: {what}");
    }
}

fn line(name: &str) -> String {
    format!("[\"{name}\", {{}}]\n")
}

#[tokio::test]
async fn a_line_becomes_an_event_that_names_its_child() {
    let mut rig = Rig::new();
    rig.write("[\"deploy\", {\"v\": 1}]\n\n");
    let event = rig.event().await;
    assert_eq!(
        (event.name.as_str(), event.child.as_str()),
        ("deploy", "web")
    );
    assert_eq!(event.payload, "{\"v\": 1}");
    assert!(!event.coalesce && event.target.is_empty());
    // The writer is gone, the FIFO has no end.
    rig.write(line("a"));
    assert_eq!(rig.name().await, "a");
    rig.until("replicated", |rig| rig.metrics.replicated.get() == 2)
        .await;
    assert_eq!((rig.metrics.lines.get(), rig.metrics.events.get()), (2, 2));
}

#[tokio::test]
async fn a_bad_line_costs_only_itself() {
    let mut rig = Rig::new();
    let deep = format!("[\"a\",{}{}]\n", "[".repeat(400), "]".repeat(400));
    let long = format!("[\"a\",\"{}\"]\n", "x".repeat(9_999));
    let bad: [(&[u8], &str); 7] = [
        (b"[\"a\n", "not_json"),
        (b"\xff\n", "not_json"),
        (b"{}\n", "shape"),
        (b"[1,{}]\n", "shape"),
        (b"[\"-rpc-addr=x\",{}]\n", "name"),
        (deep.as_bytes(), "depth"),
        (long.as_bytes(), "too_long"),
    ];
    for (index, (bytes, reason)) in bad.into_iter().enumerate() {
        let before = rig.refused(reason);
        rig.write([bytes, line(&format!("good{index}")).as_bytes()].concat());
        assert_eq!(rig.name().await, format!("good{index}"));
        assert_eq!(rig.refused(reason), before + 1, "{reason}");
    }
    rig.control
        .send_modify(|control| control.allow = Allow::from_label(Some("good*")));
    rig.write([line("supervisor"), line("goods")].concat());
    assert_eq!(rig.name().await, "goods");
    assert_eq!(rig.refused("not_allowed"), 1);
}

#[tokio::test]
async fn what_the_engine_refuses_is_counted_and_the_next_goes_on() {
    let mut rig = Rig::new();
    rig.write([line("big"), line("small")].concat());
    let asked = rig.asked().await;
    let error = EventError::TooLarge { bytes: 2, limit: 1 };
    asked.reply.send(Err(error)).unwrap();
    assert_eq!(rig.name().await, "small");
    assert_eq!(rig.refused("too_large"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_room_writers_wait_and_nothing_is_lost() {
    let mut rig = Rig::new();
    rig.write(line("first"));
    let first = rig.asked().await;
    // Nobody reads now: the pipe takes what fits into it, and no more.
    let mut writer = rig.writer();
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    let filler = line("filler");
    let mut written = 0;
    let full = loop {
        match writer.write(filler.as_bytes()) {
            Ok(bytes) => {
                assert_eq!(bytes, filler.len());
                written += 1;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    sleep(WAIT_MAX - Duration::from_secs(1)).await;
    assert_eq!(rig.metrics.waits.get(), 1);
    rig.accept(first);
    for _ in 0..written {
        assert_eq!(rig.name().await, "filler");
    }
    assert_eq!(rig.metrics.lines.get(), written + 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_while_without_room_lines_are_refused_until_there_is() {
    let mut rig = Rig::new();
    rig.write(line("held"));
    let held = rig.asked().await;
    rig.write([line("x1"), line("x2")].concat());
    rig.until("refused", |rig| rig.refused("window_full") == 2)
        .await;
    rig.write([line("x3"), "no json\n".to_owned()].concat());
    rig.until("refused", |rig| rig.refused("window_full") == 4)
        .await;
    // The one that waits all the time is not lost, and then all is well.
    assert_eq!(rig.accept(held).name, "held");
    rig.until("room", |rig| rig.metrics.events.get() == 1).await;
    rig.write(line("next"));
    assert_eq!(rig.name().await, "next");
    assert_eq!(rig.refused("window_full"), 4);
}

#[tokio::test]
async fn it_waits_for_others_to_hold_what_was_sent() {
    let mut rig = Rig::new();
    rig.replicate = false;
    let most = super::super::sending::UNREPLICATED_MAX as u64;
    let writer = rig.writer();
    let writing = std::thread::spawn(move || {
        let mut writer = writer;
        for index in 0..=most {
            writer
                .write_all(line(&format!("e{index}")).as_bytes())
                .unwrap();
        }
    });
    for index in 0..most {
        assert_eq!(rig.name().await, format!("e{index}"));
    }
    rig.until("the wait", |rig| rig.metrics.waits.get() == 1)
        .await;
    assert!(rig.ends.events.is_empty());
    rig.ends.replicated.send_replace(Replicated {
        boot: 1,
        sequence: 1,
    });
    assert_eq!(rig.name().await, format!("e{most}"));
    writing.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_child_that_sends_too_fast_waits() {
    let mut rig = Rig::with_rate(Some(10));
    let began = Instant::now();
    rig.write(line("a").repeat(40));
    for _ in 0..40 {
        rig.event().await;
    }
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(rig.metrics.delays.get(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_line_without_an_end_takes_no_other_along() {
    let mut rig = Rig::new();
    rig.write("[\"forgot\", {}]");
    assert_eq!(rig.name().await, "forgot");
    rig.write("[\"torn\", {");
    rig.until("given up", |rig| rig.refused("not_json") == 1)
        .await;
    rig.write(line("whole"));
    assert_eq!(rig.name().await, "whole");
}

#[tokio::test]
async fn a_line_in_pieces_is_one() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    for piece in ["[\"pie", "ces\", ", "{}", "]", "\n[\"x\",1]\n"] {
        writer.write_all(piece.as_bytes()).unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.name().await, "pieces");
    assert_eq!(rig.name().await, "x");
}

#[tokio::test]
async fn a_retired_one_is_read_until_its_last_writer_is_gone() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    std::fs::remove_file(rig.path()).unwrap();
    rig.control.send_modify(|control| control.retired = true);
    writer.write_all(line("late").as_bytes()).unwrap();
    assert_eq!(rig.name().await, "late");
    writer.write_all(b"[\"last\", {}]").unwrap();
    drop(writer);
    assert_eq!(rig.name().await, "last");
    timeout(LIMIT, &mut rig.reader).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_read_stays_for_the_next_run() {
    let mut rig = Rig::new();
    rig.write(line("one"));
    rig.event().await;
    rig.stop.cancel();
    // Somebody holds it open.
    let mut held = OpenOptions::new()
        .read(true)
        .write(true)
        .open(rig.path())
        .unwrap();
    timeout(LIMIT, &mut rig.reader).await.unwrap().unwrap();
    rig.write(line("two"));
    let mut bytes = [0; 64];
    let count = held.read(&mut bytes).unwrap();
    assert_eq!(&bytes[..count], line("two").as_bytes());
}
