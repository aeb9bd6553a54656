mod crashes;

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::task::JoinHandle;

use super::fake::{Fake, Made, Silence};
use super::*;
use crate::children::{run, yml};

/// Longest wait; virtual time, so that it costs nothing.
const PATIENCE: Duration = Duration::from_secs(600);

const PARENT: &str = "parent0";

const TWO: &str = "children:\n- db: {image: postgres}\n- web: {image: nginx}\n";

fn home() -> Home {
    Home {
        node: "n1".to_owned(),
        cluster: "c".to_owned(),
        container: Some(PARENT.to_owned()),
        directory: Some(PathBuf::from("/data")),
    }
}

fn name(child: &str) -> String {
    spec::container_name(&home(), child)
}

fn wanted(text: &str) -> Arc<Wanted> {
    Arc::new(Wanted {
        asked: true,
        children: yml::parse(text).unwrap().children,
        run: None,
        stop_timeout: Duration::from_secs(8),
    })
}

/// An engine that the parent runs on.
fn engine() -> Fake {
    let fake = Fake::with(&["postgres", "nginx"]);
    fake.place(PARENT, "parent", json!({"Image": "muster"}));
    fake
}

/// Files that are there at once, unless they never are.
struct Always(bool);

impl Files for Always {
    fn ready<'a>(&'a self, _container: &'a str, _id: &'a str) -> BoxFuture<'a, ()> {
        match self.0 {
            true => Box::pin(std::future::ready(())),
            false => Box::pin(std::future::pending()),
        }
    }
}

/// A launcher that runs.
struct Running {
    task: JoinHandle<()>,
    ending: CancellationToken,
    wanted: watch::Sender<Arc<Wanted>>,
    reports: watch::Receiver<Vec<Report>>,
    metrics: Metrics,
}

impl Running {
    fn start(fake: &Fake, wanted: Arc<Wanted>) -> Self {
        Self::with(fake, wanted, home(), true)
    }

    fn with(fake: &Fake, wanted: Arc<Wanted>, home: Home, files: bool) -> Self {
        let (wanted, wants) = watch::channel(wanted);
        let (tell, reports) = watch::channel(Vec::new());
        let metrics = Metrics::default();
        let launcher = Launcher {
            engine: Arc::new(fake.clone()),
            state: fake.state(),
            files: Some(Arc::new(Always(files))),
            environment: Arc::default(),
            wanted: wants,
            home: Box::new(move || Some(home.clone())),
            metrics: metrics.clone(),
            reports: tell,
        };
        let ending = CancellationToken::new();
        Self {
            task: tokio::spawn(launcher.run(ending.clone())),
            ending,
            wanted,
            reports,
            metrics,
        }
    }

    async fn until(&mut self, what: &str, holds: impl FnMut(&Vec<Report>) -> bool) -> Vec<Report> {
        let waited = tokio::time::timeout(PATIENCE, self.reports.wait_for(holds)).await;
        waited.unwrap_or_else(|_| panic!("{what}")).unwrap().clone()
    }

    async fn settled(&mut self) {
        let all = |reports: &Vec<Report>| {
            !reports.is_empty() && reports.iter().all(|report| report.settled)
        };
        self.until("all settled", all).await;
    }

