//! What becomes of children, told as serfnode's supervisor told it: an event `supervisor`
//! whose payload is `{"processname", "groupname", "from_state", ..., "eventname", "node"}`,
//! all values strings.
//!
//! | the engine says | event | with |
//! |---|---|---|
//! | running | `PROCESS_STATE_STARTING`, `PROCESS_STATE_RUNNING` | `tries`; `pid` |
//! | restarting | `PROCESS_STATE_BACKOFF` | `tries` |
//! | exited | `PROCESS_STATE_EXITED`, after a restart loop `PROCESS_STATE_FATAL` | `expected`, `pid` |
//! | dead | `PROCESS_STATE_FATAL` | |
//! | gone while it ran | `PROCESS_STATE_STOPPED` | `pid` |

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::docker::Container;

/// Name of the event.
pub const EVENT: &str = "supervisor";

/// A run at least this long ends a restart loop, as in the engine's own reckoning.
const STABLE_MS: u64 = 10_000;

/// A state of supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Stopped,
    Starting,
    Running,
    Backoff,
    Exited,
    Fatal,
}

impl Process {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Backoff => "BACKOFF",
            Self::Exited => "EXITED",
            Self::Fatal => "FATAL",
        }
    }
}

/// How a child was seen last.
#[derive(Debug, Clone)]
struct Seen {
    name: String,
    process: Process,
    pid: u32,
    started_unix_ms: u64,
    tries: u32,
}

/// One change of one child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    name: String,
    from: Process,
    to: Process,
    with: Vec<(&'static str, String)>,
}

impl Notice {
    /// The payload of the event.
    #[must_use]
    pub fn payload(&self, node: &str) -> Vec<u8> {
        let mut fields = Map::new();
        let mut put = |key: &str, value: &str| fields.insert(key.to_owned(), Value::from(value));
        put("processname", &self.name);
        put("groupname", &self.name);
        put("from_state", self.from.as_str());
        for (key, value) in &self.with {
            put(key, value);
        }
        let event = format!("PROCESS_STATE_{}", self.to.as_str());
        put("eventname", &event);
        put("node", node);
        Value::Object(fields).to_string().into_bytes()
    }
}

/// Follows the children of a node. What is there at the first look is told to nobody.
#[derive(Debug, Default)]
pub struct Supervision {
    seen: Option<BTreeMap<Arc<str>, Seen>>,
}

impl Supervision {
    /// What happened since the last look. `children` are all there are, as a live engine
    /// says.
    pub fn look(&mut self, children: &[Arc<Container>], now_unix_ms: u64) -> Vec<Notice> {
        let mut notices = Vec::new();
        let first = self.seen.is_none();
        let mut before = self.seen.take().unwrap_or_default();
        let mut after = BTreeMap::new();
        for child in children {
            let was = before.remove(&child.id);
            let mut seen = was.unwrap_or_else(|| Seen::new(child, first));
            seen.name.clone_from(&child.name);
            seen.follow(child, now_unix_ms, &mut notices);
            after.insert(Arc::clone(&child.id), seen);
        }
        for mut seen in before.into_values() {
            if matches!(seen.process, Process::Running | Process::Backoff) {
                let pid = seen.pid.to_string();
                seen.go(Process::Stopped, vec![("pid", pid)], &mut notices);
            }
        }
        self.seen = Some(after);
        notices
    }
}

impl Seen {
    fn new(child: &Container, as_it_is: bool) -> Self {
        let process = if as_it_is {
            process_of(child).unwrap_or(Process::Stopped)
        } else {
            Process::Stopped
        };
        Self {
            name: child.name.clone(),
            process,
            pid: if as_it_is { child.pid } else { 0 },
            started_unix_ms: if as_it_is { child.started_unix_ms } else { 0 },
            tries: 0,
        }
    }

