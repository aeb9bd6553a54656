//! Members and user events.

use super::*;

#[tokio::test]
async fn each_kind_reaches_those_who_ask_for_it() {
    let mut bench = Bench::new(&[
        "*=printf '%s %s;' $SERF_EVENT $SERF_USER_EVENT >> $D/all",
        "member-failed,member-join=printf '%s:' $SERF_EVENT >> $D/members; cat >> $D/members",
        "user:deploy=cat >> $D/deploy",
        "user,name:other=cat >> $D/other",
    ]);
    bench.apply(vec![member("web", 1, &["w"])]);
    bench.start();
    bench
        .until_is("members", "member-join:web\t127.0.0.1\tw\t\n")
        .await;
    let web = origin("web", 1);
    bench.push(vec![
        event(&web, 1, "deploy", b"v1"),
        event(&web, 2, "other", b"x"),
        event(&origin("other", 1), 1, "x", b"y"),
    ]);
    bench.until_is("deploy", "v1\n").await;
    bench.until_is("other", "y\n").await;
    bench.apply(vec![with_status(member("web", 1, &["w"]), Status::Failed)]);
    bench
        .until("members", |text| {
            text.ends_with("member-failed:web\t127.0.0.1\tw\t\n")
        })
        .await;
    let all = bench
        .until("all", |text| text.split(';').count() == 6)
        .await;
    let mut all: Vec<_> = all.split(';').collect();
    all.sort_unstable();
    assert_eq!(
        all,
        [
            "",
            "member-failed ",
            "member-join ",
            "user deploy",
            "user other",
            "user x"
        ]
    );
    bench.stop().await;
}

