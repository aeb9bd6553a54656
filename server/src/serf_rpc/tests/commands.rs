//! Commands that are answered once, and who may use them.

use muster_engine::Status;
use serde_json::json;

use super::harness::*;
use crate::hub::testing::{member, with_status, with_tag};

#[tokio::test]
async fn members_come_by_name_and_by_filter() {
    let served = serve().await;
    let mut client = served.client().await;
    served.put([
        member("b", 1, &[]),
        with_tag(member("a", 1, &[]), "zone", "eu"),
    ]);
    let all = client.look("members", 1, None).await;
    assert_eq!(all.names(), ["a", "b", "me"]);
    assert_eq!(all.members[2].tags["role"], "web");
    let filter = json!({"Name": "", "Status": "alive", "Tags": {"zone": "e."}});
    let some = client.look("members-filtered", 2, Some(filter)).await;
    assert_eq!(some.names(), ["a"]);
    let error = client
        .ask("members-filtered", 3, Some(json!({"Name": "a("})))
        .await;
    assert_eq!(error, "Failed to compile regex: unclosed group: `a(`");
    // With a body, and the connection goes on.
    assert_eq!(client.body().await.members, []);
    assert_eq!(
        client.look("members", 4, None).await.names(),
        ["a", "b", "me"]
    );
}

