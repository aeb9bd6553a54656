//! Questions to members: the command line, handlers, and what happens when members
//! die, restart or answer with much.

use std::time::Duration;

use muster::{Query, QueryAnswers};
use muster_proto::v1::query_response::Event;
use muster_proto::v1::{MemberFilter, MemberStatus, QueryDone, query_answer};
use muster_tests::harness::cluster::{see, see_alive};
use muster_tests::harness::muster::Running;
use muster_tests::harness::wait::{self, DETECTION, SOON};
use muster_tests::harness::{Cluster, Daemon};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::cluster_of;

/// Longest time for many queries on a busy machine.
const BURST: Duration = Duration::from_secs(90);

/// Starts a handler and waits until it is registered.
async fn serving(node: &Daemon, names: &[&str], script: &str) -> Running {
    let args = [&["serve-query"], names, &["--", "sh", "-c", script]].concat();
    let handler = node.muster().start(&args);
    wait::holds("a registered handler", SOON, async || {
        handler.stderr_text().contains("serving")
    })
    .await;
    handler
}

/// One handler on each node that answers with the node's name.
async fn all_say_who(cluster: &Cluster) -> Vec<Running> {
    let mut handlers = Vec::new();
    for node in cluster.nodes() {
        let script = format!("printf '{} heard '; cat", node.name());
        handlers.push(serving(node, &["who"], &script).await);
    }
    handlers
}

fn client(node: &Daemon) -> muster::Client {
    let path = node.socket().display().to_string();
    muster::Client::connect(&muster::SocketPath::parse(&path).unwrap())
}

async fn ask(node: &Daemon, query: Query) -> QueryAnswers {
    client(node).query(query).await.unwrap()
}

fn query(name: &str) -> Query {
    Query {
        name: name.to_owned(),
        acks: true,
        timeout: Some(Duration::from_secs(60)),
        ..Query::default()
    }
}

/// Answers by member, sorted, and the end.
async fn all(mut answers: QueryAnswers) -> (Vec<(String, Result<Vec<u8>, String>)>, QueryDone) {
    let mut found = Vec::new();
    loop {
        let event = timeout(BURST, answers.next()).await.expect("no end");
        match event.unwrap().expect("an end without done") {
            Event::Answer(answer) => {
                let result = match answer.result.unwrap() {
                    query_answer::Result::Payload(payload) => Ok(payload.to_vec()),
                    query_answer::Result::Error(error) => Err(error),
                };
                found.push((answer.member, result));
            }
            Event::Done(done) => {
                found.sort();
                return (found, done);
            }
            Event::Started(_) | Event::Ack(_) => {}
        }
    }
}

fn names(found: &[(String, Result<Vec<u8>, String>)]) -> Vec<&str> {
    found.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn the_command_line_asks_and_answers() {
    let cluster = cluster_of(3)
        .each(|n, builder| {
            let builder = builder.tag("rack", ["r1", "r1", "r2"][n]);
            if n == 0 { builder } else { builder.role("web") }
        })
        .start()
        .await;
    let handlers = all_say_who(&cluster).await;
    let muster = cluster.node(0).muster();
    let text = muster.ok(&["query", "who", "hello"]).await;
    for n in 0..3 {
        let line = format!("answer from node-{n}: node-{n} heard hello");
        assert!(text.contains(&line), "{line} is missing in\n{text}");
        assert!(text.contains(&format!("ack from node-{n}")), "{text}");
    }
    assert!(text.ends_with("3 acks, 3 answers\n"), "{text}");

    let asked = async |args: &[&str]| {
        let args = [&["query", "who", "x", "--format", "json"], args].concat();
        let ran = muster.run(&args).await;
        let lines = ran.stdout.lines();
        let answers = lines.filter(|line| line.contains("\"type\":\"answer\""));
        let members = answers.map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["member"].as_str().unwrap().to_owned()
        });
        let mut members: Vec<String> = members.collect();
        members.sort();
        (ran.code, members.join(" "))
    };
    assert_eq!(
        asked(&["--tag", "rack=r1"]).await,
        (Some(0), "node-0 node-1".into())
    );
    assert_eq!(
        asked(&["--role", "web"]).await,
        (Some(0), "node-1 node-2".into())
    );
    assert_eq!(
        asked(&["--member", "node-2", "--member", "node-0", "--no-ack"]).await,
        (Some(0), "node-0 node-2".into())
    );
    assert_eq!(
        asked(&["--member", "nobody"]).await,
        (Some(3), String::new())
    );
    assert_eq!(
        asked(&["--role", "-bad", "--tag", "rack=("]).await.0,
        Some(2)
    );
    let piped = muster.clone().stdin("from a pipe");
    let text = piped.ok(&["query", "who", "-", "--member", "node-1"]).await;
    assert!(text.contains("node-1 heard from a pipe"), "{text}");
    // Nobody answers such, and the system's own names are not asked.
    muster.run(&["query", "what"]).await.expect_code(3);
    muster
        .run(&["query", "_serf_conflict"])
        .await
        .expect_code(2);
    drop(handlers);
}

