//! The walk through serf on Docker that many have followed: an agent on the host,
//! agents in containers that join it, one handler script that prints what happens.
//! The command lines are serf's; only the key is added.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::engine::HOST;
use muster_tests::harness::{Engine, Process, wait};

use crate::image::{self, IMAGE};

const KEY: &str = "TXVzdGVyIHRlc3RzIGtlZXAgbm8gc2VjcmV0cyE3NDY=";

const HANDLER: &str = r#"#!/bin/bash
{
  echo "New event: ${SERF_EVENT}. Data follows..."
  while read line; do
    printf "${line}\n"
  done
  echo "current members..."
  serf members
} >> handler.log
"#;

/// Containers that join.
const CONTAINERS: usize = 3;

/// From a death to its news, with slack for a busy machine.
const DETECTION: Duration = Duration::from_secs(60);

struct Host<'a> {
    engine: &'a Engine,
    directory: &'a Path,
    _agent: Process,
}

impl<'a> Host<'a> {
    /// `serf agent -event-handler=./handler.sh` on the host.
    fn start(engine: &'a Engine, directory: &'a Path) -> Self {
        let link = directory.join("serf");
        symlink(env!("CARGO_BIN_EXE_musterd-under-test"), &link).unwrap();
        let handler = directory.join("handler.sh");
        fs::write(&handler, HANDLER).unwrap();
        fs::set_permissions(&handler, fs::Permissions::from_mode(0o755)).unwrap();
        let mut args = engine.enter().to_vec();
        args.push(link.into());
        args.extend(
            [
                "agent",
                "-node=host",
                "-log-level=debug",
                "-event-handler=./handler.sh",
                &format!("-encrypt={KEY}"),
            ]
            .map(OsString::from),
        );
        let socket = directory.join("api.sock").display().to_string();
        let env = [("MUSTER_SOCKET".to_owned(), socket)];
        let nsenter = "nsenter".as_ref();
        let agent = Process::start("agent", nsenter, &args, &env, directory, Stdio::null());
        Self {
            engine,
            directory,
            _agent: agent,
        }
    }

    /// `serf members` by Debian's serf: name and status of each.
    fn members(&self) -> Result<Vec<(String, String)>, String> {
        let output = self.engine.on_host("serf").arg("members").output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let member = |line: &str| {
            let mut words = line.split_whitespace();
            let (name, status) = (words.next()?, words.nth(1)?);
            Some((name.to_owned(), status.to_owned()))
        };
        Ok(text.lines().filter_map(member).collect())
    }

    async fn shows(&self, name: &str, status: &str) {
        let what = format!("{name} being {status}");
        wait::until(&what, DETECTION, async || {
            let members = self.members()?;
            let wanted = |(n, s): &(String, String)| n == name && s == status;
            match members.iter().any(wanted) {
                true => Ok(()),
                false => Err(format!("{members:?}")),
            }
        })
        .await;
    }

    /// What the handler wrote, once it holds `part`.
    async fn handled(&self, part: &str) {
        wait::until(part, DETECTION, async || {
            let log = fs::read_to_string(self.directory.join("handler.log"));
            let log = log.unwrap_or_default();
            if log.contains(part) { Ok(()) } else { Err(log) }
        })
        .await;
    }
}

/// `docker run -d IMAGE serf agent -join HOST`; the name that it has as a member.
fn run(engine: &Engine) -> String {
    let agent = ["serf", "agent", "-join"];
    started(engine, &[&agent[..], &[&seed(), &encrypt()]].concat())
}

/// The same with serf's own way on SIGTERM: no leave.
fn run_quiet(engine: &Engine) -> String {
    let script = format!(
        "echo '{{\"leave_on_terminate\": false}}' > /tmp/agent.json && \
         exec serf agent -config-file=/tmp/agent.json -join {} {}",
        seed(),
        encrypt()
    );
    started(engine, &["sh", "-c", &script])
}

fn seed() -> String {
    format!("{HOST}:7946")
}

fn encrypt() -> String {
    format!("-encrypt={KEY}")
}

fn started(engine: &Engine, command: &[&str]) -> String {
    let id = engine.docker(&[&["run", "-d", IMAGE], command].concat());
    id.chars().take(12).collect()
}

#[tokio::test]
async fn agents_in_containers_join_the_host_and_their_deaths_are_told() {
    let engine = Engine::start().await;
    image::make(&engine);
    let directory = temp_dir();
    let host = Host::start(&engine, directory.path());
    host.shows("host", "alive").await;
    let mut names: Vec<_> = (0..CONTAINERS).map(|_| run(&engine)).collect();
    names.push(run_quiet(&engine));
    for name in &names {
        host.shows(name, "alive").await;
    }
    host.handled("New event: member-join.").await;
    for name in &names {
        // One call may tell of several.
        host.handled(&format!("\n{name}\t172.17.0.")).await;
    }
    engine.docker(&["kill", &names[0]]);
    host.shows(&names[0], "failed").await;
    host.handled("New event: member-failed.").await;
    // serf's own shows `failed` here too: it ends without a word on SIGTERM.
    engine.docker(&["stop", &names[1]]);
    host.shows(&names[1], "left").await;
    host.handled("New event: member-leave.").await;
    host.shows(&names[2], "alive").await;
    // Unless it is told to do as serf does.
    engine.docker(&["stop", &names[CONTAINERS]]);
    host.shows(&names[CONTAINERS], "failed").await;
}
