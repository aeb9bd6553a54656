//! Containers for tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::docker::{Container, EngineStatus, Health, Mount, State};

/// A running container without labels and mounts; its id is made of its name.
pub(super) fn container(name: &str) -> Container {
    let id = format!("{name:0<64}");
    let inspect =
        format!(r#"{{"Id":"{id}","Name":"/{name}","NetworkSettings":{{"IPAddress":"{name}"}}}}"#);
    Container {
        id: id.into(),
        name: name.to_owned(),
        image: "busy".to_owned(),
        image_id: String::new(),
        state: "running".to_owned(),
        health: Health::None,
        labels: BTreeMap::new(),
        ports: Vec::new(),
        networks: BTreeMap::new(),
        network_mode: "bridge".to_owned(),
        created_unix_ms: 1,
        started_unix_ms: 1,
        exit_code: None,
        pid: 1,
        hosts_path: None,
        mounts: Vec::new(),
        read_only: false,
        inspect: serde_json::from_str(&inspect).unwrap(),
    }
}

pub(super) fn labelled(name: &str, labels: &[(&str, &str)]) -> Container {
    let label = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Container {
        labels: labels.iter().map(label).collect(),
        ..container(name)
    }
}

pub(super) fn mounted(mut container: Container, source: &Path, destination: &str) -> Container {
    container.mounts.push(Mount {
        kind: "bind".to_owned(),
        name: String::new(),
        source: source.to_owned(),
        destination: destination.into(),
        writable: true,
    });
    container
}

/// What a live engine shows, and somebody who follows it.
pub(super) fn state(containers: Vec<Container>) -> (Arc<State>, watch::Receiver<Arc<State>>) {
    let by_id = |container: Container| (Arc::clone(&container.id), Arc::new(container));
    let state = Arc::new(State {
        engine: EngineStatus::Live {
            version: "28".to_owned(),
        },
        containers: containers.into_iter().map(by_id).collect(),
    });
    let (_sender, receiver) = watch::channel(Arc::clone(&state));
    (state, receiver)
}