#[tokio::test]
async fn a_handler_that_fails_says_why_and_one_that_goes_away_loses_its_query() {
    let cluster = cluster_of(2).start().await;
    let (zero, one) = (cluster.node(0), cluster.node(1));
    let fails = serving(one, &["fail"], "echo half; exit 7").await;
    let ran = zero.muster().run(&["query", "fail"]).await;
    assert!(ran.stdout.contains("error from node-1: "), "{}", ran.stdout);
    assert!(ran.stdout.contains('7'), "{}", ran.stdout);
    ran.expect_code(1);
    drop(fails);

    let mut slow = serving(one, &["slow*"], "sleep 600").await;
    let mut asked = ask(zero, query("slow-1")).await;
    loop {
        let event = timeout(SOON, asked.next()).await.unwrap().unwrap();
        if matches!(&event, Some(Event::Ack(ack)) if ack.member == "node-1") {
            break;
        }
    }
    // The command runs now, or is about to: either way its query is lost.
    slow.interrupt().await;
    let (found, done) = all(asked).await;
    let error = "handler went away".to_owned();
    assert_eq!(found, [("node-1".to_owned(), Err(error))]);
    assert_eq!(done.silent, Vec::<String>::new());
}

#[tokio::test]
async fn a_dead_member_is_silent_and_ends_the_wait() {
    let mut cluster = cluster_of(3).start().await;
    let handlers = all_say_who(&cluster).await;
    cluster.node_mut(2).pause();
    let begun = Instant::now();
    let asked = ask(cluster.node(0), query("who")).await;
    let ended = tokio::spawn(all(asked));
    cluster.node_mut(2).kill().await;
    let (found, done) = ended.await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(55),
        "the timeout was waited for"
    );
    assert_eq!(names(&found), ["node-0", "node-1"]);
    assert_eq!(done.silent, ["node-2"]);
    let muster = cluster.node(0).muster();
    let ran = muster.run(&["reachability", "-v"]).await.expect_code(0);
    assert!(
        ran.stdout.contains("2 of 2 live members answered"),
        "{}",
        ran.stdout
    );
    drop(handlers);
}

#[tokio::test]
async fn reachability_names_who_is_missing() {
    let mut cluster = cluster_of(3).start().await;
    let muster = cluster.node(0).muster();
    let reached = muster.json(&["reachability"]).await;
    assert_eq!(
        reached,
        json!({"live": 3, "acks": 3, "missing": [], "extra": [], "duplicate": []})
    );
    cluster.node_mut(1).pause();
    let ran = muster.run(&["reachability", "--timeout", "1s"]).await;
    cluster.node_mut(1).resume();
    assert!(ran.stderr.contains("missing: node-1"), "{}", ran.stderr);
    ran.expect_code(1);
}

#[tokio::test]
async fn who_is_slow_is_named_at_the_timeout() {
    let cluster = cluster_of(2).start().await;
    let slow = serving(cluster.node(1), &["nap"], "exec sleep 600").await;
    let muster = cluster.node(0).muster();
    let ran = muster.run(&["query", "nap", "--timeout", "1s"]).await;
    assert!(
        ran.stderr.contains("no answer in time from node-1"),
        "{}",
        ran.stderr
    );
    ran.expect_code(5);
    drop(slow);
}

