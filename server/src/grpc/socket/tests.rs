use std::os::unix::net::UnixStream as StdStream;

use super::*;

fn config(path: PathBuf) -> SocketConfig {
    SocketConfig::new(path, SocketKind::Api)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn makes_directory_and_socket_with_their_modes_and_cleans_up() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("run/muster");
    let listener = Listener::bind(config(directory.join("api.sock"))).unwrap();
    assert_eq!(mode(&directory), DIRECTORY_MODE);
    assert_eq!(mode(&directory.join("api.sock")), DEFAULT_MODE);
    assert_eq!(mode(&directory.join("api.sock.lock")), 0o600);
    assert_eq!(names(&directory), ["api.sock", "api.sock.lock"]);
    let client = StdStream::connect(directory.join("api.sock")).unwrap();
    listener.accept().await.unwrap();
    drop((listener, client));
    assert_eq!(names(&directory), [""; 0]);
}

#[tokio::test]
async fn the_configured_mode_and_group_are_set() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("api.sock");
    let gid = rustix::process::getegid().as_raw();
    let config = SocketConfig {
        mode: 0o622,
        group: Some(gid),
        ..config(path.clone())
    };
    let _listener = Listener::bind(config).unwrap();
    assert_eq!(mode(&path), 0o622);
    assert_eq!(fs::metadata(&path).unwrap().gid(), gid);
}

#[tokio::test]
async fn an_existing_directory_keeps_its_mode() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o711)).unwrap();
    let _listener = Listener::bind(config(root.path().join("api.sock"))).unwrap();
    assert_eq!(mode(root.path()), 0o711);
}

#[tokio::test]
async fn a_live_daemon_is_not_evicted() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("api.sock");
    let first = Listener::bind(config(path.clone())).unwrap();
    for lock in ["kept", "deleted"] {
        if lock == "deleted" {
            fs::remove_file(root.path().join("api.sock.lock")).unwrap();
        }
        let refused = Listener::bind(config(path.clone())).unwrap_err();
        assert!(matches!(refused, SocketError::InUse { .. }), "{refused}");
        let text = refused.to_string();
        assert!(
            text.contains(path.to_str().unwrap()) && text.contains("another daemon"),
            "{text}"
        );
        let _client = StdStream::connect(&path).unwrap();
        first.accept().await.unwrap();
    }
    drop(first);
    Listener::bind(config(path)).unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("api.sock");
    drop(StdListener::bind(&path).unwrap());
    fs::write(root.path().join("api.sock.lock"), "").unwrap();
    StdStream::connect(&path).unwrap_err();
    let listener = Listener::bind(config(path.clone())).unwrap();
    let _client = StdStream::connect(&path).unwrap();
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn what_is_no_socket_is_not_deleted() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("api.sock");
    fs::write(&path, "precious").unwrap();
    let refused = Listener::bind(config(path.clone())).unwrap_err();
    assert!(
        matches!(refused, SocketError::NotASocket { .. }),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(names(root.path()), ["api.sock"]);
}

#[tokio::test]
async fn the_socket_of_a_successor_is_not_removed() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("api.sock");
    let listener = Listener::bind(config(path.clone())).unwrap();
    fs::remove_file(&path).unwrap();
    let _successor = StdListener::bind(&path).unwrap();
    drop(listener);
    StdStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_deleted_socket_is_restored_and_a_live_successor_is_not_evicted() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("api.sock");
    let mut listener = Listener::bind(config(path.clone())).unwrap();
    assert!(!listener.restore().unwrap());
    fs::remove_file(&path).unwrap();
    assert!(listener.restore().unwrap());
    let _client = StdStream::connect(&path).unwrap();
    listener.accept().await.unwrap();

    fs::remove_file(&path).unwrap();
    let successor = StdListener::bind(&path).unwrap();
    assert!(matches!(listener.restore(), Err(SocketError::InUse { .. })));
    drop(successor);
    assert!(listener.restore().unwrap());
    assert!(!listener.restore().unwrap());
}

#[tokio::test]
async fn the_longest_path_can_be_bound_and_one_more_byte_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let room = MAX_PATH - root.path().as_os_str().len() - 1;
    let longest = root.path().join("s".repeat(room));
    let _listener = Listener::bind(config(longest.clone())).unwrap();
    StdStream::connect(&longest).unwrap();

    let path = root.path().join("s".repeat(room + 1));
    let refused = Listener::bind(config(path.clone()))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("needs 108 bytes") && refused.contains("at most 107"),
        "{refused}"
    );
    assert!(refused.contains(path.to_str().unwrap()), "{refused}");
    // The name under which the socket is made must fit as well.
    let short = root.path().join("d".repeat(room - 2)).join("s");
    assert!(matches!(
        Listener::bind(config(short)),
        Err(SocketError::TooLong { .. })
    ));
    for path in ["/", "", "a/.."] {
        let refused = Listener::bind(config(path.into())).unwrap_err();
        assert!(matches!(refused, SocketError::NoName { .. }), "{refused}");
    }
}

#[test]
fn refusals_name_path_and_remedy() {
    // As root every directory is writable, so the error is made by hand.
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let text = SocketError::io("create socket", Path::new("/run/m/api.sock"), denied).to_string();
    assert!(
        text.contains("/run/m/api.sock") && text.contains("--socket"),
        "{text}"
    );
    assert!(text.contains("make the directory writable"), "{text}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let refused = Listener::bind(config(root.path().join("file/run/api.sock"))).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("create directory") && text.contains("file/run"),
        "{text}"
    );
    assert!(std::error::Error::source(&refused).is_some());
}
