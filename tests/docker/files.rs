//! serfnode's files and lines of hosts in containers of a real engine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use muster_tests::harness::daemon::{DaemonBuilder, temp_dir};
use muster_tests::harness::{Binaries, Daemon, Engine, wait};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::containers::first_process;

/// Longest wait for what takes far less.
const PATIENCE: Duration = Duration::from_secs(90);

const BIN: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};

/// An image with a shell.
const BUSY: &str = "busy";

/// One with a single program and nothing else.
const BARE: &str = "bare";

/// What they run.
const SLEEP: [&str; 2] = ["/bin/sleep", "100000"];

/// A node on the host, with an engine of its own.
struct Node {
    engine: Engine,
    root: TempDir,
    daemon: Daemon,
}

fn images(engine: &Engine) {
    let shell = ["sh", "cat", "sleep", "awk", "rm", "ln", "mkdir"];
    for (image, applets) in [(BUSY, &shell[..]), (BARE, &[])] {
        let root = temp_dir();
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        let bin = root.path().join("bin");
        // Its name decides what it is: without a link it is `sleep` alone.
        let program = if applets.is_empty() {
            "sleep"
        } else {
            "busybox"
        };
        fs::copy("/bin/busybox", bin.join(program)).unwrap();
        for applet in applets {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        engine.import(image, root.path());
    }
}

/// A daemon that follows an engine and writes below a root.
fn builder(name: &str, engine: &Engine, root: &Path) -> DaemonBuilder {
    let socket = format!("unix://{}", engine.socket().display());
    Daemon::builder(BIN, name)
        .arg("--docker-host")
        .arg(socket)
        .arg("--legacy-root")
        .arg(root)
}

impl Node {
    async fn start(name: &str, more: impl FnOnce(DaemonBuilder) -> DaemonBuilder) -> Self {
        let engine = Engine::start().await;
        images(&engine);
        let root = temp_dir();
        let daemon = more(builder(name, &engine, root.path())).ready().await;
        Self {
            engine,
            root,
            daemon,
        }
    }

    /// Runs a container that is a child, and does nothing.
    fn child(&self, name: &str, more: &[&str]) {
        let label = ["run", "-d", "--name", name, "-l", "muster.child"];
        self.engine
            .docker(&[&label[..], more, &[BUSY], &SLEEP].concat());
    }

    /// Runs [`CHILDREN`] of them: their names, and where their files of hosts are.
    fn children(&self) -> (Vec<String>, Vec<String>) {
        let names: Vec<String> = (0..CHILDREN).map(|n| format!("c{n}")).collect();
        let paths = names.iter().map(|name| {
            self.child(name, &[]);
            let path = ["inspect", "-f", "{{.HostsPath}}", name];
            self.engine.docker(&path)
        });
        let paths = paths.collect();
        (names, paths)
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn inside(&self, name: &str, args: &[&str]) -> Result<String, String> {
        exec(&self.engine.socket(), name, args)
    }

    /// The same in the background.
    fn reads(&self, name: &'static str, script: String) -> JoinHandle<Result<String, String>> {
        let socket = self.engine.socket();
        tokio::task::spawn_blocking(move || exec(&socket, name, &["awk", &script]))
    }

    /// Waits until a JSON file in a container is as it should be.
    async fn json(&self, name: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{path} in {name}");
        wait::until(&what, PATIENCE, async || {
            let text = self.inside(name, &["cat", path])?;
            let json = serde_json::from_str(&text).map_err(|e| format!("{e}: {text:?}"))?;
            if wanted(&json) { Ok(json) } else { Err(text) }
        })
        .await
    }

    /// Waits until a container looks a role up at an address, or, without one, not.
    async fn looks_up(&self, name: &str, role: &str, ip: Option<&str>) {
        let what = format!("{role} at {ip:?} in {name}");
        wait::until(&what, PATIENCE, async || {
            let text = self.inside(name, &["cat", "/etc/hosts"])?;
            let found = addresses(&text, role);
            let wanted: Vec<&str> = ip.into_iter().collect();
            if found == wanted { Ok(()) } else { Err(text) }
        })
        .await;
    }

    async fn logs(&self, part: &str) {
        wait::until(part, PATIENCE, async || {
            let log = self.daemon.log();
            if log.contains(part) { Ok(()) } else { Err(log) }
        })
        .await;
    }
}

/// Standard output of a program in a container, if it ends well.
fn exec(socket: &Path, name: &str, args: &[&str]) -> Result<String, String> {
    let host = format!("unix://{}", socket.display());
    let mut docker = Command::new("docker");
    let output = docker.args(["-H", &host, "exec", name]).args(args).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Addresses of a name in a file of hosts.
fn addresses<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let found = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let ip = words.next()?;
        words.any(|word| word == name).then_some(ip)
    });
    found.collect()
}

