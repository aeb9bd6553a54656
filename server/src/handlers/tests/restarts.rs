//! What outlives the daemon.

use super::*;

/// Events 1 to 3 of one origin, as a daemon hands them over again after a restart.
fn three() -> Vec<EventUpdate> {
    let a = origin("a", 1);
    (1..=3).map(|n| event(&a, n, "e", b"")).collect()
}

/// Drops the handlers as a crash does: nothing is settled.
async fn crash(bench: &mut Bench) {
    let tasks = std::mem::take(&mut bench.tasks);
    tasks.stop_within(Duration::ZERO).await;
    until(
        "the tasks",
        || tasks.live().is_empty(),
        || format!("{:?}", tasks.live()),
    )
    .await;
    bench.hub = Arc::new(Hub::new("f".to_owned()));
}

#[tokio::test]
async fn without_a_data_directory_nothing_is_remembered() {
    let mut bench = Bench::new(&["user=echo $SERF_USER_LTIME >> $D/out"]);
    bench.start();
    bench.push(three());
    bench.until_is("out", "1\n2\n3\n").await;
    bench.stop().await;
}

#[tokio::test]
async fn after_a_clean_end_what_was_run_is_not_run_again() {
    let mut bench = Bench::new(&["user=echo $SERF_USER_LTIME$MUSTER_REDELIVERED >> $D/out"]);
    bench.start_kept();
    bench.push(three());
    bench.until_is("out", "1\n2\n3\n").await;
    bench.stop().await;
    bench.hub = Arc::new(Hub::new("f".to_owned()));
    let handlers = bench.start_kept();
    let mut again = three();
    again.push(event(&origin("a", 1), 4, "e", b""));
    bench.push(again);
    bench.until_is("out", "1\n2\n3\n4\n").await;
    assert_eq!(handlers.report()[0].missed, 0);
    bench.stop().await;
    assert_eq!(bench.read("out"), "1\n2\n3\n4\n");
}

#[tokio::test]
async fn what_waited_at_a_clean_end_is_run_by_the_next_daemon() {
    let mut bench = Bench::new(&["user=echo $SERF_USER_LTIME >> $D/out; [ -e $D/go ] || sleep 60"]);
    bench.start_kept();
    bench.push(three());
    bench.until_is("out", "1\n").await;
    bench.stop().await;
    touch(&bench.path("go"));
    bench.hub = Arc::new(Hub::new("f".to_owned()));
    bench.start_kept();
    bench.push(three());
    bench.until_is("out", "1\n2\n3\n").await;
    bench.stop().await;
}

#[tokio::test]
async fn after_a_crash_nothing_runs_twice_and_the_rest_is_a_gap() {
    let mut bench = Bench::new(&["user=echo $SERF_USER_LTIME >> $D/out; [ -e $D/go ] || sleep 60"]);
    bench.start_kept();
    bench.push(three());
    bench.until_is("out", "1\n").await;
    crash(&mut bench).await;
    touch(&bench.path("go"));
    let handlers = bench.start_kept();
    let mut again = three();
    // Behind what was reserved.
    again.push(event(&origin("a", 1), 4, "e", b""));
    bench.push(again);
    bench.until_is("out", "1\n4\n").await;
    assert_eq!(handlers.report()[0].missed, 3);
    bench.stop().await;
}

#[tokio::test]
async fn redelivery_runs_again_what_a_crash_cut_and_marks_it() {
    let mut bench = Bench::new(&[
        "user,redeliver=echo $SERF_USER_LTIME:$MUSTER_REDELIVERED >> $D/out; [ $SERF_USER_LTIME = 1 ] || [ -e $D/go ] || sleep 60",
    ]);
    bench.start_kept();
    bench.push(three());
    bench.until_is("out", "1:\n2:\n").await;
    crash(&mut bench).await;
    touch(&bench.path("go"));
    bench.start_kept();
    let mut again = three();
    again.push(event(&origin("a", 1), 99, "e", b""));
    bench.push(again);
    let out = bench.until("out", |text| text.ends_with("99:\n")).await;
    // The first one had been finished, but that was not on the disk yet.
    assert!(
        matches!(
            out.as_str(),
            "1:\n2:\n1:1\n2:1\n3:1\n99:\n" | "1:\n2:\n2:1\n3:1\n99:\n"
        ),
        "{out}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn the_end_of_the_daemon_waits_a_little_then_kills() {
    let mut bench = Bench::new(&[
        "user=echo $$ > $D/pid; trap 'echo asked >> $D/out; exit' TERM; while :; do sleep 0.05; done",
    ]);
    bench.start();
    bench.push(vec![event(&origin("a", 1), 1, "e", b"")]);
    bench.until("pid", |text| text.ends_with('\n')).await;
    bench.stop().await;
    assert_eq!(bench.read("out"), "asked\n");
}
