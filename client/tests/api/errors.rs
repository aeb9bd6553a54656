//! What people are told when the daemon is not there.

use std::os::unix::fs::PermissionsExt as _;

use muster::{Client, Code, Error, SocketPath, pb};

use crate::fake::Fake;

async fn failure(path: &std::path::Path) -> Error {
    let socket = SocketPath::parse(path.to_str().unwrap()).unwrap();
    Client::connect(&socket).info().await.unwrap_err()
}

#[tokio::test]
async fn no_socket() {
    let directory = tempfile::tempdir().unwrap();
    let error = failure(&directory.path().join("none.sock")).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.starts_with("no daemon listens on ") && text.contains("is musterd running?"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stale_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = failure(&path).await;
    assert!(error.to_string().contains("is gone"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = failure(&path).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_daemon_that_comes_later_is_found_by_the_same_client() {
    let mut fake = Fake::start();
    let client = fake.client();
    client.info().await.unwrap();
    fake.kill();
    let error = client.info().await.unwrap_err();
    assert!(!matches!(error, Error::Refused { .. }), "{error:?}");
    let fake = fake.restart();
    fake.plan(|plan| plan.info.cluster = "demo".into());
    // The first call may still find the dead connection.
    let mut tries = 0;
    let info = loop {
        match client.info().await {
            Ok(info) => break info,
            Err(error) if tries > 100 => panic!("{error:?}"),
            Err(_) => tries += 1,
        }
    };
    assert_eq!(info.cluster, "demo");
}

#[tokio::test]
async fn what_the_daemon_refuses_keeps_its_code() {
    let fake = Fake::start();
    let client = fake.client();
    let error = client.get_member("n9").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NotFound));
    assert_eq!(error.to_string(), "no member is named n9");
    let error = client
        .members(pb::MemberFilter::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
}
