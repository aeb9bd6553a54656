//! Programs that are run when something happens.

use std::fs;
use std::path::{Path, PathBuf};

use muster_proto::v1::query_service_client::QueryServiceClient;
use muster_proto::v1::{MemberStatus, QueryRequest, query_answer, query_response};
use muster_tests::harness::cluster::see;
use muster_tests::harness::wait::{self, DETECTION, SOON};
use muster_tests::harness::{Daemon, DaemonBuilder};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon;

/// A directory that handlers write to.
struct Out(TempDir);

impl Out {
    fn new() -> Self {
        Self(muster_tests::harness::daemon::temp_dir())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A handler, with `$D` for the directory.
    fn handler(&self, builder: DaemonBuilder, spec: &str) -> DaemonBuilder {
        let spec = spec.replace("$D", &self.0.path().display().to_string());
        builder.arg("--event-handler").arg(spec)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    async fn until(&self, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait::until(name, 2 * SOON, async || {
            let text = self.read(name);
            if wanted(&text) { Ok(text) } else { Err(text) }
        })
        .await
    }
}

/// No time for collecting: the tests need not wait for it.
fn at_once(builder: DaemonBuilder) -> DaemonBuilder {
    builder.arg("--handler-coalesce").arg("0s")
}

/// Zombies that are children of a process.
fn zombies(parent: i32) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let of_parent = format!(") Z {parent} ");
    stats.filter(|stat| stat.contains(&of_parent)).collect()
}

async fn event(from: &Daemon, name: &str, payload: &str) {
    from.muster().ok(&["event", name, payload]).await;
}

async fn value(daemon: &Daemon, metric: &str) -> f64 {
    daemon.api().await.metric(metric).await
}

#[tokio::test]
async fn a_script_is_told_what_serf_tells_it_and_more() {
    let out = Out::new();
    let one = at_once(daemon("one"))
        .tag("web-tier", "a,b")
        .role("db")
        .env("MUSTER_TOKEN", "");
    let one = out.handler(
        one,
        "user=env > $D/env.tmp; cat > $D/stdin; mv $D/env.tmp $D/env",
    );
    let one = out.handler(one, "member-join=cat >> $D/joins");
    let one = one.ready().await;
    let two = daemon("two")
        .join(one.addr())
        .tag("role", "web\tx")
        .ready()
        .await;
    out.until("joins", |text| {
        text.contains("one\t127.") && text.contains("two\t127.")
    })
    .await;
    let joins = out.read("joins");
    let ip = |daemon: &Daemon| daemon.addr().ip();
    assert!(
        joins.contains(&format!("one\t{}\tdb\tweb-tier=a,b\n", ip(&one))),
        "{joins}"
    );
    assert!(
        joins.contains(&format!("two\t{}\tweb\\tx\trole=web\\tx\n", ip(&two))),
        "{joins}"
    );
    event(&two, "deploy", "v1").await;
    let env = out.until("env", |text| text.contains("SERF_EVENT=")).await;
    for line in [
        "SERF_EVENT=user",
        "SERF_SELF_NAME=one",
        "SERF_SELF_ROLE=db",
        "SERF_TAG_WEB_TIER=a,b",
        "SERF_USER_EVENT=deploy",
        "MUSTER_ORIGIN=two",
        &format!("MUSTER_SOCKET={}", one.socket().display()),
    ] {
        assert!(
            env.lines().any(|have| have == line),
            "{line} is missing in {env}"
        );
    }
    let id = env
        .lines()
        .find_map(|line| line.strip_prefix("MUSTER_EVENT_ID=two/"));
    assert!(id.is_some_and(|id| id.ends_with("/1")), "{env}");
    assert_eq!(out.read("stdin"), "v1\n");
}

#[tokio::test]
async fn a_handler_sees_a_failure_a_leave_and_a_restart() {
    let out = Out::new();
    let one = out.handler(at_once(daemon("one")), "member-join,member-leave,member-failed,name:two=echo $SERF_EVENT $MUSTER_MEMBER_PORT >> $D/seen");
    let one = one.ready().await;
    let mut two = daemon("two").join(one.addr()).ready().await;
    let port = two.addr().port();
    let join = format!("member-join {port}\n");
    out.until("seen", |text| text == join).await;
    two.kill().await;
    see(&one, "two", MemberStatus::Failed, DETECTION).await;
    let failed = format!("{join}member-failed {port}\n");
    out.until("seen", |text| text == failed).await;
    two.restart().await;
    let again = format!("{failed}{join}");
    out.until("seen", |text| text == again).await;
    two.signal(Signal::TERM);
    out.until("seen", |text| {
        text == format!("{again}member-leave {port}\n")
    })
    .await;
}

#[tokio::test]
async fn a_crash_and_a_restart_before_it_is_noticed_are_told_as_an_end_and_a_join() {
    let out = Out::new();
    let one = out.handler(
        at_once(daemon("one")),
        "member-join,member-failed,name:two=echo $SERF_EVENT $MUSTER_MEMBER_BOOT >> $D/seen",
    );
    let one = one.ready().await;
    let mut two = daemon("two").join(one.addr()).ready().await;
    let first = out
        .until("seen", |text| text.starts_with("member-join "))
        .await;
    two.kill().await;
    two.restart().await;
    let seen = out.until("seen", |text| text.lines().count() == 3).await;
    let old = first.trim_start_matches("member-join ");
    assert!(
        seen.starts_with(&format!("member-join {old}member-failed {old}member-join ")),
        "{seen}"
    );
    assert_eq!(
        seen.matches(old.trim()).count(),
        2,
        "the new boot is the old one: {seen}"
    );
}

#[tokio::test]
async fn a_slow_handler_delays_neither_others_nor_the_daemon() {
    let out = Out::new();
    let one = out.handler(at_once(daemon("one")), "user=sleep 60");
    let one = out.handler(one, "user=cat >> $D/quick");
    let one = out.handler(one, "member-failed=cat >> $D/failed");
    let mut one = one.ready().await;
    let mut two = daemon("two").join(one.addr()).ready().await;
    see(&one, "two", MemberStatus::Alive, SOON).await;
    event(&one, "a", "1").await;
    out.until("quick", |text| text == "1\n").await;
    two.kill().await;
    out.until("failed", |text| text.starts_with("two\t")).await;
    // Its end does not wait for the sleeper either.
    one.signal(Signal::TERM);
    assert!(one.wait_exit(SOON).await.success(), "{}", one.log());
}

#[tokio::test]
async fn a_thousand_events_are_all_run_and_in_order() {
    let out = Out::new();
    let one = out.handler(daemon("one"), "user,queue:16=cat >> $D/all");
    let one = one.ready().await;
    let two = daemon("two").join(one.addr()).ready().await;
    see(&one, "two", MemberStatus::Alive, SOON).await;
    let batch: String = (0..1_000).map(|n| format!("[\"e\", \"{n}\"]\n")).collect();
    two.muster()
        .stdin(&batch)
        .ok(&["event", "--batch", "-"])
        .await;
    let all: String = (0..1_000).map(|n| format!("{n}\n")).collect();
    wait::holds("all events", 4 * SOON, async || {
        out.read("all").len() >= all.len()
    })
    .await;
    assert!(out.read("all") == all, "events are lost or out of order");
    assert_eq!(value(&one, "muster_handler_missed_events_total").await, 0.0);
}

#[tokio::test]
async fn time_limits_failures_and_users_are_kept() {
    let out = Out::new();
    let user = "user:who=id -un; id -un > $D/who";
    // Long enough for a busy machine to get as far as to hang.
    let hang = "timeout:3s,user:hang=setsid sleep 61 & echo $! > $D/pid; sleep 62";
    let mut one = out.handler(daemon("one"), hang);
    one = out.handler(one, "user:fail=echo no luck >&2; exit 3");
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(
            out.path("."),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        one = out.handler(one.arg("--handler-user").arg("nobody"), user);
    }
    let one = one.ready().await;
    event(&one, "hang", "").await;
    let pid = out.until("pid", |text| text.ends_with('\n')).await;
    let proc = Path::new("/proc").join(pid.trim());
    wait::holds("the sleeper is gone", SOON, async || !proc.exists()).await;
    event(&one, "fail", "").await;
    wait::holds("the failure is logged", SOON, async || {
        one.log().contains("exit code 3") && one.log().contains("no luck")
    })
    .await;
    if rustix::process::geteuid().is_root() {
        event(&one, "who", "").await;
        out.until("who", |text| text == "nobody\n").await;
    }
}

#[tokio::test]
async fn a_query_is_answered_by_a_script_on_another_member() {
    let out = Out::new();
    let one = out.handler(
        daemon("one"),
        "query:load=echo load of $SERF_SELF_NAME for $MUSTER_ORIGIN",
    );
    let one = out.handler(one, "query:bad=echo broken >&2; exit 4");
    let one = one.ready().await;
    let two = daemon("two").join(one.addr()).ready().await;
    see(&two, "one", MemberStatus::Alive, SOON).await;
    see(&one, "two", MemberStatus::Alive, SOON).await;
    assert_eq!(
        answer(&two, "load").await,
        Ok("load of one for two\n".to_owned())
    );
    assert_eq!(
        answer(&two, "bad").await,
        Err("exit code 4: broken".to_owned())
    );
}

/// The first answer to a query that a daemon asks.
async fn answer(from: &Daemon, name: &str) -> Result<String, String> {
    let mut client = QueryServiceClient::new(from.api().await.channel);
    let request = QueryRequest {
        name: name.to_owned(),
        ..QueryRequest::default()
    };
    let mut answers = client.query(request).await.unwrap().into_inner();
    let first = async {
        while let Some(message) = answers.message().await.unwrap() {
            if let Some(query_response::Event::Answer(answer)) = message.event {
                return answer.result.expect("an answer says something");
            }
        }
        panic!("nobody answered {name}")
    };
    match tokio::time::timeout(SOON, first).await.expect("no answer") {
        query_answer::Result::Payload(payload) => Ok(String::from_utf8_lossy(&payload).into()),
        query_answer::Result::Error(error) => Err(error),
    }
}

/// A daemon that hangs in event 2 and dies there by SIGKILL, event 3 waiting, event 4
/// sent while it is dead; what its handler wrote after the restart and event 5.
async fn killed_in_the_middle(options: &str) -> String {
    let out = Out::new();
    let spec = format!(
        "user{options}=read n; echo $n:$MUSTER_REDELIVERED >> $D/all; \
         while [ $n = 2 ] && [ -e $D/all ] && [ ! -e $D/go ]; do sleep 0.1; done"
    );
    let two = daemon("two").ready().await;
    let one = out.handler(daemon("one").data_dir().join(two.addr()), &spec);
    let mut one = one.ready().await;
    see(&one, "two", MemberStatus::Alive, SOON).await;
    see(&two, "one", MemberStatus::Alive, SOON).await;
    let snapshot = one.socket().with_file_name("data").join("snapshot");
    wait::holds("the snapshot names the other", 2 * SOON, async || {
        let bytes = fs::read(&snapshot).unwrap_or_default();
        bytes.windows(3).any(|part| part == b"two")
    })
    .await;
    for n in ["1", "2", "3"] {
        event(&two, "e", n).await;
    }
    out.until("all", |text| text == "1:\n2:\n").await;
    one.kill().await;
    event(&two, "e", "4").await;
    fs::write(out.path("go"), "").unwrap();
    one.restart().await;
    see(&two, "one", MemberStatus::Alive, DETECTION).await;
    event(&two, "e", "5").await;
    out.until("all", |text| {
        text.lines().any(|line| line.starts_with("5:"))
    })
    .await
}

#[tokio::test]
async fn after_a_crash_nothing_is_run_twice() {
    let all = killed_in_the_middle("").await;
    let again = all.strip_prefix("1:\n2:\n").unwrap();
    // What was taken before the crash may be lost; what came later may not.
    assert!(matches!(again, "4:\n5:\n" | "3:\n4:\n5:\n"), "{all}");
}

#[tokio::test]
async fn redelivery_runs_again_what_a_crash_cut() {
    let all = killed_in_the_middle(",redeliver").await;
    let again = all.strip_prefix("1:\n2:\n").unwrap();
    let again = again.strip_prefix("1:1\n").unwrap_or(again);
    let rest = again
        .strip_prefix("2:1\n")
        .unwrap_or_else(|| panic!("2 is not marked: {all}"));
    assert!(matches!(rest, "3:1\n4:\n5:\n" | "3:\n4:\n5:\n"), "{all}");
}

#[tokio::test]
async fn mistakes_in_handlers_are_told_at_the_start() {
    let (code, log) = daemon("one")
        .arg("--event-handler")
        .arg("deploy=x")
        .refused()
        .await;
    assert_eq!(code, Some(78));
    assert!(log.contains("invalid event filter \"deploy\""), "{log}");
    for (flag, value, why) in [
        ("--handler-timeout", "0s", "out of range"),
        ("--handler-user", "no-such-user", "there is no user"),
        ("--event-handler", "user,redeliver=x", "data-dir"),
    ] {
        let (code, log) = daemon("one").arg(flag).arg(value).refused().await;
        assert!(
            code == Some(78) && log.contains(why),
            "{flag}: {code:?} {log}"
        );
    }
}

#[tokio::test]
async fn a_reload_replaces_the_handlers() {
    let out = Out::new();
    let config = out.path("musterd.toml");
    let write = |log: &str| {
        let log = out.path(log).display().to_string();
        let script = format!("user=echo $SERF_USER_EVENT >> {log}");
        fs::write(&config, format!("event-handler = [{script:?}]\n")).unwrap();
    };
    write("first");
    let node = daemon("a").arg("--config").arg(&config).ready().await;
    event(&node, "one", "").await;
    out.until("first", |text| text == "one\n").await;
    write("second");
    let told = node.muster().ok(&["reload"]).await;
    assert!(told.contains("event-handler"), "{told}");
    event(&node, "two", "").await;
    out.until("second", |text| text == "two\n").await;
    assert_eq!(out.read("first"), "one\n");
}

#[tokio::test]
async fn the_first_process_of_a_container_leaves_no_zombies() {
    if !rustix::process::geteuid().is_root() {
        println!("not shown: only root makes namespaces of processes");
        return;
    }
    let out = Out::new();
    let namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let one = at_once(daemon("one")).under(&namespace);
    // Its background child loses its parent, and ends after it.
    let orphan = r#"user=(sh -c 'sleep 0.3; cut -d" " -f4 /proc/$$/stat >> $D/orphans' &); echo ran >> $D/ran"#;
    let one = out.handler(one, orphan).ready().await;
    let parent = one.pid();
    let inside = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let first: i32 = inside.trim().parse().unwrap();
    for _ in 0..5 {
        event(&one, "deploy", "").await;
    }
    let orphans = out.until("orphans", |text| text.lines().count() == 5).await;
    assert_eq!(orphans, "1\n".repeat(5), "their parent was the daemon");
    wait::until("no zombies", 2 * SOON, async || {
        let zombies = zombies(first);
        if zombies.is_empty() {
            Ok(())
        } else {
            Err(zombies)
        }
    })
    .await;
    // Those that it started itself still tell it how they ended.
    out.until("runs", |text| text.lines().count() == 5).await;
    assert!(!one.log().contains("handler failed"), "{}", one.log());
}
