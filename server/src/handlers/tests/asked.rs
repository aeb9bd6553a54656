//! Queries.

use bytes::Bytes;

use super::*;
use crate::queries::{ANSWER_BYTES_MAX, Outcome, Query, QueryId};

async fn bench(specs: &[&str]) -> Bench {
    let bench = Bench::new(specs);
    let handlers = bench.start();
    handlers.replace(bench.config.specs.clone()).await.unwrap();
    bench
}

/// Asks the handlers of this node.
async fn ask(bench: &Bench, name: &str, payload: &'static [u8], within: Duration) -> Outcome {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let by = now.unwrap() + within;
    let query = Query {
        id: QueryId {
            origin: Arc::from("asker"),
            boot: 1,
            sequence: 1,
        },
        name: name.to_owned(),
        payload: Bytes::from_static(payload),
        lamport: 1,
        deadline: tokio::time::Instant::now() + within,
        deadline_unix_ms: u64::try_from(by.as_millis()).unwrap(),
    };
    let answer = bench.queries.run(&Arc::new(query));
    timeout(SOON, answer).await.expect("no answer")
}

fn text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Answer(answer) => String::from_utf8(answer.payload.to_vec()).unwrap(),
        Outcome::Failed(error) => format!("error: {error}"),
        Outcome::Nothing => "nothing".to_owned(),
    }
}

#[tokio::test]
async fn what_is_printed_is_the_answer() {
    let mut bench = bench(&[
        "query:load=echo $SERF_QUERY_NAME $MUSTER_ORIGIN; cat; echo log >&2",
        "user=true",
    ])
    .await;
    let answer = ask(&bench, "load", b"pay", SOON).await;
    assert_eq!(text(answer), "load asker\npay\n");
    assert_eq!(ask(&bench, "other", b"", SOON).await, Outcome::Nothing);
    bench.stop().await;
}

#[tokio::test]
async fn failures_silence_and_floods() {
    let mut bench = bench(&[
        "query:fail=echo half; echo $(seq 1000) why not >&2; exit 3",
        "query:pass=true",
        "query:flood=head -c 2000000 /dev/zero",
        "query:slow=sleep 60",
        "query:cut,timeout:50ms=echo early; sleep 60",
    ])
    .await;
    let failed = text(ask(&bench, "fail", b"", SOON).await);
    assert!(
        failed.starts_with("error: exit code 3: ") && failed.ends_with(" why not"),
        "{failed}"
    );
    assert!(failed.len() < 1_100, "{failed}");
    assert_eq!(ask(&bench, "pass", b"", SOON).await, Outcome::Nothing);
    let Outcome::Answer(flood) = ask(&bench, "flood", b"", SOON).await else {
        panic!("no answer");
    };
    assert_eq!(
        (flood.payload.len(), flood.truncated),
        (ANSWER_BYTES_MAX, true)
    );
    // Nobody waits beyond the deadline of the asker.
    let late = text(ask(&bench, "slow", b"", Duration::from_millis(100)).await);
    assert!(late.contains("too long"), "{late}");
    let cut = text(ask(&bench, "cut", b"", SOON).await);
    assert_eq!(cut, "error: killed after 50ms: it took too long");
    bench.stop().await;
}

#[tokio::test]
async fn queries_do_not_wait_for_events_of_the_same_handler() {
    let mut bench =
        bench(&["concurrency:1=case $SERF_EVENT in query) echo answer;; *) sleep 60;; esac"]).await;
    bench.push(vec![event(&origin("a", 1), 1, "e", b"")]);
    assert_eq!(text(ask(&bench, "q", b"", SOON).await), "answer\n");
    bench.stop().await;
}

#[tokio::test]
async fn a_thousand_queries_at_once_are_answered_or_told_busy() {
    let mut bench = bench(&["query:q=echo $MUSTER_ORIGIN"]).await;
    let all = futures_util::future::join_all((0..1_000).map(|_| ask(&bench, "q", b"", SOON)));
    let mut answers = BTreeMap::new();
    for outcome in all.await {
        *answers.entry(text(outcome)).or_insert(0) += 1;
    }
    let (good, busy) = (answers["asker\n"], answers["error: busy"]);
    assert_eq!(good + busy, 1_000, "{answers:?}");
    assert!(good >= 256, "{answers:?}");
    bench.stop().await;
}