    fn follow(&mut self, child: &Container, now_unix_ms: u64, notices: &mut Vec<Notice>) {
        let Some(process) = process_of(child) else {
            return;
        };
        let ran_anew = child.started_unix_ms != self.started_unix_ms;
        match process {
            Process::Running if self.process == Process::Running && !ran_anew => {}
            Process::Running => {
                if self.process == Process::Running {
                    self.exit(child, notices);
                }
                self.start(child, notices);
                let pid = child.pid.to_string();
                self.go(Process::Running, vec![("pid", pid)], notices);
            }
            Process::Backoff if self.process == Process::Backoff && !ran_anew => {}
            Process::Backoff => {
                let ran_ms = now_unix_ms.saturating_sub(child.started_unix_ms);
                self.tries = if ran_ms < STABLE_MS {
                    self.tries + 1
                } else {
                    1
                };
                let tries = self.tries.to_string();
                self.go(Process::Backoff, vec![("tries", tries)], notices);
            }
            Process::Exited if self.process == Process::Backoff => {
                self.go(Process::Fatal, Vec::new(), notices);
            }
            Process::Exited if self.process == Process::Running => self.exit(child, notices),
            Process::Exited if ran_anew && child.started_unix_ms > 0 => {
                self.start(child, notices);
                self.exit(child, notices);
            }
            Process::Fatal if self.process != Process::Fatal => {
                self.go(Process::Fatal, Vec::new(), notices);
            }
            Process::Stopped | Process::Starting | Process::Exited | Process::Fatal => {}
        }
        self.started_unix_ms = child.started_unix_ms;
        if child.pid > 0 {
            self.pid = child.pid;
        }
    }

    fn start(&mut self, child: &Container, notices: &mut Vec<Notice>) {
        let tries = self.tries.to_string();
        self.go(Process::Starting, vec![("tries", tries)], notices);
        self.pid = child.pid;
    }

    fn exit(&mut self, child: &Container, notices: &mut Vec<Notice>) {
        let expected = if child.exit_code == Some(0) { "1" } else { "0" };
        let with = vec![
            ("expected", expected.to_owned()),
            ("pid", self.pid.to_string()),
        ];
        self.go(Process::Exited, with, notices);
        self.tries = 0;
    }

