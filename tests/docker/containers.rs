//! Containers as the cluster's knowledge: two nodes, each with an engine of its own, in
//! one cluster.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use muster_proto::v1::resolve_role_response::Event;
use muster_proto::v1::{EndpointSet, ResolveRoleRequest, ResolveRoleResponse};
use muster_tests::harness::api::Watch;
use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::{Binaries, Cluster, Engine, wait};
use serde_json::Value;
use tokio::time::Instant;

const BIN: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};

/// An image with busybox and nothing else.
const IMAGE: &str = "busy";

/// For what an engine and two daemons do together on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deaths that are timed.
const DEATHS: usize = 30;

/// Two nodes and their engines.
struct Scene {
    engines: [Engine; 2],
    cluster: Cluster,
}

impl Scene {
    async fn start() -> Self {
        let engines = [Engine::start().await, Engine::start().await];
        engines.iter().for_each(make_image);
        let sockets = [engines[0].socket(), engines[1].socket()];
        let cluster = Cluster::builder(BIN, 2).each(move |n, builder| {
            let host = format!("unix://{}", sockets[n].display());
            builder.arg("--docker-host").arg(host)
        });
        let cluster = cluster.start().await;
        Self { engines, cluster }
    }

    /// `docker run -d` on an engine, with a process that ends when it is told.
    fn run(&self, at: usize, name: &str, args: &[&str]) -> String {
        let start = ["run", "-d", "--name", name];
        let sleep = ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"];
        self.engines[at].docker(&[&start[..], args, &[IMAGE], &sleep[..]].concat())
    }

    /// `muster containers` as a node has it, by node and name: the state and all else.
    async fn listed(&self, at: usize) -> Vec<(String, Value)> {
        let muster = self.cluster.node(at).muster();
        let ran = muster
            .run(&["containers", "--all", "--format", "json"])
            .await;
        let held = ran.json()["containers"].as_array().cloned();
        let named = |one: &Value| format!("{}/{}", text(one, "node"), text(one, "name"));
        let held = held.unwrap_or_default().into_iter();
        held.map(|one| (named(&one), one)).collect()
    }

    /// Waits until a node says that of a container.
    async fn shows(&self, at: usize, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(name, PATIENCE, async || {
            let listed = self.listed(at).await;
            let found = listed
                .iter()
                .find(|(known, one)| known == name && wanted(one));
            found
                .map(|(_, one)| one.clone())
                .ok_or(format!("{listed:?}"))
        })
        .await
    }

