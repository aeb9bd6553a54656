use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::docker::Container;
use crate::hub::testing::member;
use crate::legacy::parcel::Parcel;
use crate::legacy::testing::{container, labelled, mounted, state};

/// A worker of node `n1` on a host, and one member of role `web`.
struct Desk {
    directory: TempDir,
    worker: Option<Worker>,
    scene: Scene,
}

impl Desk {
    fn new() -> Self {
        let (state, _follow) = state(Vec::new());
        Self {
            directory: TempDir::new().unwrap(),
            worker: None,
            scene: Scene {
                members: vec![Arc::new(member("n1", 1_000, &["web"]))],
                state,
                posted: Posted::new(),
            },
        }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn shows(&mut self, containers: Vec<Container>) {
        let (state, follow) = state(containers);
        self.scene.state = state;
        let root = Dir::open(&self.root()).unwrap();
        let places = Places::on_host(follow);
        let metrics = Metrics::default();
        self.worker = Some(Worker::new(
            root,
            "n1".into(),
            Privacy::Full,
            places,
            metrics,
        ));
    }

    fn pass(&mut self) -> Outcome {
        self.worker.as_mut().unwrap().pass(&self.scene)
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.root().join(path)).unwrap()).unwrap()
    }

    /// A container whose file of hosts is on this host.
    fn with_hosts(&self, name: &str) -> Container {
        let path = self.directory.path().join(format!("{name}-hosts"));
        fs::write(&path, "127.0.0.1\tlocalhost\n").unwrap();
        Container {
            hosts_path: Some(path),
            ..labelled(name, &[("muster.child", "")])
        }
    }
}

#[test]
fn every_file_is_where_serfnode_had_it() {
    let mut desk = Desk::new();
    let files = desk.root().join("serfnode/children/own");
    let own = mounted(desk.with_hosts("own"), &files, "/serfnode");
    desk.shows(vec![own, container("stranger")]);
    let outcome = desk.pass();
    assert_eq!(desk.json("me.json"), json!({"id": "n1", "inspect": {}}));
    assert_eq!(desk.json("serfnode/parent.json"), desk.json("me.json"));
    let all = desk.json("children_by_name.json");
    assert_eq!(all.as_object().unwrap().len(), 1);
    assert_eq!(all["own"], desk.json("serfnode/children/own/me.json"));
    assert_eq!(all["own"]["inspect"]["Name"], "/own");
    for folder in ["", "serfnode/", "serfnode/children/own/"] {
        let by_id = desk.json(&format!("{folder}serfnodes_by_id.json"));
        assert_eq!(by_id["n1"]["role"], "web");
        let by_role = desk.json(&format!("{folder}serfnodes_by_role.json"));
        assert_eq!(by_role["web"][0]["timestamp"], "1");
    }
    for path in ["root/etc/hosts", "own-hosts"] {
        let text = fs::read_to_string(desk.directory.path().join(path)).unwrap();
        assert!(text.contains("\n127.0.0.1 web "), "{path}: {text}");
    }
    let states = |outcome: &Outcome| -> Vec<FileState> {
        let files = outcome.deliveries["own"].files();
        files.map(|(_, state)| state.clone()).collect()
    };
    let delivered = FileState::Delivered;
    let first = [FileState::Pending, delivered.clone(), delivered.clone()];
    assert_eq!(states(&outcome), first);
    assert_eq!(outcome.problems, [""; 0]);
    // The link to its own file goes through the engine.
    let id = Arc::clone(&outcome.deliveries["own"].id);
    let link = Parcel::Link("/serfnode/me.json".to_owned());
    assert_eq!(outcome.parcels, Parcels::from([(Arc::clone(&id), link)]));
    desk.scene.posted.insert(id, Ok(()));
    assert_eq!(states(&desk.pass()), vec![delivered; 3]);
}