#[tokio::test]
async fn answers_of_a_mebibyte_arrive_whole_and_longer_ones_say_so() {
    let cluster = cluster_of(3).start().await;
    let script = "head -c 1048576 /dev/zero";
    let mut handlers = Vec::new();
    for node in cluster.nodes() {
        handlers.push(serving(node, &["dump"], script).await);
    }
    let (found, _) = all(ask(cluster.node(0), query("dump")).await).await;
    assert_eq!(found.len(), 3);
    for (name, payload) in found {
        assert_eq!(payload.unwrap().len(), 1 << 20, "{name}");
    }
    let more = "head -c 1048577 /dev/zero; sleep 600";
    let _more = serving(cluster.node(1), &["more"], more).await;
    let ran = cluster.node(0).muster().run(&["query", "more"]).await;
    let ran = ran.expect_code(0);
    assert!(ran.stdout.contains("(truncated)"), "no word of the cut");
    drop(handlers);
}

#[tokio::test]
async fn a_thousand_queries_at_once_are_all_answered() {
    const COUNT: usize = 1_000;
    let cluster = cluster_of(3).start().await;
    let client = client(cluster.node(0));
    let ping = || Query {
        timeout: Some(BURST),
        ..query("_muster_ping")
    };
    let asks = (0..COUNT).map(|_| async { all(client.query(ping()).await.unwrap()).await.1 });
    for done in futures_util::future::join_all(asks).await {
        assert_eq!((done.acks, done.silent), (3, vec![]));
    }
    let mut api = cluster.node(0).api().await;
    assert!(api.metric("muster_queries_asking").await < 1.0);
}

#[tokio::test]
async fn an_asker_that_dies_is_not_answered_and_nobody_is_stuck() {
    let mut cluster = cluster_of(3).start().await;
    let slow = serving(cluster.node(1), &["nap"], "exec sleep 600").await;
    let mut asked = ask(cluster.node(0), query("nap")).await;
    loop {
        let event = timeout(SOON, asked.next()).await.unwrap().unwrap();
        if matches!(&event, Some(Event::Ack(ack)) if ack.member == "node-1") {
            break;
        }
    }
    cluster.node_mut(0).kill().await;
    // node-2 may have said that it got the query before the asker died.
    while let Ok(event) = timeout(SOON, asked.next()).await.unwrap() {
        assert!(matches!(event, Some(Event::Ack(_))), "{event:?}");
    }
    let failed = see(cluster.node(1), "node-0", MemberStatus::Failed, DETECTION);
    failed.await;
    // The others go on asking each other.
    let ran = cluster.node(2).muster().run(&["reachability"]).await;
    ran.expect_code(0);
    drop(slow);
}

#[tokio::test]
async fn an_asker_that_gives_up_frees_those_who_answer() {
    let cluster = cluster_of(2).start().await;
    let slow = serving(cluster.node(1), &["nap"], "exec sleep 600").await;
    let asked = ask(cluster.node(0), query("nap")).await;
    let mut api = cluster.node(1).api().await;
    let mut answering = async |wanted: f64| {
        wait::holds("queries being answered", SOON, async || {
            let now = api.metric("muster_queries_answering").await;
            (now - wanted).abs() < 0.5
        })
        .await;
    };
    answering(1.0).await;
    drop(asked);
    answering(0.0).await;
    drop(slow);
}

#[tokio::test]
async fn a_member_that_restarts_midway_does_not_hold_up_the_end() {
    let mut cluster = cluster_of(3).start().await;
    let slow = serving(cluster.node(2), &["nap"], "exec sleep 600").await;
    let filter = MemberFilter {
        names: vec!["node-2".to_owned()],
        ..MemberFilter::default()
    };
    let asked = ask(
        cluster.node(0),
        Query {
            target: filter,
            ..query("nap")
        },
    )
    .await;
    let ended = tokio::spawn(all(asked));
    cluster.node_mut(2).kill().await;
    cluster.node_mut(2).restart().await;
    see_alive(cluster.node(0), 3).await;
    let begun = Instant::now();
    let (found, done) = ended.await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(50),
        "the timeout was waited for"
    );
    assert_eq!(found, []);
    assert_eq!([done.silent, done.unfinished].concat(), ["node-2"]);
    drop(slow);
}

#[tokio::test]
async fn only_administrators_serve_queries() {
    let node = crate::daemon("one").child_socket().ready().await;
    let muster = node.muster().socket(&node.child_socket());
    let ran = muster.run(&["serve-query", "who", "--", "true"]).await;
    assert!(ran.stderr.contains("admin"), "{}", ran.stderr);
    ran.expect_code(1);
    muster.run(&["query", "_muster_ping"]).await.expect_code(0);
}
