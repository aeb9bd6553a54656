use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, symlink};

use muster_engine::{Accepted, EventDraft};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::super::{Allow, Fifos};
use super::*;
use crate::gossip::handle::HandleEnds;

const LIMIT: Duration = Duration::from_secs(60);

struct Rig {
    dir: TempDir,
    fifos: Fifos,
    ends: HandleEnds,
    metrics: Metrics,
    tasks: Tasks,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let (handle, ends) = Handle::new();
    let (metrics, tasks) = (Metrics::default(), Tasks::default());
    let config = Config {
        rate: None,
        payload_bytes_max: 1_000,
    };
    let root = File::open(dir.path()).unwrap().into();
    let stop = tasks.stop_token();
    let fifos = Fifos::start(config, root, handle, metrics.clone(), &tasks, stop);
    Rig {
        dir,
        fifos,
        ends,
        metrics,
        tasks,
    }
}

impl Rig {
    fn path(&self, directory: &str) -> PathBuf {
        self.dir.path().join(directory).join(pipe::NAME)
    }

    async fn write(&self, directory: &str, name: &str) {
        let (path, line) = (self.path(directory), format!("[\"{name}\",{{}}]\n"));
        let write = move || {
            let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        };
        tokio::task::spawn_blocking(write).await.unwrap();
    }

    async fn event(&mut self) -> EventDraft {
        let command = tokio::time::timeout(LIMIT, self.ends.events.recv());
        let command = command.await.expect("no event in time").unwrap();
        let accepted = Accepted {
            boot: 1,
            sequence: 1,
            lamport: 1,
        };
        command.reply.send(Ok(accepted)).unwrap();
        command.draft
    }

