use std::fs;
use std::path::Path;

use rustix::process::Pid;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn shell(script: impl Into<String>) -> Run {
    let environment = [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")];
    Run {
        program: Program::Shell(script.into()),
        environment: environment.map(|(k, v)| (k.into(), v.into())).into(),
        stdin: Bytes::new(),
        user: None,
        timeout: SOON,
        stdout: Keep::First(64),
        stderr: Keep::Last(64),
    }
}

async fn finish(what: Run) -> Ran {
    let stop = CancellationToken::new();
    let ran = tokio::time::timeout(2 * SOON, run(what, &stop)).await;
    ran.expect("the run hangs")
}

/// Waits until a process has ended.
async fn gone(pid: &str) {
    let ended = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie that nobody reaps here is dead as well.
        stat.is_empty() || stat.contains(") Z ")
    };
    let wait = async {
        while !ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(SOON, wait).await;
    waited.unwrap_or_else(|_| panic!("process {pid} lives on"));
}

fn pids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn output_and_code_are_told_apart() {
    let ran = finish(shell("echo out; echo err >&2; exit 3")).await;
    assert_eq!(ran.outcome, Outcome::Exited(3));
    assert_eq!(
        (ran.stdout.text(), ran.stderr.text()),
        ("out".to_owned(), "err".to_owned())
    );
    let ran = finish(shell("kill -9 $$")).await;
    assert_eq!(ran.outcome.to_string(), "killed by SIGKILL");
    let ran = finish(shell("no-such-command")).await;
    assert_eq!(
        ran.outcome.to_string(),
        "exit code 127 (there is no such command)"
    );
    assert!(ran.stderr.text().contains("not found"), "{ran:?}");
}

#[tokio::test]
async fn a_file_is_run_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hello world");
    let mut run = shell("");
    run.program = Program::File(path.clone());
    let ran = finish(run.clone()).await;
    assert!(
        ran.outcome
            .to_string()
            .starts_with("not started: No such file"),
        "{ran:?}"
    );
    fs::copy("/bin/pwd", &path).unwrap();
    let ran = finish(run).await;
    assert_eq!(ran.outcome, Outcome::Exited(0), "{ran:?}");
}

#[tokio::test]
async fn input_is_written_and_ends() {
    let mut run = shell("cat; echo; cat");
    run.stdin = Bytes::from_static(b"in\0put");
    assert_eq!(&finish(run).await.stdout.bytes()[..], b"in\0put\n");
    let empty = finish(shell("wc -c")).await;
    assert_eq!(empty.stdout.text(), "0");
}

#[tokio::test]
async fn input_that_nobody_reads_holds_nothing_up() {
    let mut run = shell("exec <&-; echo done");
    run.stdin = vec![0; 4 << 20].into();
    let ran = finish(run.clone()).await;
    assert_eq!(
        (ran.outcome, ran.stdout.text()),
        (Outcome::Exited(0), "done".to_owned())
    );
    run.program = Program::Shell("sleep 600".to_owned());
    run.timeout = Duration::from_millis(100);
    let ran = finish(run).await;
    assert!(matches!(ran.outcome, Outcome::TimedOut(_)), "{ran:?}");
}

#[tokio::test]
async fn a_flood_is_cut_and_counted() {
    let ran = finish(shell("head -c 5000000 /dev/zero | tr '\\0' a; printf b")).await;
    assert_eq!(ran.stdout.text(), "a".repeat(64));
    assert_eq!(ran.stdout.total, 5_000_001);
    assert!(ran.stdout.is_truncated());
    let mut run = shell("yes flood >&2");
    run.timeout = Duration::from_millis(200);
    let ran = finish(run).await;
    assert!(matches!(ran.outcome, Outcome::TimedOut(_)), "{ran:?}");
    assert_eq!(ran.stderr.bytes().len(), 64);
}

#[tokio::test]
async fn time_over_kills_children_and_those_that_made_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! >> {0}; \
         setsid sh -c 'echo $$ >> {0}; (trap \"\" TERM; sleep 601 & echo $! >> {0}; wait) & wait' & \
         echo $$ >> {0}; echo before; sleep 602; sleep 603",
        file.display()
    );
    let mut run = shell(script);
    run.timeout = Duration::from_millis(700);
    let ran = finish(run).await;
    assert_eq!(ran.outcome, Outcome::TimedOut(Duration::from_millis(700)));
    assert_eq!(ran.stdout.text(), "before");
    let pids = pids(&file);
    assert_eq!(pids.len(), 4, "{pids:?}");
    for pid in pids {
        gone(&pid).await;
    }
}

#[tokio::test]
async fn a_program_may_end_decently_on_sigterm() {
    let mut run = shell("trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 0.05; done");
    run.timeout = Duration::from_millis(300);
    let ran = finish(run).await;
    assert!(matches!(ran.outcome, Outcome::TimedOut(_)), "{ran:?}");
    assert_eq!(ran.stdout.text(), "hi\nbye");
}

#[tokio::test]
async fn a_background_child_that_holds_the_pipes_does_not_hold_up_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let ran = finish(shell(format!(
        "echo now; sleep 600 & echo $! > {}",
        file.display()
    )))
    .await;
    assert_eq!(ran.outcome, Outcome::Exited(0));
    assert_eq!(ran.stdout.text(), "now");
    assert!(ran.took < SOON, "{ran:?}");
    let pid = pids(&file).remove(0);
    // It was put there on purpose, so it lives; it is this test that ends it.
    let number = Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(number, Signal::KILL).expect("it was killed with the run");
}

#[tokio::test]
async fn the_end_of_the_daemon_ends_runs() {
    let stop = CancellationToken::new();
    stop.cancel();
    let ran = tokio::time::timeout(SOON, run(shell("sleep 600"), &stop)).await;
    assert_eq!(ran.expect("the run hangs").outcome, Outcome::Stopped);
}

#[tokio::test]
async fn a_dropped_run_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!(
        "echo $$ > {0}.tmp; mv {0}.tmp {0}; sleep 600",
        file.display()
    );
    let stop = CancellationToken::new();
    {
        let mut run = std::pin::pin!(run(shell(script), &stop));
        let started = async {
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ran = run.as_mut() => panic!("{ran:?}"),
            () = started => {}
            () = tokio::time::sleep(SOON) => panic!("it does not start"),
        }
    }
    gone(&pids(&file)[0]).await;
}

#[tokio::test]
async fn the_environment_is_what_was_given() {
    let mut run = shell("/usr/bin/env");
    run.stdout = Keep::First(4_096);
    run.environment.insert("TOKEN".into(), "a=b c".into());
    let text = finish(run).await.stdout.text();
    assert!(text.lines().any(|line| line == "TOKEN=a=b c"), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
}

#[tokio::test]
async fn a_program_runs_as_another_user_without_our_groups() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let table = fs::read_to_string("/etc/passwd").unwrap();
    let mut run = shell("id -u; id -g; id -G; echo $HOME $USER");
    run.user = Some(User::find(&table, "nobody").unwrap());
    let user = run.user.clone().unwrap();
    let (uid, gid) = (user.uid, user.gid);
    let expected = format!("{uid}\n{gid}\n{gid}\n{} nobody", user.home);
    assert_eq!(finish(run).await.stdout.text(), expected);
}
