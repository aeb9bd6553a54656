//! Starting with settings that cannot work, and ones that only look odd.

use std::fs::Permissions;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::{Security, address};

use crate::daemon;

/// `EX_CONFIG`.
const CONFIG: Option<i32> = Some(78);

#[tokio::test]
async fn without_a_key_it_says_how_to_get_one() {
    let (code, log) = daemon("one").security(Security::Unset).refused().await;
    assert_eq!(code, CONFIG, "{log}");
    for word in ["muster keygen", "muster token", "--insecure-plaintext"] {
        assert!(log.contains(word), "{word} is missing in: {log}");
    }
}

#[tokio::test]
async fn three_mistakes_are_told_at_once() {
    let (code, log) = daemon("one")
        .arg("--service-port")
        .arg("seventy")
        .arg("--no-such-flag")
        .role("web_")
        .refused()
        .await;
    assert_eq!(code, CONFIG, "{log}");
    for word in ["service-port", "seventy", "no-such-flag", "web_"] {
        assert!(log.contains(word), "{word} is missing in: {log}");
    }
}

#[tokio::test]
async fn three_mistakes_in_a_file_are_told_at_once_with_the_file() {
    let dir = temp_dir();
    let file = dir.path().join("musterd.toml");
    std::fs::write(
        &file,
        "service-port = \"x\"\nno-such-key = 1\nservice-ip = \"nowhere\"\n",
    )
    .unwrap();
    let (code, log) = daemon("one").arg("--config").arg(&file).refused().await;
    assert_eq!(code, CONFIG, "{log}");
    for word in [
        "service-port",
        "no-such-key",
        "service-ip",
        "nowhere",
        "musterd.toml",
    ] {
        assert!(log.contains(word), "{word} is missing in: {log}");
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_without_showing_it() {
    let dir = temp_dir();
    let file = dir.path().join("bad.key");
    let secret = "c2hvcnQgc2VjcmV0";
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let (code, log) = daemon("one")
        .security(Security::KeyFile(file))
        .refused()
        .await;
    assert_eq!(code, CONFIG, "{log}");
    assert!(log.contains("bad.key") && !log.contains(secret), "{log}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let addr = address::fresh();
    let _taken = UdpSocket::bind(addr).unwrap();
    let (code, log) = daemon("one").bind(addr).refused().await;
    assert!(code.is_some_and(|code| code != 0), "{log}");
    assert!(log.contains(&addr.to_string()), "{log}");
}

#[tokio::test]
async fn an_unwritable_socket_directory_is_named() {
    let dir = Arc::new(temp_dir());
    let home = dir.path().join("one");
    // A file where a directory should be: root cannot write there either.
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("nodir"), "").unwrap();
    let path = home.join("nodir").join("api.sock");
    let (code, log) = daemon("one")
        .dir(&dir)
        .arg("--child-socket")
        .arg(&path)
        .refused()
        .await;
    assert!(code.is_some_and(|code| code != 0), "{log}");
    assert!(log.contains("nodir"), "{log}");
}

#[tokio::test]
async fn variables_that_kubernetes_injects_are_no_settings() {
    let node = daemon("one")
        .env("MUSTER_PORT", "tcp://10.0.0.1:7946")
        .env("MUSTER_SERVICE_HOST", "10.0.0.1")
        .env("MUSTER_SERVICE_PORT", "7946")
        .env("MUSTER_PORT_7946_TCP", "tcp://10.0.0.1:7946")
        .env("MUSTER_PORT_7946_TCP_ADDR", "10.0.0.1")
        .role("web")
        .ready()
        .await;
    let me = node.api().await.info().await.self_.unwrap();
    assert_ne!(me.roles[0].service_ip, "10.0.0.1");
    assert_ne!(me.roles[0].service_port, 7946);
}

#[tokio::test]
async fn an_unknown_variable_only_warns() {
    let node = daemon("one").env("MUSTER_COLOUR", "red").ready().await;
    assert!(node.log().contains("MUSTER_COLOUR"), "{}", node.log());
}

#[tokio::test]
async fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let dir = temp_dir();
    let file = dir.path().join("musterd.toml");
    std::fs::write(&file, "[tag]\nwho = \"file\"\n").unwrap();
    let from_file = daemon("one").arg("--config").arg(&file);
    let from_env = daemon("one")
        .arg("--config")
        .arg(&file)
        .env("MUSTER_TAG", "who=env");
    let from_flag = from_env.clone().bind(address::fresh()).tag("who", "flag");
    for (builder, expected) in [(from_file, "file"), (from_env, "env"), (from_flag, "flag")] {
        let node = builder.ready().await;
        assert_eq!(
            node.api().await.info().await.self_.unwrap().tags["who"],
            expected
        );
    }
}
