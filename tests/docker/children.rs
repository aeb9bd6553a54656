//! The containers that a node starts itself, by the images of `deploy/image.sh`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::{Engine, Process, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::image;

/// Longest wait for what the engine and the daemon do, with slack for a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The image with a shell.
const SHELL: &str = "muster-shell";

const PLAINTEXT: &str = "--insecure-plaintext";

/// Two children that tell what they found first, and live on.
const TWO: &str = "\
serfnode:
  role: web
  environment: {STAGE: test}
children:
- db: &child
    image: muster-shell
    entrypoint: [/bin/sh, -c]
    command:
    - readlink /me.json; head -c 20 /me.json; echo; echo stage $STAGE; trap 'exit 0' TERM; sleep 100000 & wait
- web: *child
";

/// Runs `deploy/image.sh` against an engine.
fn build(engine: &Engine, args: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docker = format!("docker -H unix://{}", engine.socket().display());
    let output = Command::new(root.join("deploy/image.sh"))
        .args(["--profile", "dev", "--binaries"])
        .arg(image::binaries())
        .args(args)
        .env("DOCKER", docker)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "image.sh: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A child: its name in the file, its state, when it was started and ended last, in
/// digits that can be compared, and its network.
type Seen = (String, String, String, String, String);

/// The `docker` command where a failure is news: a container may go while it is looked at.
fn docker(engine: &Engine, args: &[&str]) -> Result<String, String> {
    let host = format!("unix://{}", engine.socket().display());
    let output = Command::new("docker")
        .args(["-H", &host])
        .args(args)
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// The containers of the engine that are children.
fn children(engine: &Engine) -> Result<Vec<Seen>, String> {
    let ids = docker(
        engine,
        &["ps", "-aq", "--no-trunc", "--filter", "label=muster.spec"],
    )?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let format = "{{index .Config.Labels \"muster.child\"}} {{.State.Status}} {{.State.StartedAt}} \
                  {{.State.FinishedAt}} {{.HostConfig.NetworkMode}}";
    let shown = docker(
        engine,
        &[&["inspect", "--format", format], &ids[..]].concat(),
    )?;
    let one = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (name, state) = (words.next()?, words.next()?);
        let (started, ended) = (instant(&words.next()?), instant(&words.next()?));
        Some((name, state, started, ended, words.next()?))
    };
    let mut all: Vec<Seen> = shown.lines().filter_map(one).collect();
    all.sort();
    Ok(all)
}

/// A moment whose texts sort as it does: Docker leaves final zeros out.
fn instant(text: &str) -> String {
    let text = text.trim_end_matches('Z');
    let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{part:0<9}")
}

/// Waits until these children run, each once, and nothing else is there.
async fn run(engine: &Engine, names: &[&str]) -> Vec<Seen> {
    let what = format!("{names:?} to run");
    wait::until(&what, PATIENCE, async || {
        let all = children(engine)?;
        let running: Vec<&str> = all
            .iter()
            .filter(|(_, state, ..)| state == "running")
            .map(|(name, ..)| name.as_str())
            .collect();
        match running == names && all.len() == names.len() {
            true => Ok(all),
            false => Err(format!("{all:?}")),
        }
    })
    .await
}

/// Starts a node in a container.
fn node(engine: &Engine, yml: &Path) {
    let socket = format!("{}:/var/run/docker.sock", engine.socket().display());
    let yml = format!("{}:/serfnode.yml", yml.display());
    let args = [
        "run",
        "-d",
        "--name",
        "node",
        "--hostname",
        "n1",
        "-v",
        &socket,
        "-v",
        &yml,
    ];
    engine.docker(&[&args[..], &[SHELL, PLAINTEXT]].concat());
}

fn write(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("my.yml");
    fs::write(&path, text).unwrap();
    path
}

/// Both outputs of a container.
fn logs(engine: &Engine, container: &str) -> String {
    let host = format!("unix://{}", engine.socket().display());
    let output = Command::new("docker")
        .args(["-H", &host, "logs", container])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

async fn logged(engine: &Engine, container: &str, part: &str) {
    wait::until(part, PATIENCE, async || {
        let log = logs(engine, container);
        if log.contains(part) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn a_node_in_a_container_runs_its_children() {
    let engine = Engine::start().await;
    build(&engine, &[SHELL]);
    let directory = temp_dir();
    let yml = write(directory.path(), TWO);
    node(&engine, &yml);
    let all = run(&engine, &["db", "web"]).await;
    assert!(all[0].2 < all[1].2, "started in another order: {all:?}");
    with_their_files(&engine).await;
    // A reload applies another file.
    let more = TWO.replace("- web: *child", "- more: *child");
    fs::write(&yml, more).unwrap();
    engine.docker(&["kill", "--signal", "HUP", "node"]);
    let after = run(&engine, &["db", "more"]).await;
    assert_eq!(after[0].2, all[0].2, "db did not change");
    ended_and_begun_again(&engine).await;
    // A new node in place of a lost one: new children, no orphans.
    engine.docker(&["rm", "-f", "node"]);
    node(&engine, &yml);
    let node_id = engine.docker(&["inspect", "--format", "{{.Id}}", "node"]);
    let in_new = format!("container:{node_id}");
    wait::until("children of the new node", PATIENCE, async || {
        let all = children(&engine)?;
        let right = all.len() == 2 && all.iter().all(|(.., network)| *network == in_new);
        if right {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
}

/// Each has what its node wrote for it, and shares its network.
async fn with_their_files(engine: &Engine) {
    let label = "label=muster.child";
    let names = engine.docker(&["ps", "--format", "{{.Names}}", "--filter", label]);
    for name in names.lines() {
        assert!(name.contains("_app_n1_"), "{name}");
        // Written before its first instruction.
        let first = "/serfnode/me.json\n{\"id\":\"n1\",\"inspect\"\nstage test";
        logged(engine, name, first).await;
        let mode = ["inspect", "--format", "{{.HostConfig.NetworkMode}}", name];
        assert!(engine.docker(&mode).starts_with("container:"), "{name}");
        // Its node, through the network that they share.
        let reach = "exec NAME /bin/busybox nc -w 5 127.0.0.1 7946 -e /bin/busybox true";
        let words = reach
            .split(' ')
            .map(|word| if word == "NAME" { name } else { word });
        engine.docker(&words.collect::<Vec<_>>());
    }
}

/// Children end and begin with their node.
async fn ended_and_begun_again(engine: &Engine) {
    // The children stop with their node, the last one first, and within its time.
    engine.docker(&["stop", "--time", "60", "node"]);
    let ended = children(engine).unwrap();
    assert!(
        ended.iter().all(|(_, state, ..)| state == "exited"),
        "{ended:?}"
    );
    assert!(
        ended[1].3 <= ended[0].3,
        "stopped in another order: {ended:?}"
    );
    logged(engine, "node", "killed=0").await;
    // And are there again with it, in its new network.
    engine.docker(&["start", "node"]);
    run(engine, &["db", "more"]).await;
    // Also when it had no time to stop them.
    engine.docker(&["kill", "node"]);
    engine.docker(&["start", "node"]);
    let begun = engine.docker(&["inspect", "--format", "{{.State.StartedAt}}", "node"]);
    wait::until("children in the new network", PATIENCE, async || {
        let all = children(engine)?;
        let fresh = all
            .iter()
            .all(|(_, state, started, ..)| state == "running" && *started > instant(&begun));
        if fresh && all.len() == 2 {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_start_is_told_with_what_to_write_instead() {
    let engine = Engine::start().await;
    build(&engine, &["--import", SHELL]);
    let directory = temp_dir();
    let text = "children:\n\
                - far: {image: 'nowhere.invalid/far:1'}\n\
                - late: {image: muster-shell, ports: ['8000:80']}\n";
    let yml = write(directory.path(), text);
    node(&engine, &yml);
    logged(
        &engine,
        "node",
        "is not on this engine, and it cannot be pulled",
    )
    .await;
    let info = engine.docker(&["exec", "node", "muster", "info"]);
    assert!(info.contains("child \"far\" does not start"), "{info}");
    let only = "children:\n- late: {image: muster-shell, ports: ['8000:80']}\n";
    fs::write(&yml, only).unwrap();
    engine.docker(&["kill", "--signal", "HUP", "node"]);
    logged(
        &engine,
        "node",
        "Start the parent's container with -p 8000:80 and leave ports out",
    )
    .await;
    assert_eq!(children(&engine).unwrap(), []);
    // What serfnode's image has at its root.
    let me = engine.docker(&["exec", "node", "/me"]);
    assert!(me.ends_with(":7946") && me.starts_with("172.17."), "{me}");
}

/// A daemon on the host.
fn daemon(engine: &Engine, directory: &Path, yml: &Path) -> Process {
    let mut args = engine.enter().to_vec();
    let at = |name: &str| directory.join(name).display().to_string();
    let flags = [
        env!("CARGO_BIN_EXE_musterd-under-test").to_owned(),
        PLAINTEXT.to_owned(),
        "--name=host".to_owned(),
        "--bind=127.0.0.1:0".to_owned(),
        format!("--socket={}", at("api.sock")),
        format!("--docker-host=unix://{}", engine.socket().display()),
        format!("--serfnode-yml={}", yml.display()),
    ];
    args.extend(flags.map(OsString::from));
    Process::start(
        "host",
        "nsenter".as_ref(),
        &args,
        &[],
        directory,
        Stdio::null(),
    )
}

#[tokio::test]
async fn a_daemon_that_is_killed_while_it_launches_finds_its_children_again() {
    let engine = Engine::start().await;
    build(&engine, &["--import", SHELL]);
    let directory = temp_dir();
    let text = TWO.replace("- web: *child", "- web: *child\n- more: *child");
    let yml = write(directory.path(), &text);
    // At once, at the first container, and at the second and third.
    for seen in 0..=3 {
        let mut first = daemon(&engine, directory.path(), &yml);
        wait::until("containers", PATIENCE, async || {
            let all = children(&engine)?;
            if all.len() >= seen {
                Ok(())
            } else {
                Err(format!("{all:?}"))
            }
        })
        .await;
        first.signal(Signal::KILL);
        wait::until("the end of the daemon", PATIENCE, async || {
            first
                .exited()
                .map(|_| ())
                .ok_or_else(|| "it runs".to_owned())
        })
        .await;
        let second = daemon(&engine, directory.path(), &yml);
        run(&engine, &["db", "more", "web"]).await;
        drop(second);
        let ids = engine.docker(&["ps", "-aq", "--filter", "label=muster.spec"]);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        engine.docker(&[&["rm", "-f"], &ids[..]].concat());
    }
}

/// A service of the Compose file as `docker run` starts it.
fn service(name: &str, service: &Value, token: &str) -> Vec<String> {
    let text = |key: &str| service[key].as_str().unwrap().to_owned();
    let mut args: Vec<String> = ["run", "-d", "--network", "compose", "--name"]
        .map(str::to_owned)
        .into();
    args.extend([name.to_owned(), "--hostname".to_owned(), text("hostname")]);
    for variable in service["environment"].as_object().unwrap().keys() {
        assert_eq!(variable, "MUSTER_TOKEN");
        args.extend(["--env".to_owned(), format!("{variable}={token}")]);
    }
    args.push(text("image"));
    let command = service["command"].as_array().unwrap();
    args.extend(command.iter().map(|word| word.as_str().unwrap().to_owned()));
    args
}

#[tokio::test]
async fn the_small_image_makes_the_cluster_of_the_compose_file() {
    let engine = Engine::start().await;
    // By both ways, the same.
    for args in [&["--import", "muster"][..], &["muster"]] {
        let built = build(&engine, args);
        assert!(built.starts_with("muster:"), "{built}");
        let format = "{{.Config.User}} {{.Config.Entrypoint}} {{.Config.ExposedPorts}}";
        let image = engine.docker(&["image", "inspect", "--format", format, "muster"]);
        assert_eq!(
            image,
            "10001:10001 [/bin/musterd] map[7946/tcp:{} 7946/udp:{}]"
        );
    }
    let token = engine.docker(&[
        "run",
        "--rm",
        "--entrypoint",
        "/bin/muster",
        "muster",
        "token",
    ]);
    engine.docker(&["network", "create", "compose"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker/compose.yaml");
    let file: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let services = file["services"].as_object().unwrap();
    assert_eq!(services.len(), 3);
    for (name, settings) in services {
        let args = service(name, settings, &token);
        engine.docker(&args.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for (name, settings) in services {
        let wait = [
            "exec",
            name,
            "/bin/muster",
            "--timeout=60s",
            "wait",
            "--members=3",
        ];
        engine.docker(&wait);
        let check = settings["healthcheck"]["test"].as_array().unwrap();
        let check = check.iter().skip(1).map(|word| word.as_str().unwrap());
        engine.docker(&["exec", name].into_iter().chain(check).collect::<Vec<_>>());
    }
    let roles = engine.docker(&["exec", "n1", "/bin/muster", "roles"]);
    assert!(roles.contains("web") && roles.contains("db"), "{roles}");
}
