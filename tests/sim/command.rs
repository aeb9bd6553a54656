//! The program `simulate`: its report, its exit codes, and what it refuses.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use muster_tests::sim::Report;

fn simulate(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_simulate");
    let output = Command::new(program).args(args).output();
    output.expect("the program can be started")
}

fn report(args: &[&str]) -> Report {
    let output = simulate(&[&["--format", "json"], args].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    serde_json::from_str(&text).expect("it is a report")
}

#[test]
fn equal_seeds_leave_equal_traces() {
    let bad = [
        "--loss",
        "5",
        "--duplicate",
        "1",
        "--reorder",
        "2",
        "--delay",
        "1-5",
    ];
    let run = |seed| {
        let args = ["--nodes", "12", "--duration", "20", "--seed", seed];
        report(&[&args[..], &bad].concat())
    };
    let (one, same, other) = (run("7"), run("7"), run("8"));
    assert_eq!(one.trace, same.trace);
    assert_eq!((one.steps, one.converge_s), (same.steps, same.converge_s));
    assert_ne!(one.trace, other.trace);
    assert_eq!(one.weather.loss_percent, 5.0);
    assert_eq!(one.weather.delay_ms, (1.0, 5.0));
    assert!(one.rest.is_some() && one.event.is_some() && one.kills.len() == 3);
}

#[test]
fn people_read_it_too() {
    let output = simulate(&["--nodes", "3", "--duration", "20"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for said in [
        "3 nodes",
        "all know all after",
        "node and second, rest",
        "events one at a time: 10 sent, 1.0000 delivered",
        "kill shown failed",
        "false failures       0",
        "memory",
        "trace ",
    ] {
        assert!(text.contains(said), "no {said:?} in:\n{text}");
    }
}

/// Where nothing gets through, nobody ever meets anybody.
#[test]
fn what_is_not_reached_is_a_failure() {
    let hopeless = ["--nodes", "3", "--duration", "1", "--delay", "5000"];
    let output = simulate(&hopeless);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("all know all after   never"), "{text}");
}

#[test]
fn reports_become_plots() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut reports = String::new();
    for nodes in ["2", "4"] {
        let args = ["--nodes", nodes, "--duration", "20", "--format", "json"];
        reports.push_str(&String::from_utf8_lossy(&simulate(&args).stdout));
    }
    let draw = |input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_simulate"))
            .arg("--plot")
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let mut stdin = child.stdin.take().expect("it was asked for");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    };
    assert_eq!(draw(&reports).status.code(), Some(0));
    for file in ["convergence", "detection", "events", "traffic"] {
        let path = dir.path().join(file).with_extension("svg");
        let svg = std::fs::read_to_string(&path).expect("it was drawn");
        assert!(svg.contains("</svg>"), "{file}");
    }
    for (input, why) in [("", "no report came in"), ("{}\n", "line 1 is no report")] {
        let output = draw(input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains(why),
            "{said}"
        );
    }
}

#[test]
fn nonsense_is_refused() {
    for (args, why) in [
        (&["--nodes", "1"][..], "2..=65536"),
        (&["--loss", "101"], "not between 0 and 100"),
        (&["--loss", "NaN"], "not between 0 and 100"),
        (&["--duplicate", "some"], "not a number"),
        (&["--delay", "5-2"], "the first is above the second"),
        (&["--duration", "0"], "1..=86400"),
        (&["--scenario", "peace"], "possible values"),
        (&["--from", "3"], "--replay"),
    ] {
        let output = simulate(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: no {why:?} in {said}");
    }
}