    fn go(&mut self, to: Process, with: Vec<(&'static str, String)>, notices: &mut Vec<Notice>) {
        notices.push(Notice {
            name: self.name.clone(),
            from: self.process,
            to,
            with,
        });
        self.process = to;
    }
}

/// What the engine's word is to supervisor. A paused one runs; one that is being removed
/// is still what it was.
fn process_of(child: &Container) -> Option<Process> {
    match child.state.as_str() {
        "created" => Some(Process::Stopped),
        "running" | "paused" => Some(Process::Running),
        "restarting" => Some(Process::Backoff),
        "exited" => Some(Process::Exited),
        "dead" => Some(Process::Fatal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::docker::Health;

    fn child(state: &str, pid: u32, started: u64, exit: Option<i64>) -> Arc<Container> {
        Arc::new(Container {
            id: Arc::from("id"),
            name: "web".to_owned(),
            image: String::new(),
            image_id: String::new(),
            state: state.to_owned(),
            health: Health::None,
            labels: BTreeMap::new(),
            ports: Vec::new(),
            networks: BTreeMap::new(),
            network_mode: String::new(),
            created_unix_ms: 1,
            started_unix_ms: started,
            exit_code: exit,
            pid,
            hosts_path: None,
            mounts: Vec::new(),
            read_only: false,
            inspect: RawValue::from_string("{}".to_owned()).unwrap(),
        })
    }

    /// `FROM>TO:values` of each notice.
    fn look(supervision: &mut Supervision, child: Option<Arc<Container>>, now: u64) -> Vec<String> {
        let children: Vec<_> = child.into_iter().collect();
        let notices = supervision.look(&children, now);
        let notices = notices.iter().map(|notice| {
            let with: Vec<_> = notice
                .with
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            let (from, to) = (notice.from.as_str(), notice.to.as_str());
            format!("{from}>{to} {}", with.join(" "))
                .trim_end()
                .to_owned()
        });
        notices.collect()
    }

    #[test]
    fn a_life_is_told_step_by_step() {
        let mut all = Supervision::default();
        let none: [&str; 0] = [];
        assert_eq!(look(&mut all, None, 0), none);
        assert_eq!(look(&mut all, Some(child("created", 0, 0, None)), 1), none);
        let running = child("running", 7, 5, None);
        assert_eq!(
            look(&mut all, Some(Arc::clone(&running)), 5),
            ["STOPPED>STARTING tries=0", "STARTING>RUNNING pid=7"]
        );
        assert_eq!(look(&mut all, Some(running), 6), none);
        assert_eq!(look(&mut all, Some(child("paused", 7, 5, None)), 6), none);
        let exited = child("exited", 0, 5, Some(0));
        assert_eq!(
            look(&mut all, Some(Arc::clone(&exited)), 9),
            ["RUNNING>EXITED expected=1 pid=7"]
        );
        assert_eq!(look(&mut all, Some(exited), 9), none);
        assert_eq!(
            look(&mut all, Some(child("removing", 0, 5, Some(0))), 9),
            none
        );
        assert_eq!(look(&mut all, None, 9), none);
    }

    #[test]
    fn a_restart_loop_backs_off_and_is_fatal_in_the_end() {
        let mut all = Supervision::default();
        look(&mut all, None, 0);
        look(&mut all, Some(child("running", 7, 5, None)), 5);
        let loops = child("restarting", 0, 5, Some(1));
        assert_eq!(look(&mut all, Some(loops), 6), ["RUNNING>BACKOFF tries=1"]);
        assert_eq!(
            look(&mut all, Some(child("running", 8, 10, None)), 10),
            ["BACKOFF>STARTING tries=1", "STARTING>RUNNING pid=8"]
        );
        assert_eq!(
            look(&mut all, Some(child("restarting", 0, 10, Some(1))), 11),
            ["RUNNING>BACKOFF tries=2"]
        );
        assert_eq!(
            look(&mut all, Some(child("exited", 0, 10, Some(1))), 12),
            ["BACKOFF>FATAL"]
        );
        // It ran well for a while, then fell once.
        look(&mut all, Some(child("running", 9, 20, None)), 20);
        let fell = child("restarting", 0, 20, Some(1));
        assert_eq!(
            look(&mut all, Some(fell), 20 + STABLE_MS),
            ["RUNNING>BACKOFF tries=1"]
        );
    }

    #[test]
    fn what_was_missed_between_two_looks_is_told() {
        let mut all = Supervision::default();
        // There at the first look: nobody is told.
        assert!(look(&mut all, Some(child("running", 7, 5, None)), 5).is_empty());
        assert_eq!(
            look(&mut all, Some(child("running", 8, 9, None)), 9),
            [
                "RUNNING>EXITED expected=0 pid=7",
                "EXITED>STARTING tries=0",
                "STARTING>RUNNING pid=8"
            ]
        );
        assert_eq!(look(&mut all, None, 10), ["RUNNING>STOPPED pid=8"]);
        // A short run that nobody saw.
        assert_eq!(
            look(&mut all, Some(child("exited", 0, 12, Some(3))), 13),
            [
                "STOPPED>STARTING tries=0",
                "STARTING>EXITED expected=0 pid=0"
            ]
        );
    }

    #[test]
    fn the_payload_is_supervisors_words() {
        let mut all = Supervision::default();
        all.look(&[], 0);
        let notices = all.look(&[child("running", 7, 5, None)], 5);
        let payload = String::from_utf8(notices[1].payload("node-1")).unwrap();
        assert_eq!(
            payload,
            r#"{"processname":"web","groupname":"web","from_state":"STARTING","pid":"7","eventname":"PROCESS_STATE_RUNNING","node":"node-1"}"#
        );
    }
}