fn is_node_one(json: &Value) -> bool {
    json["id"] == "one" && json["inspect"]["Config"]["Hostname"].is_string()
}

#[tokio::test]
async fn children_get_their_files_however_they_came() {
    let node = Node::start("one", |daemon| daemon.role("web=10.0.0.1:80")).await;
    let shared = format!("{}:/serfnode", node.below("serfnode").display());
    let own = format!(
        "{}:/serfnode:ro",
        node.below("serfnode/children/own").display()
    );
    // Nothing of ours is mounted: with a label, as Compose gives them, and as nobody.
    node.child("plain", &["-e", "PASSWORD=hunter2", "-u", "1000"]);
    node.child(
        "composed",
        &[
            "-l",
            "com.docker.compose.project=shop",
            "-l",
            "muster.child=true",
        ],
    );
    // The directory that all share, and the one that is for it alone.
    let run = [
        "run", "-d", "--name", "shares", "-v", &shared, "-u", "1000", BUSY,
    ];
    node.engine.docker(&[&run[..], &SLEEP].concat());
    node.child("own", &["-v", &own, "--read-only"]);
    node.child("none", &["-l", "muster.child=false"]);
    for child in ["plain", "composed", "shares"] {
        let me = node.json(child, "/me.json", is_node_one).await;
        assert_eq!(me["inspect"]["Name"], format!("/{child}"));
        let text = me.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        let by_role = node
            .json(child, "/serfnode/serfnodes_by_role.json", |_| true)
            .await;
        assert_eq!(by_role["web"][0]["service_ip"], "10.0.0.1");
        assert_eq!(by_role["web"][0]["service_port"], "80");
        let parent = node.json(child, "/serfnode/parent.json", |_| true).await;
        assert_eq!(parent, serde_json::json!({"id": "one", "inspect": {}}));
    }
    // Its root is read-only.
    let me = node.json("own", "/serfnode/me.json", is_node_one).await;
    assert_eq!(me["inspect"]["Name"], "/own");
    assert!(
        node.inside("own", &["sh", "-c", ": > /serfnode/me.json"])
            .is_err()
    );
    for child in ["plain", "composed", "shares", "own"] {
        node.looks_up(child, "web", Some("10.0.0.1")).await;
    }
    let all = fs::read(node.below("children_by_name.json")).unwrap();
    let all: Value = serde_json::from_slice(&all).unwrap();
    let names: Vec<_> = all.as_object().unwrap().keys().collect();
    assert_eq!(names, ["composed", "own", "plain", "shares"]);
    node.engine.docker(&["rm", "-f", "own"]);
    let own = node.below("serfnode/children/own");
    wait::holds("its directory to go", PATIENCE, async || !own.exists()).await;
}

#[tokio::test]
async fn files_reach_images_without_a_shell_or_it_is_said_why_not() {
    let node = Node::start("one", |daemon| daemon.role("web=10.0.0.1:80")).await;
    let bare = ["run", "-d", "--name", "bare", "-l", "muster.child", BARE];
    node.engine.docker(&[&bare[..], &SLEEP].concat());
    node.child("locked", &["--read-only"]);
    let files = node.below("serfnode/children/single");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("me.json"), "{}").unwrap();
    let single = format!("{}:/me.json", files.join("me.json").display());
    node.child("single", &["-v", &single]);
    let to = temp_dir();
    let to = to.path().join("me.json").display().to_string();
    wait::until("/me.json in bare", PATIENCE, async || {
        let host = format!("unix://{}", node.engine.socket().display());
        let mut copy = Command::new("docker");
        copy.args(["-H", &host, "cp", "-L", "bare:/me.json", &to]);
        let output = copy.output().map_err(|error| error.to_string())?;
        let text = fs::read(&to).map_err(|error| format!("{error}: {output:?}"))?;
        let json = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if is_node_one(&json) {
            Ok(())
        } else {
            Err(json.to_string())
        }
    })
    .await;
    let hosts = node
        .engine
        .docker(&["inspect", "-f", "{{.HostsPath}}", "bare"]);
    wait::until("the hosts of bare", PATIENCE, async || {
        let text = fs::read_to_string(&hosts).map_err(|error| error.to_string())?;
        let found = addresses(&text, "web");
        if found == ["10.0.0.1"] {
            Ok(())
        } else {
            Err(text.clone())
        }
    })
    .await;
    node.logs("a file is undeliverable child=\"locked\" file=\"/me.json\"")
        .await;
    node.logs("its root file system is read-only: give it --volumes-from")
        .await;
    node.logs("a file is undeliverable child=\"single\" file=\"/me.json\"")
        .await;
    node.logs(&format!("-v {}:/serfnode:ro", files.display()))
        .await;
    // The others come through the engine.
    node.json("single", "/serfnode/serfnodes_by_role.json", |by_role| {
        by_role["web"][0]["service_port"] == "80"
    })
    .await;
    // Its lines of hosts come all the same.
    node.looks_up("locked", "web", Some("10.0.0.1")).await;
}

