//! Commands that need no daemon.

use std::os::unix::fs::PermissionsExt as _;

use muster_proto::token::{KeyBytes, Token};

use super::{finish, muster, run};

#[test]
fn keys_and_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let ran = run(&["keygen"]);
    assert_eq!(KeyBytes::parse(&ran.out).unwrap().as_bytes().len(), 32);
    assert_ne!(ran.out, run(&["keygen"]).out);
    let path = directory.path().join("key");
    let file = path.to_str().unwrap();
    assert_eq!(run(&["keygen", "--out", file]).code, 0);
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        run(&["keygen", "--out", file]).code,
        1,
        "a key is never overwritten"
    );
    let ran = run(&[
        "token",
        "--cluster",
        "prod",
        "--seed",
        "10.0.0.1:7946",
        "--key-file",
        file,
    ]);
    assert_eq!(
        (ran.code, ran.err.as_str(), ran.out.lines().count()),
        (0, "", 1)
    );
    let token = Token::decode(&ran.out).unwrap();
    assert_eq!(
        (token.cluster.as_str(), token.seeds[0].as_str()),
        ("prod", "10.0.0.1:7946")
    );
    let key = std::fs::read_to_string(&path).unwrap();
    assert_eq!(token.key, KeyBytes::parse(&key).unwrap());
    assert_eq!(run(&["token"]).code, 0);
    assert_eq!(run(&["token", "--cluster", ""]).code, 2);
    assert_eq!(run(&["token", "--key-file", "/nonexistent"]).code, 1);
}

#[test]
fn files_for_other_programs() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("new");
    let ran = run(&["proto", place.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 8));
    let written = std::fs::read_to_string(place.join("muster/v1/common.proto")).unwrap();
    assert!(written.contains("package muster.v1;"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(&["completions", shell]).out.contains("force-leave"),
            "{shell}"
        );
    }
}

#[test]
fn a_demo_without_a_daemon_says_what_to_do_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = muster(&["demo", "--plain", "--musterd", "/bin/false"]);
    command.env("TMPDIR", directory.path());
    let ran = finish(command);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("n1 ended at once"), "{}", ran.err);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    let ran = run(&["demo", "--musterd", "/nonexistent"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (2, "muster: /nonexistent is no program\n")
    );
}
