//! The view of an engine stays true, whatever happens to containers and engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use muster_tests::harness::cluster::see_alive;
use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::{Binaries, Cluster, Engine, wait};
use musterd::docker::{Docker, EngineStatus, Health};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::cutter::Cutter;
use crate::image::{self, SMALL};
use crate::view::{PATIENCE, View, is_away, is_live};

const BINARIES: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};

/// Operations under a stream that is cut.
const OPERATIONS: usize = 1_000;

/// How often it is cut.
const CUTS: usize = 100;

/// Who works at once.
const WORKERS: usize = 4;

/// Containers of the idle engine.
const MANY: usize = 200;

#[tokio::test]
async fn everything_that_happens_to_a_container_is_seen() {
    let engine = Engine::start().await;
    image::make_small(&engine);
    let mut view = View::of(&engine.socket()).await;
    view.live().await;
    engine.docker(&["network", "create", "net"]);
    let run = "run -d --name web -l muster.role=web:80 -p 127.0.0.1:0:80 --health-interval 1s \
               --health-retries 1 --health-cmd";
    let run: Vec<_> = run.split(' ').collect();
    engine.docker(&[&run[..], &["test -f /tmp/well", SMALL, "sleep", "1000"]].concat());
    let web = view
        .sees("web", "runs", |one| one.is_running() && one.pid != 0)
        .await;
    assert_eq!(web.labels["muster.role"], "web:80");
    assert_eq!(web.networks["bridge"].len(), 1);
    let port = web
        .ports
        .iter()
        .find(|port| port.container_port == 80)
        .unwrap();
    assert!(port.published[0].1 > 0);
    let whole = engine.docker(&["inspect", "web"]);
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let kept: serde_json::Value = serde_json::from_str(web.inspect.get()).unwrap();
    assert_eq!(
        kept["NetworkSettings"]["IPAddress"],
        whole[0]["NetworkSettings"]["IPAddress"]
    );
    view.sees("web", "is unhealthy", |one| one.health == Health::Unhealthy)
        .await;
    engine.docker(&["exec", "web", "sh", "-c", "echo > /tmp/well"]);
    view.sees("web", "is healthy", |one| one.health == Health::Healthy)
        .await;
    engine.docker(&["rename", "web", "shop"]);
    view.sees("shop", "has its name", |one| one.id == web.id)
        .await;
    engine.docker(&["network", "connect", "net", "shop"]);
    let both =
        |one: &musterd::docker::Container| one.networks.get("net").is_some_and(|a| a.len() == 1);
    view.sees("shop", "is in the network", both).await;
    engine.docker(&["network", "disconnect", "net", "shop"]);
    view.sees("shop", "left the network", |one| {
        !one.networks.contains_key("net")
    })
    .await;
    engine.docker(&["pause", "shop"]);
    view.sees("shop", "is paused", |one| one.state == "paused")
        .await;
    engine.docker(&["unpause", "shop"]);
    view.sees("shop", "goes on", musterd::docker::Container::is_running)
        .await;
    engine.docker(&["kill", "shop"]);
    let dead = view
        .sees("shop", "ended", |one| one.state == "exited")
        .await;
    assert_eq!((dead.exit_code, dead.pid), (Some(137), 0));
    engine.docker(&["start", "shop"]);
    view.sees("shop", "runs again", |one| {
        one.started_unix_ms > web.started_unix_ms
    })
    .await;
    engine.docker(&["rm", "-f", "shop"]);
    view.until("its end", |state| state.containers.is_empty())
        .await;
    view.agrees(&engine).await;
    view.stop().await;
}

