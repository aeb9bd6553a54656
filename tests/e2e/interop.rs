//! Clients in other languages, unmodified, on the socket of a daemon: Python
//! (grpcio), Node (grpc-js), grpcurl, buf curl, and the Rust example.
//!
//! `tests/setup.sh` installs what they need. Where it cannot, these tests fail if
//! the environment says `CI=true`, and say plainly that they checked nothing if not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Daemon, Muster, Process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{BIN, daemon};

/// Installing everything from an empty cache takes about 20 s; CI machines differ.
const SETUP: std::time::Duration = std::time::Duration::from_secs(300);

static TOOLS: OnceCell<Option<PathBuf>> = OnceCell::const_new();

/// Top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where the tools are, or nothing where they cannot be.
async fn tools() -> Option<PathBuf> {
    TOOLS.get_or_init(install).await.clone()
}

#[expect(
    clippy::print_stderr,
    reason = "a test that checked nothing must say so"
)]
async fn install() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../interop");
    let scratch = temp_dir();
    let script = root().join("tests/setup.sh");
    let args = [dir.clone().into_os_string()];
    let mut setup = Process::start(
        "setup",
        script.as_os_str(),
        &args,
        &tool_env(),
        scratch.path(),
        Stdio::null(),
    );
    if setup.wait_exit(SETUP).await.success() {
        return Some(dir);
    }
    let why = setup.stderr_text();
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!ci, "tests/setup.sh failed:\n{why}");
    eprintln!("SKIPPED, nothing was checked: tests/setup.sh failed:\n{why}");
    None
}

/// What installers need of the environment, beyond what every child gets.
fn tool_env() -> Vec<(String, String)> {
    let is_wanted = |name: &str| {
        let upper = name.to_uppercase();
        ["PIP_", "NPM_", "SSL_", "CARGO", "RUST", "PYENV"]
            .iter()
            .any(|p| upper.starts_with(p))
            || upper.ends_with("_PROXY")
            || upper == "NODE_EXTRA_CA_CERTS"
    };
    std::env::vars()
        .filter(|(name, _)| is_wanted(name))
        .collect()
}

/// A daemon with a role, and a directory for a client.
struct Stage {
    node: Daemon,
    dir: TempDir,
    tools: PathBuf,
}

impl Stage {
    async fn open() -> Option<Self> {
        let tools = tools().await?;
        let node = daemon("one").role("web=10.0.0.1:80").ready().await;
        Some(Self {
            node,
            dir: temp_dir(),
            tools,
        })
    }

    fn socket(&self) -> String {
        self.node.socket().display().to_string()
    }

    /// Exports the `.proto` files as a user would.
    async fn protos(&self) -> PathBuf {
        Muster::new(BIN, self.dir.path())
            .ok(&["proto", "proto"])
            .await;
        self.dir.path().join("proto")
    }

    /// Runs a program to its end; what it printed.
    async fn run(&self, program: &Path, args: &[&str]) -> String {
        self.run_with(program, args, &[]).await
    }

    async fn run_with(&self, program: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let mut all = tool_env();
        all.extend(
            env.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let dir = self.dir.path().join("run");
        std::fs::create_dir_all(&dir).unwrap();
        let what = format!("run-{}", std::fs::read_dir(&dir).unwrap().count());
        let out = dir.join(&what);
        std::fs::create_dir(&out).unwrap();
        let mut process =
            Process::start(&what, program.as_os_str(), &args, &all, &out, Stdio::null());
        let status = process.wait_exit(SETUP).await;
        assert!(
            status.success(),
            "{} {args:?}: {status}\n{}\n{}",
            program.display(),
            process.stdout_text(),
            process.stderr_text()
        );
        process.stdout_text()
    }
}

/// What every example prints.
fn is_complete(printed: &str, language: &str, alive: &str) {
    for line in [
        format!("member one {alive}"),
        format!("event hello from {language}"),
        "endpoint one 10.0.0.1:80".to_owned(),
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} is missing in:\n{printed}"
        );
    }
    assert!(
        printed.to_lowercase().contains("replicated"),
        "no receipt in:\n{printed}"
    );
}

#[tokio::test]
async fn python_with_grpcio_and_no_options() {
    let Some(stage) = Stage::open().await else {
        return;
    };
    let (python, out) = generated(&stage).await;
    let client = root()
        .join("client/examples/python/client.py")
        .display()
        .to_string();
    let target = format!("unix:{}", stage.socket());
    let env = [
        ("PYTHONPATH", out.as_str()),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ];
    let printed = stage
        .run_with(&python, &[&client, &target, "web"], &env)
        .await;
    is_complete(&printed, "Python", "MEMBER_STATUS_ALIVE");
}

/// The interpreter, and the directory of the generated code.
async fn generated(stage: &Stage) -> (PathBuf, String) {
    let protos = stage.protos().await;
    let python = stage.tools.join("python/bin/python");
    let generated = stage.dir.path().join("generated");
    std::fs::create_dir(&generated).unwrap();
    let (include, out) = (
        format!("-I{}", protos.display()),
        generated.display().to_string(),
    );
    let (messages, services) = (
        format!("--python_out={out}"),
        format!("--grpc_python_out={out}"),
    );
    let mut args = vec!["-m", "grpc_tools.protoc", &include, &messages, &services];
    args.extend(muster_proto::PROTO_FILES.iter().map(|(path, _text)| *path));
    stage.run(&python, &args).await;
    (python, out)
}