#[tokio::test]
async fn events_keep_their_order_and_their_wish_to_be_merged() {
    let served = serve().await;
    let mut client = served.client().await;
    let event = |name: &str, coalesce| json!({"Name": name, "Payload": "p", "Coalesce": coalesce});
    let mut all = Vec::new();
    for number in 1..=50 {
        all.extend(request(
            "event",
            number,
            Some(&event(&format!("e{number}"), number == 7)),
        ));
    }
    client.write(&all).await;
    for number in 1..=50 {
        assert_eq!(client.head().await, (number, String::new()));
    }
    let drafts = served.drafts.lock().unwrap();
    for (number, draft) in (1..).zip(drafts.iter()) {
        assert_eq!(draft.name, format!("e{number}"));
        assert_eq!(
            (&draft.payload[..], draft.coalesce),
            (&b"p"[..], number == 7)
        );
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused_in_the_words_of_serf() {
    let served = serve().await;
    let mut client = served.client().await;
    let body = json!({"Name": "big", "Payload": "x".repeat(PAYLOAD_MAX + 1)});
    let error = client.ask("event", 1, Some(body)).await;
    assert_eq!(
        error,
        "user event exceeds configured limit of 1000 bytes before encoding"
    );
}

#[tokio::test]
async fn an_event_that_waits_holds_up_its_own_connection_only() {
    let served = serve().await;
    let mut waiting = served.client().await;
    served.answers.send_replace(false);
    waiting
        .send("event", 1, Some(&json!({"Name": "e", "Payload": null})))
        .await;
    let mut other = served.client().await;
    assert_eq!(other.look("members", 1, None).await.names(), ["me"]);
    served.answers.send_replace(true);
    assert_eq!(waiting.head().await, (1, String::new()));
}

#[tokio::test]
async fn a_silent_join_holds_up_nobody() {
    let served = serve_closed(b"t").await;
    let mut client = served.client().await;
    assert_eq!(
        client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
        ""
    );
    client
        .send(
            "join",
            2,
            Some(&json!({"Existing": ["silent:1"], "Replay": false})),
        )
        .await;
    assert_eq!(client.look("members", 3, None).await.names(), ["me"]);
    let one = json!({"Existing": ["down:1", "x/up:1"]});
    assert_eq!(client.look("join", 4, Some(one)).await.num, Some(1));
    let error = client
        .ask("join", 5, Some(json!({"Existing": ["down:1"]})))
        .await;
    let expected = "1 error occurred:\n\t* Failed to join down:1: connection refused\n\n";
    assert_eq!(error, expected);
    assert_eq!(client.body().await.num, Some(0));
    assert_eq!(
        client
            .look("join", 6, Some(json!({"Existing": null})))
            .await
            .num,
        Some(0)
    );
}

#[tokio::test]
async fn tags_show_when_they_are_answered() {
    let served = serve_closed(b"t").await;
    let mut client = served.client().await;
    assert_eq!(
        client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
        ""
    );
    let body = json!({"Tags": {"a": "1", "b": "2"}, "DeleteTags": ["b"]});
    assert_eq!(client.ask("tags", 2, Some(body)).await, "");
    let me = &client.look("members", 3, None).await.members[0];
    assert_eq!((me.tags["a"].as_str(), me.tags["b"].as_str()), ("1", "2"));
    let body = json!({"Tags": null, "DeleteTags": ["b", "nosuch"]});
    assert_eq!(client.ask("tags", 4, Some(body)).await, "");
    let me = &client.look("members", 5, None).await.members[0];
    assert_eq!(me.tags.keys().collect::<Vec<_>>(), ["a", "role"]);
}

#[tokio::test]
async fn force_leave_checks_whom_it_is_told() {
    let served = serve_closed(b"t").await;
    let mut client = served.client().await;
    assert_eq!(
        client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
        ""
    );
    served.put([
        member("up", 1, &[]),
        with_status(member("dead", 1, &[]), Status::Failed),
    ]);
    assert_eq!(
        client
            .ask("force-leave", 2, Some(json!({"Node": "dead"})))
            .await,
        ""
    );
    let members = client.look("members", 3, None).await.members;
    assert_eq!(
        (members[0].name.as_str(), members[0].status.as_str()),
        ("dead", "left")
    );
    let error = client
        .ask("force-leave", 4, Some(json!({"Node": "nosuch"})))
        .await;
    assert_eq!(error, "no member is called \"nosuch\"");
    let error = client
        .ask("force-leave", 5, Some(json!({"Node": "up", "Prune": true})))
        .await;
    assert!(error.contains("alive"), "{error}");
}

#[tokio::test]
async fn leave_is_answered_before_the_daemon_is_told() {
    let served = serve_closed(b"t").await;
    let mut client = served.client().await;
    assert_eq!(
        client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
        ""
    );
    assert_eq!(client.ask("leave", 2, None).await, "");
    tokio::time::timeout(LIMIT, served.hooks.left.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn stats_and_coordinates_have_the_shape_of_serf() {
    let served = serve().await;
    let mut client = served.client().await;
    assert_eq!(client.ask("stats", 1, None).await, "");
    let frame = client.frame().await.unwrap();
    type Groups = std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>;
    let stats: Groups = rmp_serde::from_slice(&frame).unwrap();
    let groups: Vec<_> = stats.keys().map(String::as_str).collect();
    assert_eq!(
        groups,
        ["agent", "event_handlers", "runtime", "serf", "tags"]
    );
    assert_eq!(stats["event_handlers"]["user:deploy"], "./deploy");
    let keys: Vec<_> = stats["serf"].keys().map(String::as_str).collect();
    let expected = "coordinate_resets encrypted event_queue event_time failed health_score \
                    intent_queue left member_time members query_queue query_time";
    assert_eq!(keys.join(" "), expected);
    assert_eq!(
        (
            &*stats["serf"]["encrypted"],
            &*stats["serf"]["health_score"]
        ),
        ("true", "3")
    );
    assert_eq!(
        (&*stats["agent"]["name"], &*stats["tags"]["role"]),
        ("me", "web")
    );
    let runtime: Vec<_> = stats["runtime"].keys().map(String::as_str).collect();
    assert_eq!(
        runtime.join(" "),
        "arch cpu_count goroutines max_procs os version"
    );
    assert!(
        client
            .look("get-coordinate", 2, Some(json!({"Node": "known"})))
            .await
            .ok
    );
    assert!(
        !client
            .look("get-coordinate", 3, Some(json!({"Node": "other"})))
            .await
            .ok
    );
}

#[tokio::test]
async fn without_a_token_clients_read_and_send_events_only() {
    let served = serve().await;
    let mut client = served.client().await;
    let closed = [
        ("join", Some(json!({"Existing": ["a:1"]}))),
        ("tags", Some(json!({"Tags": {"a": "b"}}))),
        ("force-leave", Some(json!({"Node": "me"}))),
        ("leave", None),
        ("list-keys", None),
        ("use-key", Some(json!({"Key": "c2VjcmV0"}))),
        ("monitor", Some(json!({"LogLevel": "INFO"}))),
    ];
    for (command, body) in closed {
        // Bodies are taken: the next answer is in step.
        assert_eq!(
            client.ask(command, 1, body).await,
            "Authentication required",
            "{command}"
        );
        assert_eq!(client.look("members", 2, None).await.names(), ["me"]);
    }
    let error = client.ask("auth", 3, Some(json!({"AuthKey": ""}))).await;
    assert_eq!(error, "Invalid authentication token");
    assert_eq!(served.count("denied_total{reason=\"no_auth_file\"}"), 7);
}

#[tokio::test]
async fn with_a_token_nothing_goes_without_it() {
    let served = serve_closed(b"s3cret").await;
    let mut client = served.client().await;
    let body = json!({"Name": "e", "Payload": "p"});
    assert_eq!(
        client.ask("event", 1, Some(body.clone())).await,
        "Authentication required"
    );
    assert_eq!(
        client.ask("members", 2, None).await,
        "Authentication required"
    );
    for wrong in ["", "s3cre", "s3crets"] {
        let body = json!({"AuthKey": wrong});
        let error = client.ask("auth", 3, Some(body)).await;
        assert_eq!(error, "Invalid authentication token");
    }
    client.ended().await;
    let mut client = served.client().await;
    assert_eq!(
        client
            .ask("auth", 1, Some(json!({"AuthKey": "wrong"})))
            .await,
        "Invalid authentication token"
    );
    assert_eq!(
        client
            .ask("auth", 2, Some(json!({"AuthKey": "s3cret"})))
            .await,
        ""
    );
    assert_eq!(client.ask("event", 3, Some(body)).await, "");
    assert_eq!(served.count("denied_total{reason=\"wrong_token\"}"), 4);
    assert_eq!(served.drafts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_handshake_comes_first_and_once() {
    let served = serve().await;
    let mut client = served.stranger().await;
    assert_eq!(client.ask("members", 5, None).await, "Handshake required");
    client.ended().await;
    let mut client = served.stranger().await;
    let error = client
        .ask("handshake", 1, Some(json!({"Version": 2})))
        .await;
    assert_eq!(error, "Unsupported IPC version");
    assert_eq!(
        client
            .ask("handshake", 2, Some(json!({"Version": 1})))
            .await,
        ""
    );
    let error = client
        .ask("handshake", 3, Some(json!({"Version": 1})))
        .await;
    assert_eq!(error, "Handshake already performed");
    assert_eq!(client.ask("nosuch", 4, None).await, "Unsupported command");
    client.ended().await;
}

#[tokio::test]
async fn keys_are_listed_and_changed_as_in_serf() {
    let served = serve_closed(b"t").await;
    let mut client = served.client().await;
    assert_eq!(
        client.ask("auth", 1, Some(json!({"AuthKey": "t"}))).await,
        ""
    );
    let listed = client.look("list-keys", 2, None).await;
    assert_eq!(listed.keys.unwrap()["0a1b2c3d"], 2);
    let key = |text: &str| Some(json!({"Key": text}));
    let installed = client.look("install-key", 3, key("c2VjcmV0")).await;
    assert_eq!(
        (installed.num_resp, installed.num_err, installed.keys),
        (2, 0, None)
    );
    let error = client.ask("install-key", 4, key("zzz")).await;
    assert_eq!(error, "illegal base64 data at input byte 0");
    assert_eq!(client.body().await.num_resp, 0);
    let error = client.ask("remove-key", 5, key("c2VjcmV0")).await;
    assert_eq!(error, "1/2 nodes reported failure");
    let told = client.body().await;
    assert_eq!(
        told.messages["b"],
        "Removing the primary key is not allowed"
    );
    let error = client.ask("use-key", 6, key(&"x".repeat(300))).await;
    assert_eq!(error, "the key is too long");
    assert_eq!(client.body().await.num_err, 0);
}
