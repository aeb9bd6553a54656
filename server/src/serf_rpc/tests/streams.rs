//! Streams of events and of the log.

use serde_json::json;

use super::super::limits::STREAMS_MAX;
use super::harness::*;
use crate::hub::EventUpdate;
use crate::hub::ring::EVENTS_MAX;
use crate::hub::testing::{event, gap, member, origin, with_tag};

async fn streaming(served: &Served, filter: &str) -> Client {
    let mut client = served.client().await;
    assert_eq!(
        client.ask("stream", 9, Some(json!({"Type": filter}))).await,
        ""
    );
    client
}

#[tokio::test]
async fn a_stream_tells_what_happens_after_it_began() {
    let served = serve().await;
    served.put([member("old", 1, &[])]);
    served
        .hub
        .push_events(vec![event(&origin("o", 1), 1, "before", b"")]);
    let mut client = streaming(&served, "*").await;
    served.put([member("new", 1, &[]), member("new2", 1, &[])]);
    let joined = client.record(9).await;
    assert_eq!(
        (joined.event.as_str(), joined.names()),
        ("member-join", vec!["new", "new2"])
    );
    served
        .hub
        .push_events(vec![event(&origin("o", 1), 2, "deploy", b"\xff\0")]);
    let told = client.record(9).await;
    assert_eq!(
        (told.event.as_str(), told.name.as_str(), told.lamport),
        ("user", "deploy", 2)
    );
    assert_eq!(&told.payload.unwrap().0[..], b"\xff\0");
    served.put([with_tag(member("old", 1, &[]), "k", "v")]);
    let updated = client.record(9).await;
    assert_eq!(
        (updated.event.as_str(), updated.names()),
        ("member-update", vec!["old"])
    );
}

#[tokio::test]
async fn filters_and_stops_hold() {
    let served = serve().await;
    let mut client = streaming(&served, "user:wanted,member-reap").await;
    served.put([member("new", 1, &[])]);
    let o = origin("o", 1);
    served.hub.push_events(vec![
        event(&o, 1, "other", b""),
        event(&o, 2, "wanted", b""),
    ]);
    assert_eq!(client.record(9).await.lamport, 2);
    // Another one on the same connection, and one that is there already.
    assert_eq!(
        client
            .ask("stream", 10, Some(json!({"Type": "user"})))
            .await,
        ""
    );
    let error = client
        .ask("stream", 10, Some(json!({"Type": "user"})))
        .await;
    assert_eq!(error, "Stream with given sequence exists");
    let error = client
        .ask("stream", 11, Some(json!({"Type": "bogus"})))
        .await;
    assert_eq!(error, "Invalid event filter");
    assert_eq!(client.ask("stop", 12, Some(json!({"Stop": 9}))).await, "");
    served.hub.push_events(vec![event(&o, 3, "wanted", b"")]);
    assert_eq!(client.record(10).await.lamport, 3);
    assert_eq!(client.ask("stop", 13, Some(json!({"Stop": 77}))).await, "");
    served.hub.push_events(vec![event(&o, 4, "wanted", b"")]);
    assert_eq!(client.record(10).await.lamport, 4);
}

#[tokio::test]
async fn streams_of_one_connection_are_bounded() {
    let served = serve().await;
    let mut client = served.client().await;
    let body = json!({"Type": "user"});
    for seq in 0..STREAMS_MAX {
        assert_eq!(
            client.ask("stream", seq as u64, Some(body.clone())).await,
            ""
        );
    }
    let error = client.ask("stream", 99, Some(body.clone())).await;
    assert_eq!(error, "At most 8 streams per connection");
    assert_eq!(client.ask("stop", 100, Some(json!({"Stop": 0}))).await, "");
    assert_eq!(client.ask("stream", 99, Some(body)).await, "");
}

#[tokio::test]
async fn events_that_may_be_merged_are() {
    let served = serve().await;
    let mut client = streaming(&served, "user").await;
    let o = origin("o", 1);
    let push = |sequence, name: &str, coalesce| {
        let mut update = event(&o, sequence, name, b"");
        if let EventUpdate::Event(event) = &mut update {
            std::sync::Arc::make_mut(event).coalesce = coalesce;
        }
        served.hub.push_events(vec![update]);
    };
    for sequence in 1..=20 {
        push(sequence, "deploy", true);
    }
    push(21, "at-once", false);
    let first = client.record(9).await;
    assert_eq!((first.name.as_str(), first.coalesce), ("at-once", false));
    let merged = client.record(9).await;
    assert_eq!(
        (merged.name.as_str(), merged.lamport, merged.coalesce),
        ("deploy", 20, true)
    );
    assert_eq!(served.count("events_coalesced_total"), 19);
}

#[tokio::test]
async fn a_gap_is_counted_and_the_stream_goes_on() {
    let served = serve().await;
    let mut client = streaming(&served, "user").await;
    let o = origin("o", 1);
    served
        .hub
        .push_events(vec![gap(&o, 1, 5), event(&o, 6, "after", b"")]);
    assert_eq!(client.record(9).await.lamport, 6);
    assert_eq!(served.count("event_gaps_total"), 1);
}

#[tokio::test]
async fn a_stream_that_falls_out_of_the_ring_is_cut_off() {
    let served = serve().await;
    let mut client = streaming(&served, "user").await;
    let o = origin("o", 1);
    let payload = vec![7; 1_000];
    // More than the ring holds, faster than anybody reads.
    let count = 2 * EVENTS_MAX as u64;
    let all = (1..=count).map(|sequence| event(&o, sequence, "e", &payload));
    served.hub.push_events(all.collect());
    while let Some(frame) = client.frame().await {
        drop(frame);
    }
    assert_eq!(served.cut("behind"), 1);
}

#[tokio::test]
async fn a_monitor_shows_what_was_and_what_comes() {
    let served = serve_closed(b"t").await;
    let subscriber = std::sync::Arc::clone(&served.subscriber);
    let logged = |log: &dyn Fn()| tracing::subscriber::with_default(subscriber.clone(), log);
    logged(&|| tracing::info!(target: "musterd::x", name = "a", "it was"));
    let mut client = served.client().await;
    assert_eq!(
        client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
        ""
    );
    let error = client
        .ask("monitor", 2, Some(json!({"LogLevel": "loud"})))
        .await;
    assert_eq!(error, "Unknown log level: LOUD");
    assert_eq!(
        client
            .ask("monitor", 3, Some(json!({"LogLevel": "debug"})))
            .await,
        ""
    );
    let line = client.record(3).await.log;
    assert!(line.ends_with(" [INFO] musterd.x: it was name=a"), "{line}");
    logged(&|| tracing::trace!(target: "musterd::x", "too fine"));
    logged(&|| tracing::debug!(target: "musterd::x", "it is"));
    let line = client.record(3).await.log;
    assert!(line.ends_with(" [DEBUG] musterd.x: it is"), "{line}");
    let error = client
        .ask("monitor", 4, Some(json!({"LogLevel": "INFO"})))
        .await;
    assert_eq!(error, "Monitor already exists");
    assert_eq!(client.ask("stop", 5, Some(json!({"Stop": 3}))).await, "");
    logged(&|| tracing::warn!(target: "musterd::x", "nobody hears"));
    assert_eq!(
        client
            .ask("monitor", 6, Some(json!({"LogLevel": "WARN"})))
            .await,
        ""
    );
    let line = client.record(6).await.log;
    assert!(line.ends_with(" [WARN] musterd.x: nobody hears"), "{line}");
}
