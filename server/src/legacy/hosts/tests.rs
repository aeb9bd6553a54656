mod answering;
mod block;
mod disk;
mod fuzz;
mod model;
mod planning;
mod readers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_engine::Role;
use tempfile::TempDir;

use super::file::{HostsError, HostsFile, Outcome};
use super::plan::{Memory, Plan, QUARANTINE, SLOTS_EACH, SLOTS_MAX, Step, plan};
use super::*;
use crate::hub::testing::{member, with_status};

/// As the engine writes it.
const DOCKER: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                      172.17.0.2\ta0fb5f1a9626\n";

fn wanted(pairs: &[(&str, &str)]) -> Answers {
    let pair = |(role, ip): &(&str, &str)| ((*role).to_owned(), ip.parse().unwrap());
    pairs.iter().map(pair).collect()
}

/// What a resolver finds: names and their addresses, in the order of the file.
fn parse(text: &[u8]) -> BTreeMap<String, Vec<IpAddr>> {
    let text = std::str::from_utf8(text).unwrap();
    let mut found: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap();
        let mut words = line.split_whitespace();
        let Some(ip) = words.next() else { continue };
        // musl takes no indented line.
        assert!(!line.starts_with(char::is_whitespace), "{line:?}");
        for name in words {
            let ips = found.entry(name.to_owned()).or_default();
            ips.push(ip.parse().unwrap());
        }
    }
    found
}

fn apply(text: &mut Vec<u8>, plan: &Plan) {
    for step in &plan.steps {
        match step {
            Step::Append(block) => text.extend_from_slice(block),
            Step::Edit(edit) => {
                assert_eq!(&text[edit.at..edit.at + edit.before.len()], edit.before);
                let from = edit.at + edit.from;
                text[from..from + edit.bytes.len()].copy_from_slice(&edit.bytes);
            }
        }
    }
}

/// A file in memory, and a clock.
struct Scene {
    text: Vec<u8>,
    memory: Memory,
    now: Duration,
}

impl Scene {
    fn new(text: &str) -> Self {
        Self {
            text: text.as_bytes().to_vec(),
            memory: Memory::new(QUARANTINE),
            now: Duration::ZERO,
        }
    }

    /// Plans and applies until there is nothing to do at this time.
    fn set(&mut self, pairs: &[(&str, &str)]) -> Plan {
        loop {
            let plan = plan(&self.text, &wanted(pairs), &mut self.memory, self.now);
            apply(&mut self.text, &plan);
            self.memory.done(self.now);
            if !plan.more {
                return plan;
            }
        }
    }

    fn shows(&self, name: &str) -> Vec<String> {
        let found = parse(&self.text).remove(name).unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    /// What is not ours.
    fn rest(&self) -> String {
        let text = String::from_utf8(self.text.clone()).unwrap();
        let others = text
            .split_inclusive('\n')
            .filter(|line| !line.contains("# muster") && !line.contains(" muster"));
        others.collect()
    }

    fn free(&self) -> usize {
        let all = slot::slots(&self.text);
        all.iter()
            .filter(|slot| slot.state == slot::State::Free)
            .count()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

/// A path that nobody else uses, for the readers.
fn made(directory: &Path) -> PathBuf {
    let path = directory.join("hosts");
    fs::write(&path, DOCKER).unwrap();
    path
}
