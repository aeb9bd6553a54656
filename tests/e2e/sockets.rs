//! The unix sockets: who may do what on which, and what stands in the way of one.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use muster_proto::v1::send_event_response::Receipt;
use muster_proto::v1::{
    ForceLeaveRequest, JoinRequest, LeaveRequest, ReceiptLevel, SendEventRequest,
    SetLogFilterRequest, UpdateTagsRequest,
};
use muster_tests::harness::Api;
use muster_tests::harness::api::EventSender;
use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::wait::{self, DETECTION, SOON};
use tonic::Code;

use crate::daemon;

#[tokio::test]
async fn the_child_socket_reads_and_sends_and_changes_nothing() {
    let node = daemon("one").child_socket().ready().await;
    let mut api = Api::connect(&node.child_socket()).await;
    assert_eq!(api.info().await.capabilities, ["read", "events"]);
    assert_eq!(api.list().await.unwrap().len(), 1);
    let EventSender {
        requests,
        mut receipts,
    } = api.sender().await;
    let event = SendEventRequest {
        sequence: 1,
        name: "hello".to_owned(),
        payload: Default::default(),
        receipt: ReceiptLevel::Accepted.into(),
        ..Default::default()
    };
    requests.send(event).await.unwrap();
    assert!(matches!(
        receipts.next().await.receipt,
        Some(Receipt::Accepted(_))
    ));

    let name = "one".to_owned();
    let refusals = [
        api.node.leave(LeaveRequest::default()).await.err(),
        api.node
            .join(JoinRequest {
                addresses: vec![name.clone()],
            })
            .await
            .err(),
        api.node
            .force_leave(ForceLeaveRequest { name, prune: false })
            .await
            .err(),
        api.node
            .update_tags(UpdateTagsRequest::default())
            .await
            .err(),
        api.node
            .set_log_filter(SetLogFilterRequest {
                filter: "debug".to_owned(),
            })
            .await
            .err(),
    ];
    for refusal in refusals {
        let status = refusal.expect("an admin call went through");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
}

#[tokio::test]
async fn without_the_flag_there_is_no_child_socket() {
    let node = daemon("one").ready().await;
    assert!(!node.child_socket().exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let mut node = daemon("one").ready().await;
    node.kill().await;
    assert!(node.socket().exists(), "kill -9 cannot remove the socket");
    node.restart().await;
    assert_eq!(node.api().await.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_live_socket_is_never_taken_over() {
    let dir = Arc::new(temp_dir());
    let first = daemon("one").dir(&dir).ready().await;
    let (code, log) = daemon("one").dir(&dir).refused().await;
    assert!(code.is_some_and(|code| code != 0), "{log}");
    assert!(log.contains("api.sock"), "{log}");
    assert_eq!(first.api().await.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_socket_of_another_program_is_never_taken_over() {
    let dir = Arc::new(temp_dir());
    let home = dir.path().join("one");
    std::fs::create_dir(&home).unwrap();
    let _other = UnixListener::bind(home.join("api.sock")).unwrap();
    let (code, log) = daemon("one").dir(&dir).refused().await;
    assert!(code.is_some_and(|code| code != 0), "{log}");
    assert!(log.contains("api.sock"), "{log}");
}

#[tokio::test]
async fn a_file_in_the_way_is_left_alone() {
    let dir = Arc::new(temp_dir());
    let home = dir.path().join("one");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("api.sock"), "precious").unwrap();
    let (code, log) = daemon("one").dir(&dir).refused().await;
    assert!(code.is_some_and(|code| code != 0), "{log}");
    assert_eq!(
        std::fs::read_to_string(home.join("api.sock")).unwrap(),
        "precious"
    );
}

#[tokio::test]
async fn a_deleted_socket_comes_back() {
    let node = daemon("one").ready().await;
    let mut old = node.api().await;
    std::fs::remove_file(node.socket()).unwrap();
    wait::holds("a new socket", SOON, async || node.socket().exists()).await;
    assert_eq!(node.api().await.list().await.unwrap().len(), 1);
    // Clients of the old one are not cut off.
    assert_eq!(old.list().await.unwrap().len(), 1);
}

/// The library dials the path again: a watch that lost its daemon finds the one that
/// serves at a new file of that name.
#[tokio::test]
async fn a_watch_finds_the_socket_that_was_made_again() {
    let mut node = daemon("one").ready().await;
    let mut watch = node
        .muster()
        .start(&["watch", "members", "--format", "json"]);
    watch.json_line().await;
    std::fs::remove_file(node.socket()).unwrap();
    wait::holds("a new socket", SOON, async || node.socket().exists()).await;
    node.kill().await;
    std::fs::remove_file(node.socket()).unwrap();
    node.restart().await;
    node.muster().ok(&["tags", "--set", "found=again"]).await;
    let seen = watch.json_line_where(|line| line.to_string().contains("again"));
    tokio::time::timeout(DETECTION, seen)
        .await
        .expect("the watch did not come back");
}

#[tokio::test]
async fn the_socket_is_not_open_to_the_world() {
    let node = daemon("one").ready().await;
    let mode = std::fs::metadata(node.socket())
        .unwrap()
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode & 0o007, 0, "mode {mode:o}");
}
