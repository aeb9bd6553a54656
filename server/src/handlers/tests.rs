use std::fs;
use std::path::Path;

use muster_engine::Status;
use tokio::time::timeout;

use super::*;
use crate::hub::EventUpdate;
use crate::hub::testing::{event, gap, member, origin, updated, with_status, with_tag};
use crate::storage::DataDir;

mod asked;
mod events;
mod restarts;

const SOON: Duration = Duration::from_secs(30);

/// Handlers over a hub, with a directory to write to.
struct Bench {
    hub: Arc<Hub>,
    dir: tempfile::TempDir,
    tasks: Tasks,
    metrics: Metrics,
    config: Config,
    queries: Responders,
}

impl Bench {
    fn new(specs: &[&str]) -> Self {
        let bench = Self {
            hub: Arc::new(Hub::new("e".to_owned())),
            dir: tempfile::tempdir().unwrap(),
            tasks: Tasks::default(),
            metrics: Metrics::default(),
            config: Config {
                specs: Vec::new(),
                dir: None,
                timeout: SOON,
                concurrency: 4,
                queue: 256,
                user: None,
                json: false,
                redeliver: false,
                coalesce: Duration::ZERO,
            },
            queries: Responders::default(),
        };
        let specs = bench.specs(specs);
        let mut bench = bench;
        bench.config.specs = specs;
        bench
    }

    /// Specifications, with `$D` for the directory.
    fn specs(&self, texts: &[&str]) -> Vec<Spec> {
        let dir = self.dir.path().display().to_string();
        let parse = |text: &&str| {
            Spec::parse(&text.replace("$D", &dir), crate::config::units::duration).unwrap()
        };
        texts.iter().map(parse).collect()
    }

    fn start(&self) -> Handlers {
        self.start_with(CursorStore::open(None))
    }

    /// With a data directory that is free again once the handlers have ended.
    fn start_kept(&self) -> Handlers {
        let data = DataDir::open(&self.path("data")).unwrap();
        self.start_with(CursorStore::open(Some(Arc::new(data))))
    }

    fn start_with(&self, cursors: CursorStore) -> Handlers {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let around = Around {
            name: "me".to_owned(),
            socket: "/run/api.sock".into(),
            serf_rpc: None,
            environment: [("PATH".into(), path)].into(),
            grace: Duration::from_millis(100),
            queries: self.queries.clone(),
        };
        Handlers::start(
            self.config.clone(),
            around,
            Arc::clone(&self.hub),
            cursors,
            self.metrics.clone(),
            &self.tasks,
        )
    }

    /// Ends the handlers as the daemon does.
    async fn stop(&mut self) {
        let tasks = std::mem::take(&mut self.tasks);
        let overran = tasks.stop_within(SOON).await;
        assert!(overran.is_empty(), "{overran:?}");
        assert!(tasks.take_failure().is_none());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until a file is as it should be.
    async fn until(&self, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        until(
            &format!("file {name}"),
            || wanted(&self.read(name)),
            || self.read(name),
        )
        .await;
        self.read(name)
    }

    async fn until_is(&self, name: &str, wanted: &str) {
        self.until(name, |text| text == wanted).await;
    }

    fn apply(&self, members: Vec<Member>) {
        self.hub
            .apply_members(members.into_iter().map(updated).collect());
    }

    fn push(&self, events: Vec<EventUpdate>) {
        self.hub.push_events(events);
    }
}

async fn until(what: &str, wanted: impl Fn() -> bool, now: impl Fn() -> String) {
    let wait = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(SOON, wait).await.is_err() {
        panic!("{what} is still {:?}", now());
    }
}

/// Waits until a report is as it should be.
async fn until_report(handlers: &Handlers, wanted: impl Fn(&[Report]) -> bool) -> Vec<Report> {
    let now = || format!("{:?}", handlers.report());
    until("the report", || wanted(&handlers.report()), now).await;
    handlers.report()
}

fn touch(path: &Path) {
    fs::write(path, "").unwrap();
}
