//! The script.

use std::time::Duration;

use muster_tests::harness::wait::{self, DETECTION, SOON};

use crate::normal;
use crate::sides::{Kind, Said, Side, TOKEN};

/// What one step printed.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) step: &'static str,
    pub(crate) lines: Vec<String>,
}

/// One command against alpha whose output is compared as it is.
struct Step(&'static str, &'static [&'static str]);

/// With one node alone.
const ALONE: &[Step] = &[
    Step("members", &["members"]),
    Step("members-detailed", &["members", "-detailed"]),
    Step("members-json", &["members", "-format", "json"]),
    Step(
        "members-json-detailed",
        &["members", "-detailed", "-format=json"],
    ),
    Step("members-bad-format", &["members", "-format=xml"]),
    Step("info", &["info"]),
    Step("info-json", &["info", "-format=json"]),
];

/// With two nodes.
const TOGETHER: &[Step] = &[
    Step("members-none", &["members", "-status=failed"]),
    Step("members-tag", &["members", "-tag", "role=w.b"]),
    Step("members-tag-part", &["members", "-tag", "role=we"]),
    Step(
        "members-two-tags",
        &["members", "-tag", "role=web", "-tag", "zone=eu"],
    ),
    Step("members-role", &["members", "-role=db"]),
    Step("members-name", &["members", "-name", "al.*"]),
    Step("members-name-part", &["members", "-name", "lph"]),
    Step(
        "members-json-one",
        &["members", "-name", "beta", "-format=json"],
    ),
    Step("members-bad-regex", &["members", "-name", "al("]),
    Step("event", &["event", "deploy", "now"]),
    Step("event-at-once", &["event", "-coalesce=false", "restart"]),
    Step("event-no-name", &["event"]),
    Step("event-too-many", &["event", "a", "b", "c"]),
    Step("tags-none", &["tags"]),
    Step("tags-bad", &["tags", "-set", "nothing"]),
    Step("force-leave-unknown", &["force-leave", "nosuch"]),
    Step("force-leave-no-name", &["force-leave"]),
    Step("join-nobody", &["join"]),
    Step("query", &["query", "-timeout=1s", "load", "now"]),
    Step(
        "query-one",
        &["query", "-timeout=1s", "-node=alpha", "load"],
    ),
    Step(
        "query-json",
        &["query", "-timeout=1s", "-node=beta", "-format=json", "load"],
    ),
    Step(
        "query-tag",
        &["query", "-timeout=1s", "-tag", "role=w.b", "load"],
    ),
    Step(
        "query-tag-part",
        &["query", "-timeout=1s", "-tag", "role=^w", "load"],
    ),
    Step(
        "query-nobody",
        &["query", "-timeout=1s", "-node=nosuch", "load"],
    ),
    Step("query-no-ack", &["query", "-timeout=1s", "-no-ack", "load"]),
    Step(
        "query-relay",
        &[
            "query",
            "-timeout=1s",
            "-relay-factor=1",
            "-node=beta",
            "load",
        ],
    ),
    Step("query-reserved", &["query", "-timeout=1s", "_serf_stats"]),
    Step("query-no-name", &["query"]),
    Step("reachability", &["reachability"]),
    Step("reachability-verbose", &["reachability", "-verbose"]),
    Step("rtt-unknown", &["rtt", "nosuch"]),
    Step("monitor-bad-level", &["monitor", "-log-level=loud"]),
    Step("info-again", &["info"]),
];

/// Plays all of it.
pub(crate) async fn play(kind: Kind) -> Vec<Scene> {
    let mut play = Play {
        side: Side::new(kind),
        scenes: Vec::new(),
    };
    play.side.start("alpha", &["role=web"]).await;
    play.steps(ALONE).await;
    play.side.start("beta", &["role=db"]).await;
    let both = |text: &str| text.matches(" alive").count() == 2;
    for node in ["alpha", "beta"] {
        play.side.until(node, &["members"], both, SOON).await;
    }
    let all = play.side.run("alpha", &["members"], Some(TOKEN)).await;
    play.told("members-both", all, true);
    play.steps(TOGETHER).await;
    let info = play.side.run("beta", &["info"], Some(TOKEN)).await;
    play.told("info-handlers", info, false);
    play.tags().await;
    play.joins().await;
    play.tokens().await;
    play.large_event().await;
    play.monitor().await;
    play.failure().await;
    play.leave().await;
    play.scenes
}

/// The key that the sealed cluster begins with, and the one that it changes to.
const KEYS: [&str; 2] = [
    "c2VjcmV0IG51bWJlciBvbmU6IDE2IGJ5dGVzICsgMTY=",
    "c2VjcmV0IG51bWJlciB0d286IDE2IGJ5dGVzICsgMTY=",
];

/// A rotation of keys, step by step.
const ROTATION: &[Step] = &[
    Step("keys-list", &["keys", "-list"]),
    Step("keys-use-unknown", &["keys", "-use", KEYS[1]]),
    Step("keys-install", &["keys", "-install", KEYS[1]]),
    Step("keys-install-again", &["keys", "-install", KEYS[1]]),
    Step("keys-list-two", &["keys", "-list"]),
    Step("keys-remove-primary", &["keys", "-remove", KEYS[0]]),
    Step("keys-use", &["keys", "-use", KEYS[1]]),
    Step("keys-remove", &["keys", "-remove", KEYS[0]]),
    Step("keys-remove-again", &["keys", "-remove", KEYS[0]]),
    Step("keys-list-one", &["keys", "-list"]),
    Step("keys-install-bad", &["keys", "-install", "no key"]),
    Step("keys-nothing", &["keys"]),
    Step("keys-two", &["keys", "-list", "-use", KEYS[0]]),
    Step("members-after", &["members"]),
];

/// Plays a rotation of keys in a sealed cluster.
pub(crate) async fn rotate(kind: Kind) -> Vec<Scene> {
    let mut play = Play {
        side: Side::sealed(kind, KEYS[0]),
        scenes: Vec::new(),
    };
    for (node, tags) in [("alpha", "role=web"), ("beta", "role=db")] {
        play.side.start(node, &[tags]).await;
    }
    let both = |text: &str| text.matches(" alive").count() == 2;
    for node in ["alpha", "beta"] {
        play.side.until(node, &["members"], both, SOON).await;
    }
    play.steps(ROTATION).await;
    play.scenes
}

struct Play {
    side: Side,
    scenes: Vec<Scene>,
}

impl Play {
    async fn steps(&mut self, steps: &[Step]) {
        for Step(name, args) in steps {
            self.step(name, args).await;
        }
    }

    async fn step(&mut self, step: &'static str, args: &[&str]) {
        let said = self.side.run("alpha", args, Some(TOKEN)).await;
        // Who answers first is a matter of chance.
        let any_order = ["query", "reachability", "keys", "members-after"]
            .iter()
            .any(|kind| step.starts_with(kind));
        self.told(step, said, any_order);
    }

    /// Notes what a command printed; `any_order` where serf's order is random.
    fn told(&mut self, step: &'static str, said: Said, any_order: bool) {
        let addresses = self.side.addresses();
        let mut lines = normal::lines(&said.stdout, &addresses);
        if any_order {
            lines = normal::sorted(lines);
        }
        let errors = normal::lines(&said.stderr, &addresses);
        lines.extend(errors.into_iter().map(|line| format!("stderr: {line}")));
        lines.push(format!("exit {:?}", said.code));
        self.scenes.push(Scene { step, lines });
    }

    async fn tags(&mut self) {
        self.step("tags-set", &["tags", "-set", "zone=eu"]).await;
        self.step("tags-set-seen", &["members", "-name=alpha"])
            .await;
        self.step("tags-delete", &["tags", "-delete", "zone"]).await;
        self.step("tags-delete-seen", &["members", "-name=alpha"])
            .await;
        let beta_sees = ["members", "-name=alpha", "-tag", "zone=us"];
        self.step(
            "tags-both",
            &["tags", "-set", "zone=us", "-delete", "nosuch"],
        )
        .await;
        let seen = |text: &str| text.contains("zone=us");
        self.side.until("beta", &beta_sees, seen, SOON).await;
        let said = self.side.run("beta", &beta_sees, Some(TOKEN)).await;
        self.told("tags-from-beta", said, false);
    }

    async fn joins(&mut self) {
        let beta = self.side.node("beta").bind.to_string();
        self.step("join", &["join", &beta]).await;
        self.step("join-replay", &["join", "-replay", &beta]).await;
        self.step("join-refused", &["join", "127.0.0.1:1"]).await;
        self.step("join-some", &["join", "127.0.0.1:1", &beta])
            .await;
        self.step("join-two-refused", &["join", "127.0.0.1:1", "127.0.0.1:2"])
            .await;
    }

    async fn tokens(&mut self) {
        for (step, token) in [("token-none", None), ("token-wrong", Some("wrong"))] {
            let said = self.side.run("alpha", &["members"], token).await;
            self.told(step, said, false);
        }
        for (step, args) in [
            ("token-none-event", &["event", "x"][..]),
            ("token-none-leave", &["leave"]),
            ("token-none-join", &["join", "127.0.0.1:1"]),
            ("token-none-monitor", &["monitor"]),
            ("token-none-info", &["info"]),
        ] {
            let said = self.side.run("alpha", args, None).await;
            self.told(step, said, false);
        }
    }

    async fn large_event(&mut self) {
        let payload = "x".repeat(2_000);
        self.step("event-large", &["event", "big", &payload]).await;
    }

    /// What a monitor prints of events, and the shape of the lines of the log.
    async fn monitor(&mut self) {
        let mut monitor = self
            .side
            .begin("beta", &["monitor", "-log-level=INFO"], Some(TOKEN));
        // The monitor shows events once it shows one.
        let limit = Duration::from_secs(30);
        wait::until("a monitor that shows events", limit, async || {
            self.side
                .run("alpha", &["event", "-coalesce=false", "probe"], Some(TOKEN))
                .await;
            let text = monitor.stdout_text();
            if text.contains("Name: \"probe\"") {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
        for args in [
            &["event", "-coalesce=false", "first", "\u{1}payload"][..],
            &["event", "-coalesce=false", "second"],
            &["tags", "-set", "zone=moved"],
            &["event", "-coalesce=false", "last"],
        ] {
            self.side.run("alpha", args, Some(TOKEN)).await;
        }
        let shows = |what: &str| monitor.stdout_text().contains(what);
        let wanted = [
            "Name: \"first\"",
            "Name: \"second\"",
            "\"zone\":\"moved\"",
            "Name: \"last\"",
        ];
        wait::holds("all events shown", limit, async || {
            wanted.iter().all(|what| shows(what))
        })
        .await;
        monitor.signal(rustix::process::Signal::INT);
        let code = monitor.wait_exit(SOON).await.code();
        let text = monitor.stdout_text();
        for (step, name) in [("monitor-first", "first"), ("monitor-second", "second")] {
            let block = block(&text, &format!("Name: \"{name}\""));
            // The command prints fields in any order.
            let lines = normal::sorted(normal::lines(&block, &self.side.addresses()));
            self.scenes.push(Scene { step, lines });
        }
        let block = block(&text, "\"zone\":\"moved\"");
        let lines = normal::sorted(normal::lines(&block, &self.side.addresses()));
        let step = "monitor-update";
        self.scenes.push(Scene { step, lines });
        let shapes = text
            .lines()
            .filter(|line| line.get(..4).is_some_and(|y| y.parse::<u32>().is_ok()));
        let bad: Vec<String> = shapes
            .filter(|line| !is_log(line))
            .map(str::to_owned)
            .collect();
        assert_eq!(bad, Vec::<String>::new(), "lines of the log");
        let lines = vec![format!("exit {code:?}")];
        let step = "monitor-end";
        self.scenes.push(Scene { step, lines });
    }

    /// A node dies and is put out of the cluster.
    async fn failure(&mut self) {
        self.side.start("gamma", &["role=cache"]).await;
        let three = |text: &str| text.matches(" alive").count() == 3;
        for node in ["alpha", "beta"] {
            self.side.until(node, &["members"], three, SOON).await;
        }
        self.side.node("gamma").kill().await;
        let failed = |text: &str| text.contains(" failed");
        for node in ["alpha", "beta"] {
            self.side
                .until(node, &["members", "-name=gamma"], failed, DETECTION)
                .await;
        }
        self.step("failed", &["members", "-status=failed"]).await;
        self.step("failed-info", &["info"]).await;
        self.handlers().await;
        self.step("force-leave", &["force-leave", "gamma"]).await;
        let left = |text: &str| text.contains(" left");
        self.side
            .until("beta", &["members", "-name=gamma"], left, SOON)
            .await;
        self.step("forced-out", &["members", "-name=gamma"]).await;
        self.step("prune", &["force-leave", "-prune", "gamma"])
            .await;
        let gone = |text: &str| !text.contains("gamma");
        for node in ["beta", "alpha"] {
            self.side.until(node, &["members"], gone, SOON).await;
        }
        self.step("pruned", &["members", "-name=gamma"]).await;
    }

    /// What the handler of beta was told of all that: environment and standard input.
    async fn handlers(&mut self) {
        wait::until("the news of a failure", DETECTION, async || {
            let handled = self.side.handled();
            match handled.contains("-- member-failed") {
                true => Ok(()),
                false => Err(handled),
            }
        })
        .await;
        // Calls of different kinds have no order among each other.
        let handled = self.side.handled();
        let mut calls: Vec<&str> = handled.split("-- ").collect();
        calls.sort_unstable();
        let lines = normal::lines(&calls.concat(), &self.side.addresses());
        let step = "handlers";
        self.scenes.push(Scene { step, lines });
    }

    /// A node leaves; its process ends.
    async fn leave(&mut self) {
        let said = self.side.run("beta", &["leave"], Some(TOKEN)).await;
        self.told("leave", said, false);
        let code = self.side.node("beta").exit_code().await;
        let lines = vec![format!("exit {code:?}")];
        let step = "leave-exit";
        self.scenes.push(Scene { step, lines });
        let left = |text: &str| text.contains(" left");
        self.side
            .until("alpha", &["members", "-name=beta"], left, SOON)
            .await;
        self.step("left", &["members", "-name=beta"]).await;
        let said = self.side.run("beta", &["members"], Some(TOKEN)).await;
        self.told("gone", said, false);
    }
}

/// The lines of the event that holds a text.
fn block(text: &str, holds: &str) -> String {
    let mut blocks = text.split("Event Info:\n");
    let found = blocks
        .find(|block| block.contains(holds))
        .unwrap_or_default();
    let lines = found.lines().take_while(|line| line.starts_with('\t'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// `2026/11/21 14:52:16 [INFO] where: what`.
fn is_log(line: &str) -> bool {
    let Some(rest) = normal::lines(line, &[])
        .concat()
        .strip_prefix("<time> [")
        .map(str::to_owned)
    else {
        return false;
    };
    let Some((level, rest)) = rest.split_once("] ") else {
        return false;
    };
    let place = rest.split_once(": ").map_or("", |(place, _)| place);
    ["TRACE", "DEBUG", "INFO", "WARN", "ERR"].contains(&level) && !place.is_empty()
}