    async fn until(&self, what: &str, met: impl Fn(&Self) -> bool) {
        let wait = async {
            while !met(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(
            tokio::time::timeout(LIMIT, wait).await.is_ok(),
            "never: {what}"
        );
    }

    fn is_fifo(&self, directory: &str) -> bool {
        let meta = fs::symlink_metadata(self.path(directory));
        meta.is_ok_and(|meta| meta.file_type().is_fifo())
    }
}

fn spec(directory: &str, child: Option<&str>) -> FifoSpec {
    FifoSpec {
        child: child.map(str::to_owned),
        directory: directory.into(),
        allow: Allow::All,
    }
}

#[tokio::test]
async fn each_child_has_one_and_all_share_one() {
    let mut rig = rig();
    rig.fifos
        .set(vec![spec("s", None), spec("s/c/web", Some("web"))])
        .await;
    assert!(rig.is_fifo("s") && rig.is_fifo("s/c/web"));
    rig.write("s", "shared").await;
    let shared = rig.event().await;
    assert_eq!(
        (shared.name.as_str(), shared.child.as_str()),
        ("shared", "")
    );
    rig.write("s/c/web", "own").await;
    let own = rig.event().await;
    assert_eq!((own.name.as_str(), own.child.as_str()), ("own", "web"));
    assert_eq!(rig.metrics.open.get(), 2);
    // Who may send what changes in place.
    let mut strict = spec("s/c/web", Some("web"));
    strict.allow = Allow::from_label(Some("x*"));
    rig.fifos.set(vec![strict]).await;
    rig.write("s/c/web", "own").await;
    rig.write("s/c/web", "xy").await;
    assert_eq!(rig.event().await.name, "xy");
    assert_eq!((rig.metrics.open.get(), rig.metrics.remade.get()), (1, 0));
    assert_eq!(
        rig.fifos.status("s".as_ref()),
        Err("it is not wanted".to_owned())
    );
}

#[tokio::test]
async fn they_are_read_though_nobody_holds_the_handle() {
    let mut rig = rig();
    rig.fifos.set(vec![spec("d", None)]).await;
    let Rig { fifos, .. } = &mut rig;
    *fifos = Fifos {
        commands: mpsc::channel(1).0,
        outcomes: fifos.outcomes.clone(),
    };
    fs::remove_file(rig.path("d")).unwrap();
    rig.until("made again", |rig| rig.metrics.remade.get() == 1)
        .await;
    rig.write("d", "heard").await;
    assert_eq!(rig.event().await.name, "heard");
}

#[tokio::test]
async fn a_child_can_be_held_back_until_its_fifo_is_there() {
    let rig = rig();
    let place = Path::new("s/c/web");
    let ((), ()) = tokio::join!(
        rig.fifos.open(place),
        rig.fifos.set(vec![spec("s/c/web", Some("web"))])
    );
    // Without a reader this would fail.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    rustix::fs::open(rig.path("s/c/web"), flags, Mode::empty()).unwrap();
}

#[tokio::test]
async fn one_that_is_gone_or_replaced_comes_back() {
    let mut rig = rig();
    rig.fifos.set(vec![spec("d", Some("web"))]).await;
    let path = rig.path("d");
    let plant: [&dyn Fn(); 4] = [
        &|| (),
        &|| fs::write(&path, "text").unwrap(),
        &|| symlink("/dev/null", &path).unwrap(),
        &|| {
            fs::remove_dir(path.parent().unwrap()).unwrap();
        },
    ];
    for (round, plant) in (1..).zip(plant) {
        fs::remove_file(&path).unwrap();
        plant();
        rig.until("made again", |rig| {
            rig.metrics.remade.get() == round && rig.is_fifo("d")
        })
        .await;
        rig.write("d", "again").await;
        assert_eq!(rig.event().await.name, "again");
    }
    assert_eq!(rig.metrics.open.get(), 1);
}

#[tokio::test]
async fn who_holds_a_replaced_one_open_is_still_heard() {
    let mut rig = rig();
    rig.fifos.set(vec![spec("d", Some("web"))]).await;
    let mut held = fs::OpenOptions::new()
        .write(true)
        .open(rig.path("d"))
        .unwrap();
    fs::remove_file(rig.path("d")).unwrap();
    rig.until("made again", |rig| {
        rig.is_fifo("d") && rig.metrics.remade.get() == 1
    })
    .await;
    held.write_all(b"[\"old\",{}]\n").unwrap();
    assert_eq!(rig.event().await.name, "old");
    rig.write("d", "new").await;
    assert_eq!(rig.event().await.name, "new");
    assert_eq!(rig.tasks.live()["fifo"], 2);
    drop(held);
    rig.until("ended", |rig| rig.tasks.live()["fifo"] == 1)
        .await;
}

#[tokio::test]
async fn readers_of_replaced_ones_are_bounded() {
    let rig = rig();
    rig.fifos.set(vec![spec("d", Some("web"))]).await;
    let mut held = Vec::new();
    for round in 1..=RETIRED_MAX + 2 {
        held.push(
            fs::OpenOptions::new()
                .write(true)
                .open(rig.path("d"))
                .unwrap(),
        );
        fs::remove_file(rig.path("d")).unwrap();
        rig.until("made again", |rig| rig.metrics.remade.get() == round as u64)
            .await;
    }
    rig.until("let go", |rig| rig.tasks.live()["fifo"] == RETIRED_MAX + 1)
        .await;
}

#[tokio::test]
async fn one_that_is_wanted_again_has_one_reader() {
    let mut rig = rig();
    rig.fifos.set(vec![spec("d", Some("web"))]).await;
    let mut held = fs::OpenOptions::new()
        .write(true)
        .open(rig.path("d"))
        .unwrap();
    rig.fifos.set(Vec::new()).await;
    held.write_all(b"[\"last\",{}]\n").unwrap();
    assert_eq!(rig.event().await.name, "last");
    rig.fifos.set(vec![spec("d", Some("web"))]).await;
    rig.until("one reader", |rig| rig.tasks.live()["fifo"] == 1)
        .await;
    for index in 0..100 {
        held.write_all(format!("[\"e{index}\",{{}}]\n").as_bytes())
            .unwrap();
        assert_eq!(rig.event().await.name, format!("e{index}"));
    }
}

#[tokio::test]
async fn one_that_cannot_be_made_is_told_and_tried_again() {
    let rig = rig();
    fs::write(rig.dir.path().join("d"), "a file").unwrap();
    rig.fifos.set(vec![spec("d", None), spec("e", None)]).await;
    let error = rig.fifos.status("d".as_ref()).unwrap_err();
    assert!(error.contains("\"d\""), "{error}");
    assert_eq!(rig.fifos.status("e".as_ref()), Ok(()));
    let warnings = rig.fifos.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("FIFO d/parent: "),
        "{warnings:?}"
    );
    fs::remove_file(rig.dir.path().join("d")).unwrap();
    rig.until("made", |rig| rig.fifos.status("d".as_ref()).is_ok())
        .await;
    assert!(rig.metrics.failures.get() >= 1 && rig.fifos.warnings().is_empty());
}

#[test]
fn more_than_are_taken_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (root, config) = (
        File::open(dir.path()).unwrap(),
        Config {
            rate: None,
            payload_bytes_max: 1,
        },
    );
    let (metrics, tasks) = (Metrics::default(), Tasks::default());
    let (handle, stop) = (Handle::new().0, CancellationToken::new());
    let mut keeper = Keeper::new(config, root.into(), handle, metrics, tasks, stop);
    let many = (0..=FIFOS_MAX).map(|n| spec(&format!("d{n:04}"), None));
    keeper.want(many.collect());
    let (outcomes, told) = watch::channel(Outcomes::default());
    keeper.publish(&outcomes);
    let told = told.borrow();
    // Nobody has looked at the others yet.
    let crowded = |outcome: &Result<(), String>| {
        let why = outcome.as_ref().unwrap_err();
        why.ends_with("more are not made")
    };
    assert_eq!(told.values().filter(|outcome| crowded(outcome)).count(), 1);
    assert!(crowded(&told[&PathBuf::from("d1024")]));
}

#[test]
fn names_are_cut_to_what_events_carry() {
    assert_eq!(cut("web"), "web");
    assert_eq!(cut(&"é".repeat(99)).len(), CHILD_BYTES_MAX);
}