    /// As by SIGKILL.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    async fn end(self) {
        self.ending.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

/// Our containers, without the parent.
fn children(fake: &Fake) -> Vec<Made> {
    let mut all = fake.all();
    all.retain(|made| made.name != "parent");
    all.sort_by_key(|made| made.started);
    all
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_stop_in_reverse() {
    let fake = engine();
    let mut running = Running::start(&fake, wanted(TWO));
    running.settled().await;
    let (db, web) = (name("db"), name("web"));
    let expected = [
        format!("create {db}"),
        format!("put {db}"),
        format!("start {db}"),
        format!("create {web}"),
        format!("put {web}"),
        format!("start {web}"),
    ];
    assert_eq!(fake.take_log(), expected);
    let made = fake.named(&db).unwrap();
    assert_eq!(made.link.as_deref(), Some("me.json -> /serfnode/me.json"));
    assert_eq!(running.metrics.created.get(), 2);
    assert_eq!(running.metrics.settled.get(), 2);
    running.end().await;
    assert_eq!(
        fake.take_log(),
        [format!("stop {web}"), format!("stop {db}")]
    );
    assert!(children(&fake).iter().all(|made| made.state == "exited"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_only_what_changed() {
    let fake = engine();
    let mut running = Running::start(&fake, wanted(TWO));
    running.settled().await;
    fake.take_log();
    let db = fake.named(&name("db")).unwrap();
    let text = "children:\n- db: {image: postgres}\n- new: {image: nginx}\n";
    running.wanted.send_replace(wanted(text));
    let has_new = |reports: &Vec<Report>| reports.iter().any(|r| r.child == "new" && r.settled);
    running.until("the new child", has_new).await;
    let (web, new) = (name("web"), name("new"));
    let expected = [
        format!("stop {web}"),
        format!("remove {web}"),
        format!("create {new}"),
        format!("put {new}"),
        format!("start {new}"),
    ];
    assert_eq!(fake.take_log(), expected);
    assert_eq!(fake.named(&name("db")).unwrap().started, db.started);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_pulled_or_the_error_says_so() {
    let fake = engine();
    let text = "children:\n- a: {image: 'far/away:1'}\n- web: {image: nginx}\n";
    let mut running = Running::start(&fake, wanted(text));
    let told = |reports: &Vec<Report>| reports.iter().any(|report| report.problem.is_some());
    let reports = running.until("a problem", told).await;
    assert_eq!(
        reports[0].warning().unwrap(),
        "child \"a\" does not start: image \"far/away:1\" is not on this engine, and it cannot be \
         pulled: pull access denied for far/away:1"
    );
    // The one after it waits.
    assert!(!reports[1].settled && fake.named(&name("web")).is_none());
    fake.offer("far/away:1");
    running.settled().await;
    assert_eq!(running.metrics.pulled.get(), 1);
    assert!(
        running
            .reports
            .borrow()
            .iter()
            .all(|report| report.problem.is_none())
    );
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_the_engine_refuses_is_tried_again() {
    let fake = engine();
    fake.break_starts(Some("no space left on device"));
    let mut running = Running::start(&fake, wanted(TWO));
    let told = |reports: &Vec<Report>| reports.iter().any(|report| report.problem.is_some());
    let reports = running.until("a problem", told).await;
    let problem = reports[0].problem.as_deref();
    assert_eq!(problem, Some("cannot start it: no space left on device"));
    let started = tokio::time::Instant::now();
    until("eight tries", || running.metrics.failed.get() >= 8).await;
    // 1 + 2 + 4 + 8 + 16 + 30 + 30 seconds.
    assert!(
        started.elapsed() > Duration::from_secs(80),
        "{:?}",
        started.elapsed()
    );
    fake.break_starts(None);
    running.settled().await;
    assert_eq!(children(&fake).len(), 2);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_refused_and_holds_up_what_comes_after() {
    let fake = engine();
    let text = "children:\n- a: {image: nginx}\n- b: {image: nginx, ports: ['1:2']}\n- c: {image: nginx}\n";
    let mut running = Running::start(&fake, wanted(text));
    let told = |reports: &Vec<Report>| reports.iter().any(|report| report.problem.is_some());
    let reports = running.until("a problem", told).await;
    assert!(
        reports[1].problem.as_deref().unwrap().contains("-p 1:2"),
        "{reports:?}"
    );
    assert_eq!(children(&fake).len(), 1);
    // DOCKER_RUN waits for nobody.
    let mut run = run::parse("nginx").unwrap();
    run.child.name = "front".to_owned();
    let mut both = (*wanted(text)).clone();
    both.run = Some(run);
    running.wanted.send_replace(Arc::new(both));
    let front = |reports: &Vec<Report>| reports.iter().any(|r| r.child == "front" && r.settled);
    running.until("the one of DOCKER_RUN", front).await;
    assert_eq!(fake.named("front").unwrap().state, "running");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn between_starts_the_engine_decides() {
    let fake = engine();
    let mut running = Running::start(&fake, wanted(TWO));
    running.settled().await;
    fake.take_log();
    let (db, web) = (name("db"), name("web"));
    // Somebody stopped it: it stays so.
    fake.meddle(&db, |made| made.state = "exited");
    // The engine could not start it: that is made good.
    fake.meddle(&web, |made| {
        made.state = "exited";
        made.error = "cannot join network of a non running container".to_owned();
    });
    until("the start", || fake.named(&web).unwrap().state == "running").await;
    assert_eq!(fake.named(&db).unwrap().state, "exited");
    assert_eq!(
        fake.take_log(),
        [format!("put {web}"), format!("start {web}")]
    );
    // Removed: it comes back.
    let id = fake
        .state()
        .borrow()
        .containers
        .values()
        .find(|one| one.name == web)
        .unwrap()
        .id
        .clone();
    fake.forget(&id);
    until("a new one", || {
        fake.named(&web).is_some_and(|made| made.state == "running")
    })
    .await;
    running.kill().await;
    // A new run starts what was stopped.
    let mut running = Running::start(&fake, wanted(TWO));
    running.settled().await;
    assert_eq!(fake.named(&db).unwrap().state, "running");
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_is_killed_in_time_and_holds_up_no_other() {
    let fake = engine();
    let text = "children:\n- a: {image: nginx}\n- b: {image: nginx}\n- c: {image: nginx}\n";
    let mut running = Running::start(&fake, wanted(text));
    running.settled().await;
    let (a, b, c) = (name("a"), name("b"), name("c"));
    fake.deafen(&c);
    fake.take_log();
    let metrics = running.metrics.clone();
    let begun = tokio::time::Instant::now();
    running.end().await;
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(8) && took < Duration::from_secs(10),
        "{took:?}"
    );
    let stop = |name: &str| format!("stop {name}");
    assert_eq!(
        fake.take_log(),
        [stop(&c), stop(&b), stop(&a), format!("kill {c}")]
    );
    assert_eq!(metrics.killed.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn children_of_a_restarted_parent_do_not_wait_for_each_other_to_stop() {
    let fake = engine();
    let mut running = Running::start(&fake, wanted(TWO));
    running.settled().await;
    running.kill().await;
    fake.deafen(&name("db"));
    fake.deafen(&name("web"));
    fake.restart(PARENT);
    let begun = tokio::time::Instant::now();
    let mut running = Running::start(&fake, wanted(TWO));
    running.settled().await;
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(10) && took < Duration::from_secs(20),
        "{took:?}"
    );
    let parent = fake.named("parent").unwrap().started;
    let all = children(&fake);
    assert!(
        all.iter()
            .all(|made| made.state == "running" && made.started > parent)
    );
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn files_that_never_come_hold_up_a_child_for_a_while_only() {
    let fake = engine();
    let mut running = Running::with(&fake, wanted(TWO), home(), false);
    running.settled().await;
    assert_eq!(running.metrics.unready.get(), 2);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_in_the_middle_starts_nothing_more() {
    let fake = engine();
    let running = Running::with(&fake, wanted(TWO), home(), false);
    until("the first is created", || !children(&fake).is_empty()).await;
    running.end().await;
    let all = children(&fake);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].state, "created");
}
