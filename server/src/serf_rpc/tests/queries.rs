//! Queries that clients ask and answer.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use super::super::limits::PENDING_QUERIES_MAX;
use super::harness::*;
use crate::queries::{Outcome, Query, QueryId};

/// A query as it comes from another member.
fn query(name: &str, sequence: u64) -> Arc<Query> {
    Arc::new(Query {
        id: QueryId {
            origin: Arc::from("other"),
            boot: 1,
            sequence,
        },
        name: name.to_owned(),
        payload: "what".into(),
        lamport: 40 + sequence,
        deadline: Instant::now() + LIMIT,
        deadline_unix_ms: 0,
    })
}

async fn streaming(served: &Served, filter: &str, token: bool) -> Client {
    let mut client = served.client().await;
    if token {
        assert_eq!(
            client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
            ""
        );
    }
    let body = json!({"Type": filter});
    assert_eq!(client.ask("stream", 2, Some(body)).await, "");
    client
}

#[tokio::test]
async fn a_query_that_nobody_matches_is_done_at_once() {
    let served = serve().await;
    let mut client = served.client().await;
    let body = json!({"Name": "q", "FilterNodes": ["nosuch"], "RequestAck": true});
    assert_eq!(client.ask("query", 1, Some(body)).await, "");
    let done = client.record(1).await;
    assert_eq!((done.kind.as_str(), done.from.as_str()), ("done", ""));
    assert_eq!(done.payload, None);
}

#[tokio::test]
async fn wrong_queries_are_refused_in_the_words_of_serf() {
    let served = serve().await;
    let mut client = served.client().await;
    for (body, word) in [
        (
            json!({"Name": "_serf_x"}),
            "Queries cannot contain the '_serf_' prefix",
        ),
        (json!({"Name": "_muster_x"}), "reserved"),
        (json!({"Name": "no name"}), "name: "),
        (json!({"Name": "q", "FilterTags": {"a": "("}}), "unclosed"),
    ] {
        let error = client.ask("query", 1, Some(body)).await;
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn filters_match_parts_of_tags_as_in_serf() {
    let served = serve().await;
    let mut client = served.client().await;
    // This node has the role web: the engine is asked, which the test holds up.
    served.answers.send_replace(false);
    let body = json!({"Name": "q", "FilterTags": {"role": "e"}, "Timeout": 20_000_000});
    let error = client.ask("query", 1, Some(body)).await;
    assert!(error.contains("could not be sent"), "{error}");
    let body = json!({"Name": "q", "FilterTags": {"role": "^e"}, "Timeout": 20_000_000});
    assert_eq!(client.ask("query", 2, Some(body)).await, "");
    assert_eq!(client.record(2).await.kind, "done");
}

#[tokio::test]
async fn a_client_answers_a_query_once() {
    let served = serve_closed(b"t").await;
    let mut client = streaming(&served, "query:load", true).await;
    let outcome = tokio::spawn(served.responders.run(&query("load", 1)));
    let asked = client.record(2).await;
    assert_eq!(
        (asked.event.as_str(), asked.name.as_str()),
        ("query", "load")
    );
    assert_eq!((asked.id, asked.lamport), (1, 41));
    assert_eq!(&asked.payload.unwrap().0[..], b"what");
    let respond = json!({"ID": asked.id, "Payload": "0.5"});
    assert_eq!(client.ask("respond", 3, Some(respond.clone())).await, "");
    let Outcome::Answer(answer) = outcome.await.unwrap() else {
        panic!("no answer");
    };
    assert_eq!(&answer.payload[..], b"0.5");
    let error = client.ask("respond", 4, Some(respond)).await;
    assert_eq!(error, "No pending queries matching ID");
}

#[tokio::test]
async fn an_answer_that_nobody_wants_any_more_is_refused() {
    let served = serve_closed(b"t").await;
    let mut client = streaming(&served, "query", true).await;
    let outcome = tokio::spawn(served.responders.run(&query("load", 1)));
    let asked = client.record(2).await;
    outcome.abort();
    _ = outcome.await.is_err();
    let respond = json!({"ID": asked.id, "Payload": "late"});
    let error = client.ask("respond", 3, Some(respond)).await;
    assert_eq!(error, "response is past the deadline");
}

#[tokio::test]
async fn who_goes_away_or_may_not_answer_leaves_the_query_to_others() {
    let served = serve_closed(b"t").await;
    let mut client = streaming(&served, "*", true).await;
    let outcome = tokio::spawn(served.responders.run(&query("load", 1)));
    assert_eq!(client.record(2).await.name, "load");
    drop(client);
    assert_eq!(outcome.await.unwrap(), Outcome::Nothing);
    let served = serve().await;
    let mut client = streaming(&served, "*", false).await;
    assert_eq!(
        served.responders.run(&query("load", 2)).await,
        Outcome::Nothing
    );
    assert_eq!(client.record(2).await.lamport, 42);
    let error = client
        .ask("respond", 3, Some(json!({"ID": 1, "Payload": "x"})))
        .await;
    assert_eq!(error, "Authentication required");
}

#[tokio::test]
async fn queries_that_wait_for_one_client_are_bounded() {
    let served = serve_closed(b"t").await;
    let mut client = streaming(&served, "query", true).await;
    let mut outcomes = Vec::new();
    for sequence in 0..PENDING_QUERIES_MAX as u64 {
        outcomes.push(tokio::spawn(
            served.responders.run(&query("load", sequence)),
        ));
        assert_eq!(client.record(2).await.id, sequence + 1);
    }
    let busy = served.responders.run(&query("load", 1_000)).await;
    assert_eq!(busy, Outcome::Failed("busy".to_owned()));
    assert_eq!(client.ask("stop", 3, Some(json!({"Stop": 2}))).await, "");
    for outcome in outcomes {
        outcome.abort();
    }
}