#[tokio::test]
async fn a_query_handler_in_python() {
    let Some(stage) = Stage::open().await else {
        return;
    };
    let (python, out) = generated(&stage).await;
    let handler = root().join("client/examples/python/serve_query.py");
    let target = format!("unix:{}", stage.socket());
    let args = [handler.into_os_string(), target.into(), "uptime".into()];
    let env = [
        ("PYTHONPATH".to_owned(), out),
        ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
    ];
    let handler = Process::start(
        "handler",
        python.as_os_str(),
        &args,
        &env,
        stage.dir.path(),
        Stdio::null(),
    );
    wait::holds("a registered handler", SETUP, async || {
        handler.stdout_text().contains("serving")
    })
    .await;
    let muster = stage.node.muster();
    let text = muster.ok(&["query", "uptime", "now"]).await;
    assert!(text.contains("asked with 'now' by one"), "{text}");
    let ran = muster.run(&["query", "uptime", "fail"]).await;
    assert!(ran.stdout.contains("told to fail"), "{}", ran.stdout);
    ran.expect_code(1);
    assert!(handler.stdout_text().contains("answered uptime of one"));
}

#[tokio::test]
async fn node_with_grpc_js() {
    let Some(stage) = Stage::open().await else {
        return;
    };
    let protos = stage.protos().await.display().to_string();
    let client = stage.dir.path().join("client.js");
    std::fs::copy(root().join("client/examples/node/client.js"), &client).unwrap();
    let modules = stage.tools.join("node/node_modules").display().to_string();
    let target = format!("unix:{}", stage.socket());
    let client = client.display().to_string();
    let args = [client.as_str(), &target, "web", &protos];
    let printed = stage
        .run_with(Path::new("node"), &args, &[("NODE_PATH", &modules)])
        .await;
    is_complete(&printed, "Node", "MEMBER_STATUS_ALIVE");
}

#[tokio::test]
async fn grpcurl_by_reflection_alone() {
    let Some(stage) = Stage::open().await else {
        return;
    };
    let grpcurl = stage.tools.join("grpcurl/grpcurl");
    let socket = stage.socket();
    let start = ["-plaintext", "-unix"];
    let listed = stage
        .run(&grpcurl, &[&start[..], &[&socket, "list"]].concat())
        .await;
    for service in [
        "MembershipService",
        "EventService",
        "ResolverService",
        "NodeService",
        "QueryService",
    ] {
        assert!(listed.contains(&format!("muster.v1.{service}")), "{listed}");
    }
    let call = async |body: &str, method: &str| {
        let args = [&start[..], &["-d", body, &socket, method]].concat();
        stage.run(&grpcurl, &args).await
    };
    let members = call(
        "{\"snapshot_only\": true}",
        "muster.v1.MembershipService/WatchMembers",
    )
    .await;
    assert!(
        members.contains("\"snapshotEnd\"") && members.contains("\"one\""),
        "{members}"
    );
    let resolved = call(
        "{\"role\": \"web\", \"once\": true}",
        "muster.v1.ResolverService/ResolveRole",
    )
    .await;
    assert!(resolved.contains("10.0.0.1"), "{resolved}");
    let receipts = call(
        "{\"sequence\": 1, \"name\": \"hello\"}",
        "muster.v1.EventService/SendEvent",
    )
    .await;
    assert!(receipts.contains("\"accepted\""), "{receipts}");
    let health = call("{}", "grpc.health.v1.Health/Check").await;
    assert!(health.contains("SERVING"), "{health}");
}

#[tokio::test]
async fn buf_curl_by_reflection_alone() {
    let Some(stage) = Stage::open().await else {
        return;
    };
    let buf = stage.tools.join("node/node_modules/.bin/buf");
    let cache = stage.dir.path().display().to_string();
    let socket = stage.socket();
    let url = "http://localhost/muster.v1.NodeService/GetInfo";
    let args = [
        "curl",
        "--unix-socket",
        &socket,
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
        "--data",
        "{}",
        url,
    ];
    let printed = stage
        .run_with(&buf, &args, &[("BUF_CACHE_DIR", &cache)])
        .await;
    let info: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&info["self"]["name"], &info["cluster"]),
        (&"one".into(), &"test".into())
    );
}

#[tokio::test]
async fn the_rust_example() {
    let node = daemon("one").role("web=10.0.0.1:80").ready().await;
    let stage = Stage {
        node,
        dir: temp_dir(),
        tools: PathBuf::new(),
    };
    let example = example_binary(&stage).await;
    let printed = stage.run(&example, &[&stage.socket(), "web"]).await;
    is_complete(&printed, "Rust", "alive");
}

/// `cargo test --workspace` has built it; a run of this binary alone has not.
async fn example_binary(stage: &Stage) -> PathBuf {
    let path = Path::new(BIN.muster)
        .with_file_name("examples")
        .join("watch");
    if !path.exists() {
        let manifest = root().join("Cargo.toml").display().to_string();
        let args = [
            "build",
            "--manifest-path",
            &manifest,
            "-p",
            "muster",
            "--example",
            "watch",
        ];
        stage.run(Path::new(env!("CARGO")), &args).await;
    }
    wait::holds("the example to be built", SOON, async || path.exists()).await;
    path
}