    /// Follows a role at a node.
    async fn follow(
        &self,
        at: usize,
        role: &str,
        include_unhealthy: bool,
    ) -> Watch<ResolveRoleResponse> {
        let mut api = self.cluster.node(at).api().await;
        let request = ResolveRoleRequest {
            role: role.to_owned(),
            include_unhealthy,
            min_interval: Some(prost_types::Duration::default()),
            ..ResolveRoleRequest::default()
        };
        api.resolve(request).await
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn make_image(engine: &Engine) {
    let root = temp_dir();
    let bin = root.path().join("bin");
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for applet in ["sh", "sleep", "test", "touch", "cat", "rm"] {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    engine.import(IMAGE, root.path());
}

/// Sets come until one has so many endpoints.
async fn until_endpoints(watch: &mut Watch<ResolveRoleResponse>, count: usize) -> EndpointSet {
    let coming = async {
        loop {
            if let Some(Event::Set(set)) = watch.next().await.event
                && set.endpoints.len() == count
            {
                return set;
            }
        }
    };
    let set = tokio::time::timeout(PATIENCE, coming).await;
    set.unwrap_or_else(|_late| panic!("never {count} endpoints"))
}

#[tokio::test]
async fn a_label_makes_a_container_serve_a_role_for_the_whole_cluster() {
    let scene = Scene::start().await;
    let mut web = scene.follow(1, "web", false).await;
    until_endpoints(&mut web, 0).await;
    let id = scene.run(
        0,
        "shop",
        &["-l", "muster.role=web:80", "-e", "PASSWORD=hunter2"],
    );
    let set = until_endpoints(&mut web, 1).await;
    let endpoint = &set.endpoints[0];
    assert_eq!((endpoint.member.as_str(), endpoint.port), ("node-0", 80));
    assert_eq!(
        (endpoint.container.as_str(), endpoint.healthy),
        (id.as_str(), true)
    );
    assert_eq!(
        endpoint.address, "172.17.0.2",
        "its own: nothing is published"
    );
    let shown = scene
        .shows(1, "node-0/shop", |one| text(one, "state") == "running")
        .await;
    assert_eq!(text(&shown, "id"), id);
    assert_eq!(shown["labels"]["muster.role"], "web:80");

    // A published port is reached at the node.
    scene.run(
        1,
        "api",
        &["-l", "muster.role=api:80", "-p", "127.0.0.1:18080:80"],
    );
    let mut api = scene.follow(0, "api", false).await;
    let set = until_endpoints(&mut api, 1).await;
    assert_eq!(
        (set.endpoints[0].address.as_str(), set.endpoints[0].port),
        ("127.0.0.1", 18_080)
    );

    inspected_at_its_owner(&scene, &id).await;
    gone_with_its_container(&scene, &mut web).await;
}

/// Inspect goes to the owner, without the secrets.
async fn inspected_at_its_owner(scene: &Scene, id: &str) {
    let muster = scene.cluster.node(1).muster();
    for which in ["shop", "shop@node-0", "node-0/shop", &id[..8]] {
        let answer = muster.ok(&["inspect", which]).await;
        assert!(!answer.contains("hunter2"), "{answer}");
        let parsed: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(text(&parsed[0], "Id"), id);
        let env = parsed[0]["Config"]["Env"].to_string();
        assert!(env.contains("PASSWORD=<redacted>"), "{env}");
    }
    // The same name on both is no one's.
    scene.run(1, "shop", &[]);
    scene
        .shows(1, "node-1/shop", |one| text(one, "state") == "running")
        .await;
    let ran = muster.run(&["inspect", "shop"]).await.expect_code(1);
    assert!(
        ran.stderr.contains("node-0/shop, node-1/shop"),
        "{}",
        ran.stderr
    );
    muster.run(&["inspect", "nobody"]).await.expect_code(3);
}

/// The role goes with the container, the summary with its removal.
async fn gone_with_its_container(scene: &Scene, web: &mut Watch<ResolveRoleResponse>) {
    scene.engines[0].docker(&["kill", "shop"]);
    until_endpoints(web, 0).await;
    let exited = |one: &Value| text(one, "state") == "exited" && one["exit_code"] == 137;
    scene.shows(1, "node-0/shop", exited).await;
    scene.engines[0].docker(&["rm", "shop"]);
    wait::holds("the removed one is gone", PATIENCE, async || {
        scene
            .listed(1)
            .await
            .iter()
            .all(|(name, _)| name != "node-0/shop")
    })
    .await;
}

#[tokio::test]
async fn an_unhealthy_container_is_no_endpoint_unless_asked_for() {
    let scene = Scene::start().await;
    let mut web = scene.follow(1, "web", false).await;
    let mut all = scene.follow(1, "web", true).await;
    let check = [
        "-l",
        "muster.role=web:80",
        "--health-cmd=test -e /tmp/well",
        "--health-interval=200ms",
        "--health-retries=1",
    ];
    scene.run(0, "shop", &check);
    assert!(
        !until_endpoints(&mut all, 1).await.endpoints[0].healthy,
        "starting"
    );
    scene.engines[0].docker(&["exec", "shop", "touch", "/tmp/well"]);
    until_endpoints(&mut web, 1).await;
    scene.engines[0].docker(&["exec", "shop", "rm", "/tmp/well"]);
    until_endpoints(&mut web, 0).await;
    scene
        .shows(1, "node-0/shop", |one| text(one, "health") == "unhealthy")
        .await;
    // Pausing withdraws it for everybody.
    scene.engines[0].docker(&["pause", "shop"]);
    until_endpoints(&mut all, 0).await;
    scene.engines[0].docker(&["unpause", "shop"]);
    until_endpoints(&mut all, 1).await;
}

#[tokio::test]
async fn labels_that_make_no_sense_are_named_in_the_log() {
    let scene = Scene::start().await;
    scene.run(0, "odd", &["-l", "muster.role=-web"]);
    scene.shows(1, "node-0/odd", |_| true).await;
    wait::holds("a warning", PATIENCE, async || {
        let log = scene.cluster.node(0).log();
        log.contains("a label makes no sense") && log.contains("odd") && log.contains("-web")
    })
    .await;
}

#[tokio::test]
async fn how_long_a_dead_container_is_resolved_elsewhere() {
    let scene = Scene::start().await;
    let mut web = scene.follow(1, "web", false).await;
    let mut times = Vec::new();
    for round in 0..DEATHS {
        let name = format!("shop{round}");
        let id = scene.run(0, &name, &["-l", "muster.role=web:80"]);
        until_endpoints(&mut web, 1).await;
        let pid = rustix::process::Pid::from_raw(first_process(&id)).unwrap();
        let died = Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until_endpoints(&mut web, 0).await;
        times.push(died.elapsed());
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "a container's process is killed on one node, ResolveRole on the other drops it: \
         median {median:.1?}, worst of {DEATHS} {worst:.1?}"
    );
}

/// The first process of a container in our own process namespace: the engine has one of
/// its own.
pub(crate) fn first_process(id: &str) -> i32 {
    let wanted = format!("/{id}");
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut inside = pids.filter(|pid| {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        cgroup.is_ok_and(|text| text.lines().any(|line| line.ends_with(&wanted)))
    });
    // What starts it is in its group for an instant as well: the first process is number
    // one in the innermost namespace.
    let is_first = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        numbers.is_some_and(|numbers| numbers.split_whitespace().next_back() == Some("1"))
    };
    inside.find(is_first).expect("the container runs")
}