#[tokio::test]
async fn lines_of_hosts_outlive_what_docker_does_to_them() {
    let node = Node::start("one", |daemon| daemon.role("web=10.0.0.1:80")).await;
    node.engine.docker(&["network", "create", "other"]);
    node.child("kid", &[]);
    node.looks_up("kid", "web", Some("10.0.0.1")).await;
    let docker = |args: &[&str]| node.engine.docker(args);
    docker(&["restart", "-t", "0", "kid"]);
    node.looks_up("kid", "web", Some("10.0.0.1")).await;
    docker(&["network", "connect", "other", "kid"]);
    node.looks_up("kid", "web", Some("10.0.0.1")).await;
    // The line of the first network stood in front of ours.
    docker(&["network", "disconnect", "bridge", "kid"]);
    node.looks_up("kid", "web", Some("10.0.0.1")).await;
    let text = node.inside("kid", &["cat", "/etc/hosts"]).unwrap();
    let id: String = docker(&["inspect", "-f", "{{.Id}}", "kid"])
        .chars()
        .take(12)
        .collect();
    assert_eq!(
        addresses(&text, "localhost"),
        ["127.0.0.1", "::1"],
        "{text}"
    );
    assert!(addresses(&text, &id)[0].starts_with("172."), "{text}");
    // Somebody restores an old one, without a word to anybody.
    let path = docker(&["inspect", "-f", "{{.HostsPath}}", "kid"]);
    fs::write(path, "127.0.0.1\tlocalhost\n").unwrap();
    node.looks_up("kid", "web", Some("10.0.0.1")).await;
}

/// Children in the measured test.
const CHILDREN: usize = 20;

