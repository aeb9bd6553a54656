//! Containers for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::docker::{Container, EngineStatus, Health, State};

/// A running container whose id repeats a number.
pub(crate) fn container(nr: u32, name: &str) -> Container {
    let id = format!("{nr:08x}").repeat(8);
    let inspect = format!(r#"{{"Id":"{id}","Name":"/{name}","Config":{{"Env":["KEY=secret"]}}}}"#);
    Container {
        id: Arc::from(id),
        name: name.to_owned(),
        image: "img".to_owned(),
        image_id: format!("sha256:{}", "ab".repeat(32)),
        state: "running".to_owned(),
        health: Health::None,
        labels: BTreeMap::new(),
        ports: Vec::new(),
        networks: BTreeMap::new(),
        network_mode: "bridge".to_owned(),
        created_unix_ms: nr.into(),
        started_unix_ms: nr.into(),
        exit_code: None,
        pid: 1,
        hosts_path: None,
        mounts: Vec::new(),
        read_only: false,
        inspect: RawValue::from_string(inspect).unwrap(),
    }
}

pub(crate) fn labelled(mut container: Container, labels: &[(&str, &str)]) -> Container {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    container.labels.extend(labels);
    container
}

/// A live engine with these containers.
pub(crate) fn live(containers: Vec<Container>) -> State {
    let containers = containers.into_iter();
    State {
        engine: EngineStatus::Live {
            version: "20.10".to_owned(),
        },
        containers: containers
            .map(|one| (Arc::clone(&one.id), Arc::new(one)))
            .collect(),
    }
}