#[tokio::test]
async fn one_call_carries_many_members_and_selectors_choose_them() {
    let mut bench = Bench::new(&[
        "member-join,role:web=cat >> $D/web",
        "member-update,tag:zone=eu*=cat >> $D/zone",
        "member-join=echo $MUSTER_MEMBER_COUNT >> $D/count",
    ]);
    bench.apply(vec![
        member("a", 1, &["web"]),
        member("b", 1, &["db"]),
        member("c", 1, &["web"]),
    ]);
    bench.start();
    bench
        .until_is("web", "a\t127.0.0.1\tweb\t\nc\t127.0.0.1\tweb\t\n")
        .await;
    bench.until_is("count", "3\n").await;
    bench.apply(vec![with_tag(member("b", 1, &["db"]), "zone", "eu-1")]);
    bench
        .until_is("zone", "b\t127.0.0.1\tdb\tzone=eu-1\n")
        .await;
    // Those that no longer fit are told once more, by what they were.
    bench.apply(vec![with_tag(member("b", 1, &["db"]), "zone", "us")]);
    bench
        .until("zone", |text| text.ends_with("zone=us\n"))
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn a_handler_that_hangs_delays_no_other_and_not_itself_elsewhere() {
    let mut bench = Bench::new(&[
        "*=case $SERF_EVENT in user) echo $SERF_USER_EVENT >> $D/begun; while [ ! -e $D/go ]; do sleep 0.02; done;; *) cat >> $D/members;; esac",
        "user=echo $SERF_USER_EVENT >> $D/quick",
    ]);
    bench.start();
    let a = origin("a", 1);
    bench.push(vec![event(&a, 1, "one", b""), event(&a, 2, "two", b"")]);
    bench.until_is("quick", "one\ntwo\n").await;
    bench.until_is("begun", "one\n").await;
    // Members of the same handler, and events of another origin, do not wait either.
    bench.apply(vec![member("late", 1, &[])]);
    bench.until_is("members", "late\t127.0.0.1\t\t\n").await;
    bench.push(vec![event(&origin("b", 1), 1, "three", b"")]);
    bench.until_is("begun", "one\nthree\n").await;
    touch(&bench.path("go"));
    bench.until_is("begun", "one\nthree\ntwo\n").await;
    bench.stop().await;
}

#[tokio::test]
async fn events_of_one_origin_stay_in_order_and_concurrency_is_bounded() {
    let mut bench = Bench::new(&[
        "user,concurrency:2=mkdir $D/run.$$; ls -d $D/run.* | wc -l >> $D/at-once; read n; echo $n >> $D/$MUSTER_ORIGIN; rmdir $D/run.$$",
    ]);
    let names = ["a", "b", "c", "d"];
    let mut all = Vec::new();
    for sequence in 1..=12 {
        for name in names {
            all.push(event(
                &origin(name, 1),
                sequence,
                "e",
                sequence.to_string().as_bytes(),
            ));
        }
    }
    bench.start();
    bench.push(all);
    let in_order: String = (1..=12).map(|n| format!("{n}\n")).collect();
    for name in names {
        bench.until_is(name, &in_order).await;
    }
    let at_once = bench.read("at-once");
    assert!(
        at_once.lines().all(|line| matches!(line.trim(), "1" | "2")),
        "{at_once}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_full_queue_leaves_events_in_the_ring() {
    let mut bench = Bench::new(&[
        "user,queue:5,concurrency:1=while [ ! -e $D/go ]; do sleep 0.02; done; echo $SERF_USER_LTIME >> $D/out",
    ]);
    let handlers = bench.start();
    let a = origin("a", 1);
    bench.push((1..=40).map(|n| event(&a, n, "e", b"")).collect());
    let report = until_report(&handlers, |all| all.iter().any(|one| one.running == 1)).await;
    assert!(report[0].queued <= 5, "{report:?}");
    touch(&bench.path("go"));
    let all: String = (1..=40).map(|n| format!("{n}\n")).collect();
    bench.until_is("out", &all).await;
    bench.stop().await;
}

#[tokio::test]
async fn who_is_slower_than_the_ring_misses_events_and_it_is_counted() {
    let mut bench = Bench::new(&[
        "user,queue:1,concurrency:1=while [ ! -e $D/go ]; do sleep 0.02; done; echo $SERF_USER_LTIME >> $D/out",
    ]);
    let handlers = bench.start();
    let a = origin("a", 1);
    bench.push((1..=2).map(|n| event(&a, n, "e", b"")).collect());
    until_report(&handlers, |all| {
        all.iter().any(|one| (one.running, one.queued) == (1, 1))
    })
    .await;
    // Two thirds of the ring, twice.
    let payload = vec![0; 1 << 20];
    for first in [3, 46] {
        bench.push(
            (first..first + 43)
                .map(|n| event(&a, n, "e", &payload))
                .collect(),
        );
    }
    touch(&bench.path("go"));
    let out = bench.until("out", |text| text.ends_with("\n88\n")).await;
    let ran: Vec<u64> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert!(ran.is_sorted(), "{ran:?}");
    let report = until_report(&handlers, |all| all[0].succeeded == ran.len() as u64).await;
    assert!(report[0].missed > 0, "{report:?}");
    assert_eq!(report[0].missed + ran.len() as u64, 88, "{report:?}");
    bench.stop().await;
}

#[tokio::test]
async fn gaps_and_bases_are_passed() {
    let mut bench = Bench::new(&["user=echo $SERF_USER_LTIME >> $D/out"]);
    let handlers = bench.start();
    let a = origin("a", 1);
    bench.push(vec![
        EventUpdate::Base {
            origin: a.clone(),
            sequence: 7,
        },
        event(&a, 8, "e", b""),
        gap(&a, 9, 11),
        event(&a, 12, "e", b""),
    ]);
    bench.until_is("out", "8\n12\n").await;
    assert_eq!(handlers.report()[0].missed, 3);
    bench.stop().await;
}

#[tokio::test]
async fn failures_are_counted_and_the_last_ones_kept() {
    let mut bench = Bench::new(&[
        "user:bad=echo why >&2; exit 3",
        "user,timeout:50ms=sleep 60",
        "user=no-such-command",
    ]);
    let handlers = bench.start();
    bench.push(vec![event(&origin("a", 1), 1, "bad", b"")]);
    let report = until_report(&handlers, |all| {
        all.len() == 3 && all.iter().all(|one| one.failed == 1)
    })
    .await;
    let outcomes: Vec<_> = report
        .iter()
        .map(|one| one.last[0].outcome.as_str())
        .collect();
    assert_eq!(
        outcomes,
        [
            "exit code 3",
            "killed after 50ms: it took too long",
            "exit code 127 (there is no such command)"
        ]
    );
    assert!(
        report
            .iter()
            .all(|one| !one.last[0].ok && one.last[0].name == "bad")
    );
    bench.stop().await;
    let mut registry = prometheus_client::registry::Registry::default();
    bench.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "muster_handler_runs_total{handler=\"0\",outcome=\"failed\"} 1",
        "muster_handler_runs_total{handler=\"1\",outcome=\"timeout\"} 1",
        "muster_handler_runs_total{handler=\"2\",outcome=\"failed\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn json_for_those_who_ask() {
    let mut bench = Bench::new(&["user,json=cat >> $D/out"]);
    bench.start();
    bench.push(vec![event(&origin("a", 1), 1, "deploy", b"v1")]);
    let line = bench.until("out", |text| text.ends_with('\n')).await;
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&told["name"], &told["payload"], &told["id"]),
        (&"deploy".into(), &"v1".into(), &"a/1/1".into())
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_directory_of_programs_is_followed() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bench = Bench::new(&[]);
    bench.config.dir = Some(bench.path("handlers"));
    fs::create_dir(bench.path("handlers")).unwrap();
    let put = |bench: &Bench, name: &str| {
        let text = format!(
            "#!/bin/sh\ncat >> {}/{name}.out\n",
            bench.dir.path().display()
        );
        let path = bench.path("new");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(path, bench.path("handlers").join(name)).unwrap();
    };
    put(&bench, "deploy");
    put(&bench, "member-join");
    let handlers = bench.start();
    let a = origin("a", 1);
    bench.apply(vec![member("a", 1, &[])]);
    bench.push(vec![
        event(&a, 1, "deploy", b"1"),
        event(&a, 2, "late", b"2"),
    ]);
    bench.until_is("deploy.out", "1\n").await;
    bench
        .until_is("member-join.out", "a\t127.0.0.1\t\t\n")
        .await;
    put(&bench, "late");
    until_report(&handlers, |all| {
        all.iter().any(|one| one.label == "dir/late")
    })
    .await;
    bench.push(vec![event(&a, 3, "late", b"3")]);
    bench.until_is("late.out", "3\n").await;
    bench.stop().await;
}

#[tokio::test]
async fn a_replacement_keeps_what_stays_and_ends_what_goes() {
    let mut bench = Bench::new(&[
        "user:a=while [ ! -e $D/go ]; do sleep 0.02; done; echo $SERF_USER_LTIME >> $D/stays",
        "user:b=while [ ! -e $D/go ]; do sleep 0.02; done; echo $SERF_USER_LTIME >> $D/goes",
    ]);
    let handlers = bench.start();
    let a = origin("a", 1);
    bench.push(vec![
        event(&a, 1, "a", b""),
        event(&a, 2, "b", b""),
        event(&a, 3, "a", b""),
        event(&a, 4, "b", b""),
    ]);
    until_report(&handlers, |all| {
        all.len() == 2 && all.iter().all(|one| (one.running, one.queued) == (1, 1))
    })
    .await;
    let mut specs = bench.config.specs.clone();
    specs.truncate(1);
    specs.extend(bench.specs(&["user:c=echo $SERF_USER_LTIME >> $D/new"]));
    handlers.replace(specs).await.unwrap();
    let labels: Vec<_> = handlers.report().into_iter().map(|one| one.label).collect();
    assert_eq!(labels, ["0", "2"]);
    bench.push(vec![event(&a, 5, "c", b""), event(&a, 6, "b", b"")]);
    bench.until_is("new", "5\n").await;
    touch(&bench.path("go"));
    bench.until_is("stays", "1\n3\n").await;
    // The call under way ended in peace, its queue is gone.
    bench.until_is("goes", "2\n").await;
    bench.stop().await;
    assert_eq!(bench.read("goes"), "2\n");
}