/// Creates, renames and removes; says how many operations that were.
async fn work(docker: Docker, worker: usize, done: Arc<AtomicUsize>) {
    let mut random = StdRng::seed_from_u64(worker as u64);
    let mut mine: Vec<String> = Vec::new();
    let body = json!({"Image": SMALL, "Cmd": ["sleep", "1"], "NetworkDisabled": true});
    for step in 0..OPERATIONS / WORKERS {
        let name = format!("w{worker}-{step}");
        let engine = docker.engine();
        match random.random_range(0..3) {
            1 if !mine.is_empty() => {
                let at = random.random_range(0..mine.len());
                engine.rename(&mine[at], &name).await.unwrap();
                mine[at] = name;
            }
            2 if !mine.is_empty() => {
                let at = random.random_range(0..mine.len());
                engine
                    .remove(&mine.swap_remove(at), true, false)
                    .await
                    .unwrap();
            }
            _ => {
                engine.create(&name, &body).await.unwrap();
                mine.push(name);
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_cut_a_hundred_times_loses_nothing() {
    let engine = Engine::start().await;
    image::make_small(&engine);
    let directory = temp_dir();
    let cutter = Cutter::new(directory.path(), engine.socket());
    let mut view = View::of(cutter.socket()).await;
    view.live().await;
    let direct = View::of(&engine.socket()).await;
    let done = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| tokio::spawn(work(direct.docker.clone(), worker, Arc::clone(&done))))
        .collect();
    let mut random = StdRng::seed_from_u64(7);
    let mut at: Vec<usize> = (0..CUTS)
        .map(|_| random.random_range(0..OPERATIONS))
        .collect();
    at.sort_unstable();
    for at in at {
        wait::holds("operations", PATIENCE, async || {
            done.load(Ordering::Relaxed) >= at
        })
        .await;
        cutter.cut();
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let worked = begun.elapsed();
    view.agrees(&engine).await;
    eprintln!(
        "{OPERATIONS} operations in {:.1} s under {CUTS} cuts: {} containers left, true after \
         {:.2} s; {} losses, {} inspects, {} connections",
        worked.as_secs_f64(),
        view.docker.state().borrow().containers.len(),
        (begun.elapsed() - worked).as_secs_f64(),
        view.count("muster_docker_losses"),
        view.count("muster_docker_inspects"),
        cutter.connections(),
    );
    assert!(view.count("muster_docker_losses") > 0);
    direct.stop().await;
    view.stop().await;
}

#[tokio::test]
async fn an_engine_that_hangs_or_dies_comes_back() {
    let mut engine = Engine::start().await;
    image::make_small(&engine);
    engine.docker(&["run", "-d", "--name", "web", SMALL, "sleep", "1000"]);
    let mut view = View::of(&engine.socket()).await;
    view.live().await;
    engine.pause();
    let hung = view.until("its silence", is_away).await;
    assert_eq!(hung.containers.len(), 1);
    let away = |status: &EngineStatus| match status {
        EngineStatus::Away { error, .. } => error.clone(),
        other @ (EngineStatus::Off | EngineStatus::Unknown { .. } | EngineStatus::Live { .. }) => {
            panic!("{other:?}")
        }
    };
    assert!(
        away(&hung.engine).contains("no answer"),
        "{:?}",
        hung.engine
    );
    engine.resume();
    view.live().await;
    engine.kill().await;
    let dead = view.until("its death", is_away).await;
    assert!(dead.containers.values().all(|one| one.is_running()));
    engine.restart().await;
    view.until("its return", is_live).await;
    view.sees("web", "ended with the engine", |one| one.state == "exited")
        .await;
    view.agrees(&engine).await;
    view.stop().await;
}

#[tokio::test]
async fn a_stopped_engine_delays_no_gossip() {
    let engine = Engine::start().await;
    let host = format!("--docker-host=unix://{}", engine.socket().display());
    let follows = host.clone();
    let cluster = Cluster::builder(BINARIES, 2)
        .each(move |_, builder| builder.arg(&follows))
        .start()
        .await;
    for node in cluster.nodes() {
        let mut api = node.api().await;
        wait::holds("the engine", PATIENCE, async || {
            api.metric("muster_docker_live").await == 1.0
        })
        .await;
    }
    engine.pause();
    let mut api = cluster.node(0).api().await;
    wait::until("the warning", PATIENCE, async || {
        let warnings = api.info().await.warnings.join("\n");
        match warnings.contains("the Docker engine is away") {
            true => Ok(()),
            false => Err(warnings),
        }
    })
    .await;
    // A daemon that starts now and one that is there.
    let begun = Instant::now();
    let newcomer = cluster.newcomer("late").arg(&host).ready().await;
    see_alive(cluster.node(0), 3).await;
    let joined = begun.elapsed();
    let begun = Instant::now();
    let sent = newcomer
        .muster()
        .ok(&["event", "hello", "--receipt", "delivered"])
        .await;
    eprintln!(
        "beside a stopped engine: joined in {:.2} s, an event delivered in {:.0} ms",
        joined.as_secs_f64(),
        begun.elapsed().as_secs_f64() * 1e3
    );
    assert!(sent.contains("delivered to 3 of 3"), "{sent}");
    engine.resume();
    wait::holds("its return", PATIENCE, async || {
        api.metric("muster_docker_live").await == 1.0
    })
    .await;
}

/// CPU time of this process, seconds.
fn cpu() -> f64 {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = usage
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_containers_cost_an_inspect_per_change() {
    let engine = Engine::start().await;
    image::make_small(&engine);
    let direct = View::of(&engine.socket()).await;
    let body = json!({"Image": SMALL, "Cmd": ["sleep", "1"], "NetworkDisabled": true});
    for number in 0..MANY {
        let name = format!("c{number}");
        direct.docker.engine().create(&name, &body).await.unwrap();
    }
    direct.stop().await;
    let begun = Instant::now();
    let mut view = View::of(&engine.socket()).await;
    view.live().await;
    let listed = begun.elapsed();
    let first = view.count("muster_docker_inspects");
    for number in 0..MANY {
        let name = format!("d{number}");
        let old = format!("c{number}");
        view.docker.engine().rename(&old, &name).await.unwrap();
    }
    view.agrees(&engine).await;
    let inspects = view.count("muster_docker_inspects") - first;
    assert_eq!(inspects, MANY as u64);
    // What is idle is measured and printed, not judged: the machine may be busy.
    let (before, span) = (cpu(), Duration::from_secs(10));
    tokio::time::sleep(span).await;
    let idle = (cpu() - before) / span.as_secs_f64() * 100.0;
    eprintln!(
        "{MANY} containers: listed in {:.2} s with {first} inspects, {MANY} changes in {inspects}, \
         idle {idle:.2} % of a CPU",
        listed.as_secs_f64(),
    );
    view.stop().await;
}