#[tokio::test]
async fn when_the_oldest_of_a_role_goes_the_hosts_of_all_children_follow() {
    let node = Node::start("one", |daemon| daemon).await;
    let (names, paths) = node.children();
    let start = |name: &'static str, ip: &str| {
        let daemon = Daemon::builder(BIN, name).arg("--docker").arg("off");
        daemon
            .join(node.daemon.addr())
            .role(&format!("web={ip}:80"))
            .ready()
    };
    let mut old = start("old", "10.0.0.1").await;
    for name in &names {
        node.looks_up(name, "web", Some("10.0.0.1")).await;
    }
    let _young = start("young", "10.0.0.2").await;
    let by_role = node.below("serfnodes_by_role.json");
    wait::until("both members", PATIENCE, async || {
        let text = fs::read_to_string(&by_role).map_err(|error| error.to_string())?;
        if text.contains("young") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    // Readers in a container, all the time.
    let script = "BEGIN { for (i = 0; i < 50000; i++) { n = 0; \
                  while ((getline l < \"/etc/hosts\") > 0) { \
                  if (l ~ /^10.0.0.[12] web *# muster$/) n++; \
                  else if (l ~ /^[^#]*web/) torn++ } \
                  close(\"/etc/hosts\"); if (!n) missing++ } \
                  print torn + 0, missing + 0 }";
    let reading = node.reads("c0", script.to_owned());
    let begun = Instant::now();
    old.kill().await;
    let (first, last) = all_name(&paths, "10.0.0.2", begun).await;
    println!("hosts of {CHILDREN} children: the first {first:?}, the last {last:?} after the end");
    assert_eq!(reading.await.unwrap().unwrap().trim(), "0 0");
    for name in &names {
        node.looks_up(name, "web", Some("10.0.0.2")).await;
    }
}

/// Deaths of a container that are timed.
const DEATHS: usize = 10;

#[tokio::test]
async fn how_long_hosts_of_children_name_a_container_that_died_on_another_node() {
    // The oldest one that serves the role is first.
    let elder = Node::start("elder", |daemon| daemon).await;
    let join = |daemon: DaemonBuilder| daemon.join(elder.daemon.addr());
    let node = Node::start("one", |daemon| join(daemon).role("web=10.0.0.2:80")).await;
    let (_names, paths) = node.children();
    let mut times = Vec::new();
    for round in 0..DEATHS {
        let name = format!("shop{round}");
        let run = ["run", "-d", "--name", &name, "-l", "muster.role=web:80"];
        let address = ["-l", "muster.service-ip=10.0.0.1", BUSY];
        let id = elder.engine.docker(&[&run[..], &address, &SLEEP].concat());
        all_name(&paths, "10.0.0.1", Instant::now()).await;
        let first = rustix::process::Pid::from_raw(first_process(&id)).unwrap();
        let begun = Instant::now();
        rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
        let (_first, last) = all_name(&paths, "10.0.0.2", begun).await;
        times.push(last);
    }
    times.sort();
    let (median, worst) = (times[DEATHS / 2], times[DEATHS - 1]);
    println!(
        "a container's process is killed on one node, hosts of {CHILDREN} children on another \
         follow: median {median:.1?}, worst of {DEATHS} {worst:.1?}"
    );
}

/// When the first and the last file of hosts named that address alone, since `begun`.
async fn all_name(paths: &[String], ip: &str, begun: Instant) -> (Duration, Duration) {
    let mut first = None;
    for path in paths {
        wait::until(ip, PATIENCE, async || {
            let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
            let found = addresses(&text, "web");
            if found == [ip] {
                Ok(())
            } else {
                Err(text.clone())
            }
        })
        .await;
        first.get_or_insert(begun.elapsed());
    }
    (first.unwrap_or_default(), begun.elapsed())
}

#[tokio::test]
async fn files_are_whole_whenever_a_container_reads_them() {
    let node = Node::start("one", |daemon| daemon.role("web=10.0.0.1:80")).await;
    node.engine.docker(&["network", "create", "other"]);
    let own = format!(
        "{}:/serfnode:ro",
        node.below("serfnode/children/own").display()
    );
    node.child("own", &["-v", &own]);
    node.child("posted", &[]);
    for child in ["own", "posted"] {
        node.json(child, "/serfnode/parent.json", |_| true).await;
    }
    // First and last byte of the one line that the file is.
    let script = |path: &str| {
        format!(
            "BEGIN {{ for (i = 0; i < 20000; i++) {{ l = \"\"; r = (getline l < \"{path}\"); \
             close(\"{path}\"); if (r < 0) missing++; else if (l !~ /^[{{].*[}}]$/) torn++ }} \
             print torn + 0, missing + 0 }}"
        )
    };
    let own = node.reads("own", script("/serfnode/me.json"));
    let posted = node.reads("posted", script("/me.json"));
    let mut rounds = 0;
    while !own.is_finished() || !posted.is_finished() {
        for child in ["own", "posted"] {
            node.engine.docker(&["network", "connect", "other", child]);
            node.engine
                .docker(&["network", "disconnect", "other", child]);
        }
        rounds += 1;
    }
    let own = own.await.unwrap().unwrap();
    assert_eq!(own.trim(), "0 0", "after {rounds} rounds");
    // Whole, but for an instant there is none.
    let posted = posted.await.unwrap().unwrap();
    println!("torn and missing of 20000 readings of a posted file: {posted}");
    assert!(posted.starts_with("0 "), "{posted}");
}

#[tokio::test]
async fn a_container_that_owns_the_directory_gains_nothing() {
    let node = Node::start("one", |daemon| daemon.role("web=10.0.0.1:80")).await;
    let shared = format!("{}:/serfnode", node.below("serfnode").display());
    node.child("evil", &["-v", &shared]);
    node.json("evil", "/me.json", is_node_one).await;
    let victim = node.root.path().parent().unwrap().join("victim");
    let victim = temp_file(&victim);
    // Links, a pipe, a directory, a huge file; then a change makes the daemon write.
    let script = format!(
        "cd /serfnode && rm -rf children/evil parent.json serfnodes_by_id.json && \
         ln -s {0} serfnodes_by_id.json && mkdir parent.json && : > parent.json/x && \
         ln -s {1} children/evil",
        victim.display(),
        victim.parent().unwrap().display()
    );
    node.inside("evil", &["sh", "-c", &script]).unwrap();
    node.child("other", &[]);
    node.json("evil", "/me.json", is_node_one).await;
    node.json("evil", "/serfnode/serfnodes_by_id.json", |json| {
        json["one"].is_object()
    })
    .await;
    node.json("evil", "/serfnode/parent.json", |json| json["id"] == "one")
        .await;
    assert_eq!(fs::read_to_string(&victim).unwrap(), "keep");
    fs::remove_file(victim).unwrap();
}

fn temp_file(path: &Path) -> PathBuf {
    let path = path.with_extension(std::process::id().to_string());
    fs::write(&path, "keep").unwrap();
    path
}
