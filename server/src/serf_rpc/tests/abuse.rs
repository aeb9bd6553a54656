//! Clients that break the rules.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

use super::super::command::Command;
use super::super::limits::{BODY_BYTES_MAX, CONNECTIONS_MAX, STRANGER_BODY_BYTES_MAX};
use super::super::{Timing, Token};
use super::harness::*;
use crate::hub::testing::{event, member, origin};

/// One good request of each command.
fn good(command: Command) -> Option<Value> {
    let body = match command {
        Command::Handshake => json!({"Version": 1}),
        Command::Auth => json!({"AuthKey": "t"}),
        Command::Event => json!({"Name": "e", "Payload": "p", "Coalesce": true}),
        Command::ForceLeave => json!({"Node": "n", "Prune": false}),
        Command::Join => json!({"Existing": ["a:1"], "Replay": false}),
        Command::MembersFiltered => json!({"Name": "a", "Status": "b", "Tags": {"k": "v"}}),
        Command::Stream => json!({"Type": "user"}),
        Command::Monitor => json!({"LogLevel": "INFO"}),
        Command::Query => json!({"Name": "q", "FilterNodes": ["nosuch"], "Timeout": 1_000_000}),
        Command::Respond => json!({"ID": 1, "Payload": "p"}),
        Command::Stop => json!({"Stop": 1}),
        Command::Tags => json!({"Tags": {"k": "v"}, "DeleteTags": ["d"]}),
        Command::GetCoordinate => json!({"Node": "n"}),
        Command::InstallKey | Command::UseKey | Command::RemoveKey => json!({"Key": "c2VjcmV0"}),
        Command::Members | Command::Leave | Command::Stats | Command::ListKeys => return None,
    };
    Some(body)
}

#[tokio::test]
async fn good_requests_are_answered_one_for_one() {
    for command in Command::ALL {
        let body = good(*command);
        assert_eq!(body.is_some(), command.has_body(), "{command:?}");
        let served = serve_closed(b"t").await;
        let mut client = served.client().await;
        assert_eq!(
            client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
            ""
        );
        client.ask(command.as_str(), 2, body).await;
    }
}

/// Damages some bytes.
fn damage(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random(),
            1 => bytes.truncate(at.max(1)),
            2 => bytes[at] ^= 1 << rng.random_range(0..8),
            _ => bytes.insert(at, rng.random()),
        }
    }
}

#[tokio::test]
async fn damaged_requests_never_harm_others() {
    let served = serve_closed(b"t").await;
    let mut bystander = served.client().await;
    assert_eq!(
        bystander
            .ask("auth", 1, Some(json!({"AuthKey": "t"})))
            .await,
        ""
    );
    let mut rng = StdRng::seed_from_u64(3);
    for round in 0..400 {
        let command = Command::ALL[rng.random_range(0..Command::ALL.len())];
        let mut bytes = request(command.as_str(), round, good(command).as_ref());
        damage(&mut rng, &mut bytes);
        let mut client = served.client().await;
        client
            .write(&request("auth", 1, Some(&json!({"AuthKey": "t"}))))
            .await;
        client.write(&bytes).await;
        client.stream.shutdown().await.unwrap();
        // Whatever is answered is whole, and then the connection ends.
        while let Some(frame) = client.frame().await {
            assert!(!frame.is_empty());
        }
    }
    assert_eq!(bystander.look("members", 2, None).await.names(), ["me"]);
    served.until("connections_open", |open| open == 1).await;
    assert_eq!(served.tasks.panics(), 0);
}

#[tokio::test]
async fn huge_lengths_cost_nothing_and_end_the_connection() {
    let served = serve().await;
    let head = |command| request(command, 1, None);
    let bad: [Vec<u8>; 5] = [
        b"\xdb\xff\xff\xff\xff".to_vec(),
        b"\xdf\xff\xff\xff\xff".to_vec(),
        [head("event"), b"\xdb\x7f\xff\xff\xff".to_vec()].concat(),
        [
            head("join"),
            b"\x81\xa8Existing\xdd\x00\x20\x00\x00".to_vec(),
        ]
        .concat(),
        [head("tags"), vec![0x91; 100]].concat(),
    ];
    let count = bad.len() as u64;
    for bytes in bad {
        let mut client = served.client().await;
        client.write(&bytes).await;
        client.ended().await;
    }
    assert_eq!(served.cut("bad_frame"), count);
    let mut client = served.client().await;
    client
        .write(&[head("event"), b"\xa1x".to_vec()].concat())
        .await;
    client.ended().await;
    assert_eq!(served.cut("bad_request"), 1);
}

