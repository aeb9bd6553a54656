//! Labels and names that anybody gives a container.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use muster_engine::name::check_role;
use muster_engine::{PUBLISHED_BYTES_MAX, published_bytes};

use super::testing::{container, live};
use super::*;
use crate::containers::labels::ROLES_PER_CONTAINER_MAX;
use crate::mutate::fuzz;

/// Lines of `LABEL=VALUE`.
const CORPUS: [&[u8]; 4] = [
    b"muster.role=web:80, metrics:9100,worker\nmuster.port=8080\nmuster.child=web\n",
    b"muster.service-ip=2001:db8::1\nmuster.network=front\nmuster.parent=a\nmuster.role=web\n",
    b"com.docker.compose.project=x\norg.opencontainers.image.title=A long title\nempty=\n=\n",
    b"muster.role=\nmuster.port=0\nmuster.service-ip=web.example\nmuster.network= \n",
];

const WORDS: [&str; 14] = [
    "muster.role=",
    "muster.port=",
    "\n",
    ",",
    ":",
    "web",
    ":65536",
    ":+8",
    "\u{202e}",
    "\x1b[31m",
    " ",
    "muster.service-ip=",
    "muster.parent=b\n",
    "\u{e9}",
];

#[test]
fn fuzz_labels_of_containers() {
    let mut roles = 0;
    fuzz(7, &CORPUS, &WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let pairs = text.split('\n').filter_map(|line| line.split_once('='));
        let labels: BTreeMap<String, String> = pairs
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .collect();
        let (said, bad) = labels::read(&labels, "a");
        let names: BTreeSet<&str> = said.roles.iter().map(|one| one.role.as_str()).collect();
        assert!(names.len() == said.roles.len() && names.len() <= ROLES_PER_CONTAINER_MAX);
        assert!(names.iter().all(|name| check_role(name).is_ok()));
        assert!(said.roles.iter().all(|one| one.port != Some(0)) && said.port != Some(0));
        for bad in &bad {
            let line = bad.to_string();
            assert!(line.len() < 1_500 && !line.contains('\n'), "{line}");
        }
        roles += said.roles.len();
        tell(labels, &text);
    });
    assert!(roles > 1_000, "only {roles} roles were read");
}

/// What is told has room, whatever one container is called; the others are told as well.
fn tell(labels: BTreeMap<String, String>, text: &str) {
    // The first to be told.
    let mut odd = container(3, "odd");
    odd.labels = labels;
    odd.name = text.to_owned();
    odd.image = text.chars().rev().collect();
    let config = Config {
        node: "a".to_owned(),
        service_ip: IpAddr::from([10, 0, 0, 1]),
        inspect_secrets: false,
    };
    let state = live(vec![container(1, "web"), odd, container(2, "db")]);
    let plan = plan(&state, None, &ChildFiles::default(), &config, false);
    let bytes = plan
        .values
        .iter()
        .map(|(key, value)| published_bytes(key, value));
    assert!(bytes.sum::<usize>() <= PUBLISHED_BYTES_MAX);
    let told = |nr: u32| {
        let id = format!("{nr:08x}").repeat(8);
        plan.values.contains_key(&summary::key(&id))
    };
    assert!(told(1) && told(2), "others are left out for one");
    assert_eq!(told(3), plan.left_out == 0);
}
