//! The client library `asyncserf` of PyPI, unmodified, against musterd.
//!
//! `tests/setup.sh` installs it. Where it cannot, this fails if the environment says
//! `CI=true`, and says plainly that it checked nothing if not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use muster_tests::harness::Process;
use muster_tests::harness::daemon::temp_dir;

use crate::sides::{Kind, Side, TOKEN};

/// Installing everything from an empty cache takes about 20 s; CI machines differ.
const SETUP: Duration = Duration::from_secs(300);

/// Longest run of the script.
const SCRIPT: Duration = Duration::from_secs(60);

/// Top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[expect(
    clippy::print_stderr,
    reason = "a test that checked nothing must say so"
)]
async fn tools() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../interop");
    let scratch = temp_dir();
    let script = root().join("tests/setup.sh");
    let args = [dir.clone().into_os_string()];
    let name = script.as_os_str();
    let mut setup = Process::start("setup", name, &args, &[], scratch.path(), Stdio::null());
    if setup.wait_exit(SETUP).await.success() {
        return Some(dir);
    }
    let why = setup.stderr_text();
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!ci, "tests/setup.sh failed:\n{why}");
    eprintln!("SKIPPED, nothing was checked: tests/setup.sh failed:\n{why}");
    None
}

#[tokio::test]
async fn asyncserf_works_against_musterd() {
    let Some(tools) = tools().await else {
        return;
    };
    let mut side = Side::new(Kind::Muster);
    side.start("alpha", &["role=web"]).await;
    let python = tools.join("asyncserf/bin/python");
    let rpc = side.node("alpha").rpc;
    let args = [
        "-W".into(),
        "ignore".into(),
        root().join("tests/parity/client.py").into_os_string(),
        rpc.ip().to_string().into(),
        rpc.port().to_string().into(),
        TOKEN.into(),
    ];
    let args: Vec<OsString> = args.into();
    let dir = side.dir.path();
    let mut script = Process::start("script", python.as_os_str(), &args, &[], dir, Stdio::null());
    let status = script.wait_exit(SCRIPT).await;
    assert!(
        status.success(),
        "{}\n{}",
        script.stdout_text(),
        script.stderr_text()
    );
    assert_eq!(script.stdout_text().lines().last(), Some("all is well"));
}