#[tokio::test]
async fn strangers_may_send_little_and_friends_as_much_as_a_payload_needs() {
    let served = serve_closed(b"t").await;
    let large = |bytes| json!({"Name": "e", "Payload": "x".repeat(bytes)});
    let mut client = served.client().await;
    client
        .send("event", 1, Some(&large(STRANGER_BODY_BYTES_MAX)))
        .await;
    client.ended().await;
    let mut client = served.client().await;
    assert_eq!(
        client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
        ""
    );
    let error = client.ask("event", 2, Some(large(1 << 20))).await;
    assert!(error.starts_with("user event exceeds"), "{error}");
    // The end may come while the rest is being sent.
    let request = request("event", 3, Some(&large(BODY_BYTES_MAX)));
    _ = client.stream.write_all(&request).await.is_ok();
    client.ended().await;
    assert_eq!(served.cut("bad_frame"), 2);
}

#[tokio::test]
async fn who_is_slow_to_begin_or_to_go_on_is_cut_off() {
    let timing = Timing {
        handshake: Duration::from_millis(50),
        request: Duration::from_millis(50),
        ..Timing::default()
    };
    let served = serve_with(Some(Token::new(b"t")), timing.clone()).await;
    // Says nothing; says half a word; never says the token.
    served.stranger().await.ended().await;
    let mut half = served.stranger().await;
    half.write(b"\x82\xa7Comm").await;
    half.ended().await;
    let mut nameless = served.client().await;
    nameless.ended().await;
    assert_eq!(served.cut("late"), 3);
    let served = serve_with(None, timing).await;
    for part in [&b"\x82\xa7Comm"[..], &request("event", 1, None)] {
        let mut client = served.client().await;
        client.write(part).await;
        client.ended().await;
    }
    assert_eq!(served.cut("late"), 2);
    // Who shook hands may be silent for as long as it likes.
    let mut idle = served.client().await;
    served.until("connections_open", |open| open == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(idle.look("members", 1, None).await.names(), ["me"]);
}

#[tokio::test]
async fn half_a_request_and_a_close_is_counted() {
    let served = serve().await;
    let mut client = served.client().await;
    client.write(&request("event", 1, None)[..9]).await;
    client.stream.shutdown().await.unwrap();
    client.ended().await;
    served
        .until("connections_cut_total{reason=\"half_request\"}", |cut| {
            cut == 1
        })
        .await;
}

#[tokio::test]
async fn a_thousand_connections_are_bounded() {
    let served = serve().await;
    let mut all = Vec::new();
    for _ in 0..1_000 {
        all.push(served.stranger().await);
    }
    let refused = 1_000 - CONNECTIONS_MAX as u64;
    served
        .until("connections_refused_total", |count| count == refused)
        .await;
    assert_eq!(served.count("connections_open"), CONNECTIONS_MAX as u64);
    drop(all);
    served.until("connections_open", |open| open == 0).await;
    let mut client = served.client().await;
    assert_eq!(client.look("members", 1, None).await.names(), ["me"]);
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_off_and_holds_up_nobody() {
    let timing = Timing {
        stall: Duration::from_millis(200),
        ..Timing::default()
    };
    let served = serve_with(None, timing).await;
    let mut slow = served.client().await;
    assert_eq!(
        slow.ask("stream", 1, Some(json!({"Type": "user"}))).await,
        ""
    );
    let mut quick = served.client().await;
    assert_eq!(
        quick.ask("stream", 1, Some(json!({"Type": "user"}))).await,
        ""
    );
    let payload = vec![7; 60_000];
    for sequence in 1..=400 {
        let update = event(&origin("o", 1), sequence, "e", &payload);
        served.hub.push_events(vec![update]);
        assert_eq!(quick.record(1).await.lamport, sequence);
    }
    served
        .until("connections_cut_total{reason=\"stalled\"}", |cut| cut == 1)
        .await;
    served.until("connections_open", |open| open == 1).await;
}

#[tokio::test]
async fn a_client_that_asks_without_reading_is_held_back() {
    let served = serve().await;
    served.put((0..200).map(|number| member(&format!("m{number}"), 1, &[])));
    let client = served.client().await;
    let many = request("members", 1, None).repeat(2_000);
    let (mut reader, mut writer) = client.stream.into_split();
    let writing = tokio::spawn(async move { writer.write_all(&many).await.is_ok() });
    // All are answered once they are read, one after the other.
    let mut bytes = 0;
    let mut buffer = vec![0; 64 << 10];
    while bytes < 2_000 * 200 * 100 {
        let read = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer);
        bytes += tokio::time::timeout(LIMIT, read).await.unwrap().unwrap();
    }
    assert!(writing.await.unwrap());
}

#[tokio::test]
async fn at_the_end_calls_are_answered_and_the_rest_is_closed() {
    let served = serve_closed(b"t").await;
    let mut client = served.client().await;
    assert_eq!(
        client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
        ""
    );
    assert_eq!(
        client.ask("stream", 2, Some(json!({"Type": "*"}))).await,
        ""
    );
    served.tasks.stop_within(LIMIT).await;
    client.ended().await;
    served.serving.await.unwrap().unwrap();
}
