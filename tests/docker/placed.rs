//! A daemon knows which container it is in.

use std::path::Path;

use muster_tests::harness::{Engine, wait};
use musterd::docker::{Container, Places};

use crate::image::{self, SMALL};
use crate::view::{PATIENCE, View};

/// What a daemon in a container logged, once it holds `part`.
async fn logged(engine: &Engine, name: &str, part: &str) {
    wait::until(part, PATIENCE, async || {
        let mut docker = std::process::Command::new("docker");
        let host = format!("unix://{}", engine.socket().display());
        let output = docker.args(["-H", &host, "logs", name]).output();
        let output = output.map_err(|error| error.to_string())?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        if log.contains(part) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn a_daemon_in_a_container_advertises_its_published_port() {
    let engine = Engine::start().await;
    image::make_small(&engine);
    // The program of this build and the libraries that it needs.
    let mounts = [
        format!("{}:/var/run/docker.sock", engine.socket().display()),
        format!(
            "{}:/bin/musterd:ro",
            env!("CARGO_BIN_EXE_musterd-under-test")
        ),
        format!("{}:/bin/muster:ro", env!("CARGO_BIN_EXE_muster-under-test")),
        "/lib:/lib:ro".to_owned(),
        "/lib64:/lib64:ro".to_owned(),
        "/usr/lib:/usr/lib:ro".to_owned(),
    ];
    let mounts: Vec<&str> = mounts.iter().flat_map(|mount| ["-v", mount]).collect();
    let run = |name: &str, more: &[&str], args: &[&str]| {
        let docker = ["run", "-d", "--name", name];
        let daemon = [
            SMALL,
            "musterd",
            "--bind",
            "0.0.0.0:7946",
            "--docker",
            "required",
        ];
        let socket = ["--socket", "/tmp/api.sock", "--insecure-plaintext"];
        engine.docker(&[&docker[..], &mounts, more, &daemon, &socket, args].concat());
    };
    let udp_and_tcp = ["-p", "9001:7946", "-p", "9001:7946/udp"];
    run("given", &udp_and_tcp, &["--advertise", "172.17.0.1"]);
    logged(&engine, "given", "address=172.17.0.1:9001").await;
    let at_one = [
        "-p",
        "172.17.0.1:9002:7946",
        "-p",
        "172.17.0.1:9002:7946/udp",
    ];
    // The host name says nothing.
    run(
        "found",
        &[&at_one[..], &["--hostname", "other"]].concat(),
        &["--role", "web", "--service-port", "80"],
    );
    logged(&engine, "found", "address=172.17.0.1:9002").await;
    let resolve = ["exec", "found", "muster", "--socket", "/tmp/api.sock"];
    let web = engine.docker(&[&resolve[..], &["resolve", "web"]].concat());
    assert!(web.contains("172.17.0.1:80"), "where the node is: {web}");
    run("unsaid", &["-p", "9003:7946", "-p", "9003:7946/udp"], &[]);
    logged(&engine, "unsaid", "say by --advertise IP").await;
    logged(&engine, "unsaid", ":7946 bind=").await;
}

/// A process of a container by our own numbers; those of the engine are of its own
/// namespace.
fn process_in(container: &Container) -> String {
    let entries = std::fs::read_dir("/proc").unwrap();
    let mut ids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let inside = |id: &String| {
        let group = std::fs::read_to_string(format!("/proc/{id}/cgroup"));
        id.parse::<u32>().is_ok() && group.is_ok_and(|group| group.contains(&*container.id))
    };
    ids.find(inside).unwrap()
}

#[tokio::test]
async fn a_process_is_found_in_its_container_and_paths_are_translated() {
    let engine = Engine::start().await;
    image::make_small(&engine);
    let data = engine.socket().parent().unwrap().join("data");
    std::fs::create_dir(&data).unwrap();
    let mount = format!("{}:/data", data.display());
    let sleep = [SMALL, "sleep", "1000"];
    let run = |args: &[&str]| engine.docker(&[&["run", "-d"], args, &sleep].concat());
    run(&[
        "--name",
        "one",
        "--hostname",
        "same",
        "-v",
        &mount,
        "-v",
        "vol:/serfnode",
        "-v",
        "/:/host",
    ]);
    run(&["--name", "two", "--hostname", "same"]);
    // It has the files of the other one.
    run(&[
        "--name",
        "three",
        "--network",
        "container:one",
        "--volumes-from",
        "one",
    ]);
    run(&["--name", "four", "--network", "host", "--read-only"]);
    let mut view = View::of(&engine.socket()).await;
    view.live().await;
    for name in ["one", "two", "three", "four"] {
        let container = view.sees(name, "runs", Container::is_running).await;
        let state = view.docker.state();
        let places = Places::of_process(state, &process_in(&container), None);
        assert!(places.contained());
        assert_eq!(places.me().unwrap().name, name);
    }
    let one = view.sees("one", "runs", |_| true).await;
    let places = Places::of_process(view.docker.state(), &process_in(&one), None);
    let on_host = places.to_host(Path::new("/data/x")).unwrap();
    assert_eq!(on_host, data.join("x"));
    assert_eq!(places.from_host(&on_host).unwrap(), Path::new("/data/x"));
    let serfnode = places.to_host(Path::new("/serfnode")).unwrap();
    assert!(serfnode.is_dir(), "{}", serfnode.display());
    let hosts = one.hosts_path.clone().unwrap();
    let here = places.from_host(&hosts).unwrap();
    assert_eq!(
        here,
        Path::new("/host").join(hosts.strip_prefix("/").unwrap())
    );
    assert_eq!(places.to_host(Path::new("/etc/passwd")), None);
    view.stop().await;
}
