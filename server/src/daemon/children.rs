//! The launcher of children and what it needs of the daemon around it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::legacy::Legacy;
use super::shutdown::Phase;
use crate::children::files::{Files, Written};
use crate::children::launcher::{FindHome, Launcher};
use crate::children::spec::Home;
use crate::children::{Metrics, Report, Wanted};
use crate::config::Config;
use crate::docker::Docker;
use crate::legacy::children::{CHILDREN, SERFNODE};
use crate::legacy::fifo::Fifos;

/// Files that are written, and FIFOs that are read.
#[derive(Debug)]
struct Ready {
    written: Written,
    fifos: Option<Fifos>,
}

impl Files for Ready {
    fn ready<'a>(&'a self, container: &'a str, id: &'a str) -> BoxFuture<'a, ()> {
        let ready = async move {
            self.written.ready(container, id).await;
            if let Some(fifos) = &self.fifos {
                let directory = Path::new(SERFNODE).join(CHILDREN).join(container);
                fifos.open(&directory).await;
            }
        };
        ready.boxed()
    }
}

/// Starts the launcher, if anybody asked for children; how they are.
pub(super) fn start(
    shared: &Shared,
    docker: &Docker,
    legacy: Option<&Legacy>,
) -> watch::Receiver<Vec<Report>> {
    let (tell, reports) = watch::channel(Vec::new());
    let config = &shared.config;
    if !config.children.asked {
        return reports;
    }
    let metrics = Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let (want, wanted) = watch::channel(Arc::new(config.children.clone()));
    let directory = files(config);
    let files = directory.as_ref().map(|directory| {
        let children = directory.join(CHILDREN);
        let fifos = legacy.map(Legacy::fifos);
        let written = Written { children };
        Arc::new(Ready { written, fifos }) as Arc<dyn Files>
    });
    let launcher = Launcher {
        engine: Arc::new(docker.engine().clone()),
        state: docker.state(),
        files,
        environment: Arc::clone(&shared.environment),
        wanted,
        home: find_home(shared, docker.clone(), directory),
        metrics,
        reports: tell,
    };
    let ending = CancellationToken::new();
    let following = follow(shared.clone(), want, ending.clone());
    shared.tasks.spawn_guarded("children wanted", following);
    let stop = shared.tasks.stop_token();
    shared.tasks.spawn("children", async move {
        launcher.run(ending).await;
        // It ends before the others are told to.
        stop.cancelled().await;
        Ok(())
    });
    reports
}

/// Hands reloads on, and tells the launcher of the end.
async fn follow(shared: Shared, want: watch::Sender<Arc<Wanted>>, ending: CancellationToken) {
    let (mut phase, mut reload) = (shared.phase.clone(), shared.reload.clone());
    let stop = shared.tasks.stop_token();
    loop {
        tokio::select! {
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow_and_update() != Phase::Running {
                    break;
                }
            }
            () = stop.cancelled() => break,
            changed = reload.changed() => {
                if changed.is_err() {
                    break;
                }
                let children = &reload.borrow_and_update().children;
                want.send_if_modified(|wanted| {
                    let differs = **wanted != *children;
                    if differs {
                        *wanted = Arc::new(children.clone());
                    }
                    differs
                });
            }
        }
    }
    ending.cancel();
}

/// The directory of the files that children find, as this daemon sees it.
fn files(config: &Config) -> Option<PathBuf> {
    let root = std::path::absolute(config.legacy.root.as_ref()?).ok()?;
    Some(root.join("serfnode"))
}

/// Finds where children live, once the engine was listed.
fn find_home(shared: &Shared, docker: Docker, files: Option<PathBuf>) -> FindHome {
    let node = shared.config.node.clone();
    Box::new(move || {
        let places = docker.places();
        Some(Home {
            node: node.name.clone(),
            cluster: node.cluster.clone(),
            container: places.me().map(|me| me.id.to_string()),
            directory: files.as_ref().and_then(|files| places.to_host(files)),
        })
    })
}
