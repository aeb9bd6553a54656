use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::docker::testing::{container, id, read};

/// A state that lists these.
pub(super) fn state(all: &[Value]) -> State {
    let one = |json: &Value| {
        let container = read(json);
        (Arc::clone(&container.id), Arc::new(container))
    };
    State {
        engine: EngineStatus::Live {
            version: "1".to_owned(),
        },
        containers: all.iter().map(one).collect(),
    }
}

fn places(mounts: &Value, prefix: Option<&str>) -> Places {
    let mut me = container(1, "me");
    me["Mounts"] = mounts.clone();
    let (_, state) = watch::channel(Arc::new(state(&[me])));
    Places::with(state, Clues::certain(&id(1)), prefix.map(PathBuf::from))
}

fn mount(source: &str, destination: &str) -> Value {
    json!({"Type": "bind", "Source": source, "Destination": destination, "RW": true})
}

fn both(places: &Places, here: &str, there: &str) {
    let found = places.to_host(Path::new(here));
    assert_eq!(
        found.as_deref(),
        Some(Path::new(there)),
        "{here} on the host"
    );
    let found = places.from_host(Path::new(there));
    assert_eq!(found.as_deref(), Some(Path::new(here)), "{there} here");
}

#[test]
fn paths_go_through_the_deepest_mount() {
    let places = places(
        &json!([
            mount("/", "/host"),
            mount("/var/lib/docker/volumes/v/_data", "/serfnode"),
            mount("/srv/a", "/data"),
            mount("/srv/b", "/data/sub"),
            json!({"Type": "tmpfs", "Source": "", "Destination": "/run"}),
        ]),
        None,
    );
    both(&places, "/serfnode/x", "/var/lib/docker/volumes/v/_data/x");
    both(&places, "/serfnode", "/var/lib/docker/volumes/v/_data");
    both(&places, "/data/sub/x", "/srv/b/x");
    both(&places, "/data/y", "/srv/a/y");
    both(&places, "/host/etc/hosts", "/etc/hosts");
    // /data/sub hides what /srv/a has there: the root is the way.
    both(&places, "/host/srv/a/sub/x", "/srv/a/sub/x");
    assert_eq!(places.to_host(Path::new("/run/x")), None);
    assert_eq!(places.to_host(Path::new("/etc/hosts")), None);
    for path in ["serfnode/x", "/serfnode/../etc", ""] {
        assert_eq!(places.to_host(Path::new(path)), None, "{path}");
        assert_eq!(places.from_host(Path::new(path)), None, "{path}");
    }
}

#[test]
fn what_is_not_mounted_is_not_there() {
    let alone = places(&json!([]), None);
    assert_eq!(alone.from_host(Path::new("/srv")), None);
    let said = places(&json!([mount("/srv", "/data")]), Some("/host"));
    both(&said, "/data/x", "/srv/x");
    assert_eq!(said.from_host(Path::new("/etc")), Some("/host/etc".into()));
}

#[test]
fn on_a_host_paths_are_the_same() {
    let (_, seen) = watch::channel(Arc::new(state(&[])));
    let places = Places::on_host(seen.clone());
    both(&places, "/a/b", "/a/b");
    assert!(!places.contained());
    assert!(places.me().is_none());
    // An unknown container whose host is mounted.
    let places = Places::with(seen, Clues::certain(&id(9)), Some("/host".into()));
    both(&places, "/host/a", "/a");
    both(&places, "/host", "/");
    assert_eq!(places.to_host(Path::new("/a")), None);
}

#[test]
fn nothing_is_promised_before_the_containers_are_known() {
    let unknown = State {
        engine: EngineStatus::Unknown { error: None },
        containers: BTreeMap::new(),
    };
    let (sender, seen) = watch::channel(Arc::new(unknown));
    let places = Places::in_container(seen, &id(1));
    assert_eq!(places.to_host(Path::new("/a")), None);
    assert_eq!(places.candidates(), [Arc::from(id(1))]);
    sender.send_replace(Arc::new(state(&[container(1, "me")])));
    assert_eq!(places.me().unwrap().name, "me");
    assert_eq!(places.to_host(Path::new("/a")), None);
    // Another one is never taken for it, whatever happens.
    sender.send_replace(Arc::new(state(&[container(2, "me")])));
    assert!(places.me().is_none());
}
