//! `serfnode.yml` and `DOCKER_RUN` of anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::forms::{self, PORTS_MAX};
use super::spec::{self, Home};
use super::yml::{self, CHILDREN_MAX, Child, MISTAKE_CHARS_MAX, MISTAKES_MAX, NAME_BYTES_MAX};
use super::{environment, run};
use crate::mutate::fuzz;

const FILES: [&[u8]; 6] = [
    b"serfnode:\n  role: web\n  peer: 10.0.0.1:7946\n  serf_port: 7947\n  service_port: 8080\n  \
      volumes: [/srv:/srv]\n  volumes_from: [store]\n  environment:\n    VERSION: 1.10\n\
      children:\n- db:\n    image: postgres:16\n- web:\n    image: nginx\n    links: [db]\n",
    b"children:\n- web:\n    image: nginx\n    command: nginx -g 'daemon off;'\n    ports: \
      ['8000:80', 9000, '127.0.0.1:7000-7009:70-79/udp']\n    expose: [81/udp, 100-200]\n    \
      volumes:\n      - /etc/site:/etc/site:ro\n      - /data\n    volumes_from: db:ro\n    \
      environment: [OWN=child, HOME]\n    working_dir: /srv\n    entrypoint: [tini, --]\n    user: \
      1000:1000\n    privileged: yes\n    directory: shared\n",
    b"a: &a [x, y]\nserfnode: &s {ports: &p ['1-1000'], environment: {A: b}}\nchildren:\n\
      - one: {image: i, ports: *p}\n- two: {<<: *s, image: j}\n",
    b"%YAML 1.2\n---\n\"children\": [ {'x': {image: |\n   text\n  }}]\n...\n",
    b"children:\n  - a:\n      image: \"\\u00e9\\x41\\n\"\n      command: >-\n        folded\n        \
      text\n      environment:\n        ? complex\n        : value\n        NULL: ~\n",
    b"[80, '81-90:91-100', {a: b}, ~, !!str 1, 0x10, .inf, 2026-01-01]\n",
];

const WORDS: [&str; 24] = [
    "children:\n",
    "serfnode:\n",
    "- web:\n",
    "    image: x\n",
    "ports: ",
    "1-1024",
    ", ",
    "&a ",
    "*a",
    "<<: *a",
    "[",
    "]",
    "{",
    "}",
    "? ",
    "!!binary ",
    "|\n",
    ">-\n",
    "---\n",
    "\t",
    "environment",
    "volumes",
    "links: [web]\n",
    "\u{feff}",
];

const LINES: [&[u8]; 4] = [
    b"-d --name x -p 80:80 -p 127.0.0.1:8000-8010:8000-8010/udp -v /a:/b:ro -e A=b --rm=false nginx",
    b"-it --memory 512m --shm-size=1g --restart on-failure:3 --label a=b --sysctl net.x=1 busybox sh -c 'a b'",
    b"--expose 1-1024 --link db:db --volumes-from x:ro --user 1:1 -w /srv --entrypoint '' img a b",
    b"--net host --pid host --privileged --cap-add ALL --device /dev/null --ulimit nofile=1:2 -- img",
];

const FLAGS: [&str; 14] = [
    "-p ",
    "--publish=1-1024:1-1024 ",
    "--expose 1-1024 ",
    "-e ",
    "-v ",
    "--memory ",
    "9999999999g",
    "--",
    "'",
    "\"",
    "\\",
    "img ",
    "--restart always:9 ",
    "=",
];

fn home() -> Home {
    Home {
        node: "n1".to_owned(),
        cluster: "c".to_owned(),
        container: Some("0123abcd".to_owned()),
        directory: Some(PathBuf::from("/run/muster/files")),
    }
}

#[test]
fn fuzz_files_of_children() {
    let mut children = 0;
    fuzz(2, &FILES, &WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        match yml::parse(&text) {
            Ok(yml) => {
                assert!(yml.children.len() <= CHILDREN_MAX);
                let names: Vec<String> = yml.children.iter().map(|one| one.name.clone()).collect();
                let once: BTreeSet<&String> = names.iter().collect();
                assert_eq!(once.len(), names.len());
                for child in &yml.children {
                    assert!((1..=NAME_BYTES_MAX).contains(&child.name.len()));
                    check(child, &names);
                }
                children += yml.children.len();
            }
            Err(mistakes) => {
                assert!((1..=MISTAKES_MAX + 1).contains(&mistakes.len()));
                let long = |text: &str| text.chars().count() > MISTAKE_CHARS_MAX + 100;
                let long = mistakes.iter().find(|one| long(&one.what));
                assert!(long.is_none(), "{long:?}");
            }
        }
        match yml::list(&text, "ports", forms::bounded(forms::publish)) {
            Ok(lists) => assert!(lists.iter().map(Vec::len).sum::<usize>() <= PORTS_MAX),
            Err(mistakes) => assert!((1..=MISTAKES_MAX + 1).contains(&mistakes.len())),
        }
    });
    assert!(children > 100, "only {children} children were read");
}

/// Lists are bounded, and the engine's words for it can be found or are refused.
fn check(child: &Child, names: &[String]) {
    // Its own and those that all have.
    assert!(child.ports.len() <= 2 * PORTS_MAX && child.expose.len() <= PORTS_MAX);
    assert!(!child.image.is_empty());
    if let Ok(spec) = spec::of_child(child, names, &home(), &BTreeMap::new()) {
        assert!(spec.body.is_object());
    }
}

#[test]
fn fuzz_lines_of_docker_run() {
    let mut read = 0_u32;
    fuzz(3, &LINES, &FLAGS, |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(mut run) = run::parse(&text) {
            read += 1;
            assert!(run.child.ports.len() <= PORTS_MAX && run.child.expose.len() <= PORTS_MAX);
            run.child.name = "run".to_owned();
            if let Ok(spec) = spec::of_run(&run, &home(), &BTreeMap::new()) {
                assert!(spec.body.is_object());
            }
        }
        let value = |name: &str| (name.to_owned(), text.clone().into_owned());
        let names = [
            "APP_PORTS",
            "APP_VOLUMES",
            "DOCKER_NAME",
            "DOCKER_RUN",
            "SERF_PORT",
        ];
        let found = environment::read(&names.map(value).into(), |_| false);
        assert!(found.shared.ports.len() <= PORTS_MAX);
    });
    assert!(read > 100, "only {read} lines were read");
}
