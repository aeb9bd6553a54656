//! What a daemon knows of an engine, by its library, and what `docker ps -a` says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_tests::harness::Engine;
use musterd::daemon::supervisor::Tasks;
use musterd::docker::{Config, Container, Docker, EngineStatus, Host, Metrics, Mode, State};
use musterd::telemetry;
use tokio::sync::watch;

/// Longest wait for what takes far less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A follower of one engine.
pub(crate) struct View {
    pub(crate) docker: Docker,
    state: watch::Receiver<Arc<State>>,
    metrics: telemetry::Metrics,
    tasks: Tasks,
}

impl View {
    pub(crate) async fn of(socket: &Path) -> Self {
        let tasks = Tasks::default();
        let counted = Metrics::default();
        let metrics = telemetry::Metrics::new("tests");
        metrics.register(|registry| counted.register(registry));
        let config = Config {
            mode: Mode::Auto,
            host: Host::Unix(socket.to_owned()),
            host_prefix: None,
        };
        let docker = Docker::start(config, counted, &tasks).await.unwrap();
        Self {
            state: docker.state(),
            docker,
            metrics,
            tasks,
        }
    }

    /// Waits until the state is as it should be.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&State) -> bool,
    ) -> Arc<State> {
        let waited = self.state.wait_for(|state| wanted(state));
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(state) => Arc::clone(&state.unwrap()),
            Err(_elapsed) => {
                let state = Arc::clone(&self.docker.state().borrow());
                let shown: Vec<_> = lines(&state).into_values().collect();
                panic!("waited for {what}: {:?} {shown:?}", state.engine)
            }
        }
    }

    /// Waits until a container is as it should be.
    pub(crate) async fn sees(
        &mut self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Container) -> bool,
    ) -> Arc<Container> {
        let what = format!("{name} {what}");
        let named = |state: &State| {
            let mut all = state.containers.values();
            all.find(|one| one.name == name && wanted(one)).cloned()
        };
        let state = self.until(&what, |state| named(state).is_some()).await;
        named(&state).unwrap()
    }

    pub(crate) async fn live(&mut self) -> Arc<State> {
        self.until("the engine", is_live).await
    }

    /// Waits until the view is what `docker ps -a` says.
    pub(crate) async fn agrees(&mut self, engine: &Engine) {
        let wanted = listed(engine);
        self.until(&format!("{wanted:?}"), |state| {
            is_live(state) && lines(state) == wanted
        })
        .await;
    }

    /// A counter, without its `_total`.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let text = self.metrics.encode(Vec::new());
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = lines.find(|(n, _)| *n == format!("{name}_total")).unwrap();
        value.parse().unwrap()
    }

    pub(crate) async fn stop(self) {
        assert!(self.tasks.stop_within(PATIENCE).await.is_empty());
        assert_eq!(self.tasks.panics(), 0);
    }
}

pub(crate) fn is_live(state: &State) -> bool {
    matches!(state.engine, EngineStatus::Live { .. })
}

pub(crate) fn is_away(state: &State) -> bool {
    matches!(state.engine, EngineStatus::Away { .. })
}

/// Id to name and state.
fn lines(state: &State) -> BTreeMap<String, String> {
    let line = |one: &Arc<Container>| (one.id.to_string(), format!("{} {}", one.name, one.state));
    state.containers.values().map(line).collect()
}

/// The same, by the engine.
fn listed(engine: &Engine) -> BTreeMap<String, String> {
    let format = "{{.ID}} {{.Names}} {{.State}}";
    let text = engine.docker(&["ps", "-a", "--no-trunc", "--format", format]);
    let line = |line: &str| {
        line.split_once(' ')
            .map(|(id, rest)| (id.to_owned(), rest.to_owned()))
    };
    text.lines().filter_map(line).collect()
}
