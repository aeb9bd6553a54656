//! IPv6, both families at once, interfaces, and networks of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use muster_proto::v1::MemberStatus;
use muster_tests::harness::cluster::{see, see_alive};
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Binaries, Daemon, DaemonBuilder, Security, address};
use tempfile::TempDir;

use crate::{BIN, daemon};

/// Says what this machine cannot show; where all must be shown that is a failure.
#[expect(clippy::print_stderr, reason = "a test that shows nothing must say so")]
fn not_shown(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("NOT SHOWN: {why}");
}

/// Whether this machine has IPv6 on loopback. Where it has not, tests say so and
/// show nothing.
fn has_ipv6() -> bool {
    let interfaces = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let found = interfaces
        .lines()
        .any(|line| line.starts_with("00000000000000000000000000000001"));
    if !found {
        not_shown("this machine has no IPv6 loopback address (/proc/net/if_inet6)");
    }
    found
}

/// `[::1]` and a port that is free now for UDP and TCP.
fn ipv6_port() -> SocketAddr {
    loop {
        let tcp = std::net::TcpListener::bind("[::1]:0").unwrap();
        let addr = tcp.local_addr().unwrap();
        let wild = SocketAddr::from(([0_u16; 8], addr.port()));
        if std::net::UdpSocket::bind(addr).is_ok() && addr.port() != 7946 {
            drop(tcp);
            if std::net::TcpListener::bind(wild).is_ok() {
                return addr;
            }
        }
    }
}

async fn sees_two_ways(one: &Daemon, other: &Daemon) {
    see_alive(one, 2).await;
    see_alive(other, 2).await;
}

/// An event from one reaches the other, and neither falls silent: datagrams and
/// pipes work.
async fn talks(from: &Daemon, to: &Daemon) {
    let mut watch = to.muster().start(&["watch", "events", "--format", "json"]);
    let _subscribed = watch
        .json_line_where(|line| line["type"] == "subscribed")
        .await;
    from.muster()
        .ok(&["event", "hello", "x", "--receipt", "replicated"])
        .await;
    let line = watch.json_line_where(|line| line["type"] == "event").await;
    assert_eq!(line["name"], "hello");
}

#[tokio::test]
async fn a_sealed_cluster_over_ipv6() {
    if !has_ipv6() {
        return;
    }
    let dir = Arc::new(temp_dir());
    let key = write_key(dir.path(), "key");
    let base = |name: &str| {
        daemon(name)
            .dir(&dir)
            .security(Security::KeyFile(key.clone()))
    };
    let alpha = base("alpha").bind(ipv6_port()).ready().await;
    // By address, by a name with an AAAA record, and by the token.
    let beta = base("beta")
        .bind(ipv6_port())
        .join(alpha.addr())
        .ready()
        .await;
    sees_two_ways(&alpha, &beta).await;
    let named = format!("localhost:{}", alpha.addr().port());
    let gamma = base("gamma").bind(ipv6_port()).join(named).ready().await;
    see_alive(&gamma, 3).await;
    let key = key.display().to_string();
    let seed = alpha.addr().to_string();
    let line = [
        "token",
        "--cluster",
        "test",
        "--key-file",
        &key,
        "--seed",
        &seed,
    ];
    let token = alpha.muster().ok(&line).await;
    let path = dir.path().join("token");
    std::fs::write(&path, token).unwrap();
    let delta = base("delta")
        .bind(ipv6_port())
        .security(Security::Unset)
        .arg("--token-file")
        .arg(&path);
    let delta = delta.ready().await;
    see_alive(&delta, 4).await;
    talks(&delta, &beta).await;
    let shown = see(&beta, "delta", MemberStatus::Alive, SOON).await;
    assert_eq!(
        (shown.gossip_ip.as_str(), shown.gossip_port),
        ("::1", u32::from(delta.addr().port()))
    );
}

#[tokio::test]
async fn one_socket_serves_both_families() {
    if !has_ipv6() {
        return;
    }
    let dir = Arc::new(temp_dir());
    // Sealed: plaintext is refused where any interface has a public address.
    let key = write_key(dir.path(), "key");
    let base = |name: &str| {
        daemon(name)
            .dir(&dir)
            .security(Security::KeyFile(key.clone()))
    };
    let port = ipv6_port().port();
    let both = base("both")
        .bind(SocketAddr::from(([0_u16; 8], port)))
        .arg("--advertise")
        .arg(format!("127.0.0.1:{port}"))
        .ready()
        .await;
    // The one speaks IPv4 only, the other sits on both and is met over IPv6.
    let four = base("four").join(format!("127.0.0.1:{port}")).ready().await;
    sees_two_ways(&both, &four).await;
    talks(&four, &both).await;
    talks(&both, &four).await;
    let other = ipv6_port().port();
    let six = base("six")
        .bind(SocketAddr::from(([0_u16; 8], other)))
        .arg("--advertise")
        .arg(format!("[::1]:{other}"))
        .join(format!("[::1]:{port}"));
    let six = six.ready().await;
    see(&both, "six", MemberStatus::Alive, SOON).await;
    see(&six, "four", MemberStatus::Alive, SOON).await;
    talks(&both, &six).await;
    talks(&six, &both).await;
}