#[test]
fn the_files_of_a_child_that_is_gone_go() {
    let mut desk = Desk::new();
    desk.shows(vec![desk.with_hosts("web")]);
    desk.pass();
    let own = desk.root().join("serfnode/children/web");
    fs::create_dir_all(desk.root().join("serfnode/children/coming")).unwrap();
    assert!(own.join("me.json").exists());
    // An engine that is away says nothing about what is gone.
    desk.shows(Vec::new());
    let away = State {
        engine: EngineStatus::Unknown { error: None },
        ..State::default()
    };
    let live = std::mem::replace(&mut desk.scene.state, Arc::new(away));
    desk.pass();
    assert!(own.exists());
    desk.scene.state = live;
    desk.pass();
    assert!(!own.exists());
    // The engine makes a directory before we hear of the container.
    assert!(desk.root().join("serfnode/children/coming").exists());
    assert_eq!(desk.json("children_by_name.json"), json!({}));
}

#[test]
fn what_cannot_be_delivered_says_why() {
    let mut desk = Desk::new();
    let shared = desk.root().join("serfnode");
    let mut locked = labelled("locked", &[("muster.child", "")]);
    locked.read_only = true;
    let both = mounted(
        Container {
            name: "both".to_owned(),
            ..locked.clone()
        },
        &shared,
        "/serfnode",
    );
    let both = Container {
        id: "b".into(),
        ..both
    };
    let mut ended = desk.with_hosts("ended");
    ended.state = "exited".to_owned();
    desk.shows(vec![locked, both, ended, desk.with_hosts("plain")]);
    let outcome = desk.pass();
    let why = |child: &str, file: &str| {
        let delivery = &outcome.deliveries[child];
        let found = delivery.files().find(|(name, _)| *name == file);
        match found.unwrap().1 {
            FileState::Undeliverable(why) => why.clone(),
            state @ (FileState::Pending | FileState::Delivered) => format!("{state:?}"),
        }
    };
    assert!(why("locked", "/me.json").starts_with("its root file system is read-only: give it"));
    assert_eq!(why("locked", "/serfnode"), why("locked", "/me.json"));
    assert_eq!(
        why("locked", "/etc/hosts"),
        "the engine tells of no such file"
    );
    let me = why("both", "/me.json");
    assert!(
        me.ends_with("it is at /serfnode/children/both/me.json only"),
        "{me}"
    );
    assert_eq!(why("both", "/serfnode"), "Delivered");
    assert_eq!(why("ended", "/etc/hosts"), "Pending");
    assert_eq!(why("plain", "/me.json"), "Pending");
    let id = Arc::clone(&outcome.deliveries["plain"].id);
    assert!(matches!(outcome.parcels[&id], Parcel::Files(_)));
    assert_eq!(outcome.parcels.len(), 1);
    desk.scene
        .posted
        .insert(Arc::clone(&id), Err("the engine is tired".to_owned()));
    let state = desk.pass().deliveries["plain"].me.clone();
    assert_eq!(
        state,
        FileState::Undeliverable("the engine is tired".to_owned())
    );
    desk.scene.posted.insert(id, Ok(()));
    assert_eq!(desk.pass().deliveries["plain"].me, FileState::Delivered);
}

#[test]
fn a_hosts_file_that_cannot_be_written_is_told_and_the_rest_goes_on() {
    let mut desk = Desk::new();
    let bad = desk.with_hosts("bad");
    fs::remove_file(bad.hosts_path.as_ref().unwrap()).unwrap();
    fs::create_dir(bad.hosts_path.as_ref().unwrap()).unwrap();
    desk.shows(vec![bad, desk.with_hosts("good")]);
    let outcome = desk.pass();
    assert!(matches!(
        outcome.deliveries["bad"].hosts,
        FileState::Undeliverable(_)
    ));
    assert_eq!(outcome.deliveries["good"].hosts, FileState::Delivered);
    assert!(
        crate::legacy::delivery::undeliverable(&outcome.deliveries)
            .iter()
            .any(|line| line.starts_with("/etc/hosts of child bad is undeliverable: "))
    );
}
