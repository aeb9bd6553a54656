//! HAProxy whose backends follow joins, leaves and deaths through the example's handler.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::wait::{DETECTION, SOON};
use muster_tests::harness::{Process, address, wait};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{BIN, daemon};

const HANDLER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/examples/haproxy/update-backends.sh"
);

/// A web server that answers every request with its name, until the runtime ends.
async fn web(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            if matches!(stream.read(&mut request).await, Ok(1..)) {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}",
                    name.len()
                );
                // A health check closes without reading.
                let _sent = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    addr
}

fn haproxy(directory: &Path, front: SocketAddr) -> Process {
    let config = format!(
        "defaults\n    mode http\n    timeout connect 2s\n    timeout client 5s\n    \
         timeout server 5s\nfrontend front\n    bind {front}\n    default_backend web\n"
    );
    fs::write(directory.join("haproxy.cfg"), config).unwrap();
    fs::write(directory.join("backends.cfg"), "backend web\n").unwrap();
    let args = [
        "-W",
        "-p",
        "haproxy.pid",
        "-f",
        "haproxy.cfg",
        "-f",
        "backends.cfg",
    ];
    let args = args.map(OsString::from);
    Process::start(
        "haproxy",
        "haproxy".as_ref(),
        &args,
        &[],
        directory,
        Stdio::null(),
    )
}

/// Who answers behind HAProxy, in 8 requests one after another.
async fn answering(front: SocketAddr) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    for _ in 0..8 {
        let text = get(front).await.map_err(|error| error.to_string())?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        if head.starts_with("HTTP/1.1 200") {
            names.insert(body.to_owned());
        }
    }
    Ok(names)
}

async fn get(front: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(front).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

async fn serves(front: SocketAddr, names: &[&str]) {
    let wanted: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    wait::until(
        &format!("{names:?} behind HAProxy"),
        DETECTION,
        async || match answering(front).await {
            Ok(seen) if seen == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
}

#[tokio::test]
async fn backends_follow_the_members_of_a_role() {
    let directory = temp_dir();
    let front = address::fresh();
    let _haproxy = haproxy(directory.path(), front);
    let path = |name: &str| directory.path().join(name).display().to_string();
    symlink(BIN.muster, path("muster")).unwrap();
    let programs = format!("{}:{}", path(""), std::env::var("PATH").unwrap());
    let events = "member-join,member-leave,member-failed,member-update";
    let balancer = daemon("balancer")
        .arg("--event-handler")
        .arg(format!("{events}={HANDLER} web"))
        .env("PATH", &programs)
        .env("BACKENDS", &path("backends.cfg"))
        .env("PIDFILE", &path("haproxy.pid"))
        .ready()
        .await;
    let web_node = async |name: &'static str| {
        let role = format!("web={}", web(name).await);
        let builder = daemon(name).join(balancer.addr());
        builder.role(&role).ready().await
    };
    let mut one = web_node("one").await;
    let mut two = web_node("two").await;
    serves(front, &["one", "two"]).await;
    two.kill().await;
    serves(front, &["one"]).await;
    let _three = web_node("three").await;
    serves(front, &["one", "three"]).await;
    one.signal(Signal::TERM);
    one.wait_exit(SOON).await;
    serves(front, &["three"]).await;
}