#[tokio::test]
async fn an_interface_is_listened_on_by_name() {
    let port = address::fresh().port();
    let (code, log) = daemon("alpha")
        .arg("--iface")
        .arg("nosuch0")
        .refused()
        .await;
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("nosuch0") && log.contains("lo (127.0.0.1)"),
        "{log}"
    );
    // The address of the harness is on no interface by name: loopback takes any.
    let (code, log) = daemon("alpha")
        .bind(SocketAddr::from(([127, 200, 0, 1], port)))
        .arg("--iface")
        .arg("lo")
        .refused()
        .await;
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("does not have the address"), "{log}");
}

#[tokio::test]
async fn a_host_name_is_advertised_as_its_address() {
    let alpha = daemon("alpha")
        .arg("--advertise")
        .arg("localhost")
        .ready()
        .await;
    let me = see(&alpha, "alpha", MemberStatus::Alive, SOON).await;
    assert_eq!(
        (me.gossip_ip.as_str(), me.gossip_port),
        ("127.0.0.1", u32::from(alpha.addr().port()))
    );
    let bad = daemon("beta").arg("--advertise").arg("nobody.invalid");
    let (code, log) = bad.refused().await;
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("cannot be resolved"), "{log}");
}

/// Two network namespaces with a cable between them; gone when dropped.
struct Cable {
    names: [String; 2],
    dir: TempDir,
}

impl Cable {
    /// `None`, with a line that says so, where namespaces cannot be made.
    fn new(number: u32) -> Option<Self> {
        let id = std::process::id();
        let names = ["a", "b"].map(|end| format!("muster-{id}-{number}{end}"));
        let cable = Self {
            names,
            dir: temp_dir(),
        };
        let [a, b] = &cable.names;
        let steps = [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("link add m0 netns {a} type veth peer name m0 netns {b}"),
            format!("-n {a} addr add 10.77.0.1/24 dev m0"),
            format!("-n {b} addr add 10.77.0.2/24 dev m0"),
            format!("-n {a} link set m0 up"),
            format!("-n {b} link set m0 up"),
            format!("-n {a} link set lo up"),
            format!("-n {b} link set lo up"),
        ];
        for step in steps {
            if let Err(why) = ip(&step) {
                not_shown(&format!(
                    "this machine makes no network namespaces: ip {step}: {why}"
                ));
                return None;
            }
        }
        Some(cable)
    }

    /// A daemon at one end.
    fn daemon(&self, end: usize, name: &str, home: &Arc<TempDir>) -> DaemonBuilder {
        let script = self.dir.path().join(format!("musterd-{end}"));
        let text = format!(
            "#!/bin/sh\nexec ip netns exec {} {} \"$@\"\n",
            self.names[end], BIN.musterd
        );
        write_script(&script, &text);
        // Lives as long as the tests do: a few bytes.
        let musterd: &'static str = Box::leak(script.display().to_string().into_boxed_str());
        let addr = SocketAddr::from(([10, 77, 0, if end == 0 { 1 } else { 2 }], 7946));
        Daemon::builder(Binaries { musterd, ..BIN }, name)
            .dir(home)
            .bind(addr)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            // A test that fails has more to say than this.
            let _gone = ip(&format!("netns del {name}"));
        }
    }
}

fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn ip(args: &str) -> Result<(), String> {
    let ran = Command::new("ip").args(args.split(' ')).output();
    let ran = ran.map_err(|error| error.to_string())?;
    if ran.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned())
}

#[tokio::test]
async fn members_find_each_other_by_multicast() {
    let Some(cable) = Cable::new(1) else {
        return;
    };
    let home = Arc::new(temp_dir());
    let discovering =
        |end, name: &str, what: &str| cable.daemon(end, name, &home).arg("--discover").arg(what);
    let alpha = discovering(0, "alpha", "shop")
        .arg("--iface")
        .arg("m0")
        .ready()
        .await;
    // Looks for others, and is not looked for.
    let stranger = discovering(1, "stranger", "bank")
        .bind("10.77.0.2:7950".parse().unwrap())
        .ready()
        .await;
    let mut beta = discovering(1, "beta", "shop").ready().await;
    sees_two_ways(&alpha, &beta).await;
    // Whoever heard the other one first joined it.
    let logs = format!("{}{}", alpha.log(), beta.log());
    assert!(logs.contains("discovered a member"), "{logs}");
    // One that does not answer is tried again until it does.
    beta.kill().await;
    see(&alpha, "beta", MemberStatus::Failed, wait::DETECTION).await;
    beta.restart().await;
    sees_two_ways(&alpha, &beta).await;
    see_alive(&stranger, 1).await;
}

#[tokio::test]
async fn a_wrong_key_is_found_and_never_joined() {
    let Some(cable) = Cable::new(2) else {
        return;
    };
    let home = Arc::new(temp_dir());
    let keys = ["one", "two"].map(|name| write_key(home.path(), name));
    let discovering = |end: usize, name: &str| {
        cable
            .daemon(end, name, &home)
            .security(Security::KeyFile(keys[end].clone()))
            .arg("--discover")
            .arg("shop")
    };
    let alpha = discovering(0, "alpha").ready().await;
    let beta = discovering(1, "beta").ready().await;
    for daemon in [&alpha, &beta] {
        wait::until("the discovery", SOON, async || {
            let log = daemon.log();
            if log.contains("discovered a member") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
        see_alive(daemon, 1).await;
    }
}
