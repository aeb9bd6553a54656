//! Several daemons that make one cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_proto::v1::{Member, MemberStatus};
use tempfile::TempDir;

use super::daemon::{temp_dir, write_key};
use super::{Binaries, Daemon, DaemonBuilder, Security, wait};

/// Changes the builder of daemon number n.
type Configure = Box<dyn Fn(usize, DaemonBuilder) -> DaemonBuilder + Send>;

/// What cluster to start.
#[must_use]
pub struct ClusterBuilder {
    binaries: Binaries,
    size: usize,
    staggered: bool,
    configure: Configure,
}

impl std::fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("size", &self.size)
            .field("staggered", &self.staggered)
            .finish_non_exhaustive()
    }
}

impl ClusterBuilder {
    /// One daemon after the other, each when the one before sees itself joined;
    /// the first is then the oldest. All at once otherwise.
    pub fn staggered(mut self) -> Self {
        self.staggered = true;
        self
    }

    /// Changes each daemon before its start.
    pub fn each(
        mut self,
        configure: impl Fn(usize, DaemonBuilder) -> DaemonBuilder + Send + 'static,
    ) -> Self {
        self.configure = Box::new(configure);
        self
    }

    /// Starts all daemons and waits until every one sees all of them alive.
    ///
    /// # Panics
    ///
    /// When they do not come together in time.
    pub async fn start(self) -> Cluster {
        let dir = Arc::new(temp_dir());
        let key_file = write_key(dir.path(), "cluster.key");
        let builders: Vec<DaemonBuilder> = (0..self.size)
            .map(|n| Daemon::builder(self.binaries, &node(n)))
            .collect();
        let seed = builders.first().map(DaemonBuilder::addr);
        let mut cluster = Cluster {
            binaries: self.binaries,
            daemons: Vec::new(),
            key_file,
            dir: Arc::clone(&dir),
        };
        for (n, builder) in builders.into_iter().enumerate() {
            let mut builder = builder
                .dir(&dir)
                .security(Security::KeyFile(cluster.key_file.clone()));
            if let Some(seed) = seed.filter(|_| n > 0) {
                builder = builder.join(seed);
            }
            cluster.daemons.push((self.configure)(n, builder).start());
            if self.staggered {
                cluster.together(n + 1).await;
            }
        }
        cluster.together(self.size).await;
        cluster
    }
}

/// Daemons that know each other. All die with it.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    daemons: Vec<Daemon>,
    key_file: PathBuf,
    dir: Arc<TempDir>,
}

impl Cluster {
    /// `size` daemons called `node-0`, `node-1`, … under one key, joined through the first.
    pub fn builder(binaries: Binaries, size: usize) -> ClusterBuilder {
        ClusterBuilder {
            binaries,
            size,
            staggered: false,
            configure: Box::new(|_, builder| builder),
        }
    }

    /// Daemon number n.
    #[must_use]
    pub fn node(&self, n: usize) -> &Daemon {
        &self.daemons[n]
    }

    /// Daemon number n, to signal or restart it.
    pub fn node_mut(&mut self, n: usize) -> &mut Daemon {
        &mut self.daemons[n]
    }

    /// All daemons.
    #[must_use]
    pub fn nodes(&self) -> &[Daemon] {
        &self.daemons
    }

    /// The key that all share.
    #[must_use]
    pub fn key_file(&self) -> &PathBuf {
        &self.key_file
    }

    /// The builder of one more daemon of this cluster, not yet started.
    #[must_use]
    pub fn newcomer(&self, name: &str) -> DaemonBuilder {
        Daemon::builder(self.binaries, name)
            .dir(&self.dir)
            .security(Security::KeyFile(self.key_file.clone()))
            .join(self.daemons[0].addr())
    }

    /// Waits until each of the first `count` daemons sees `count` alive members.
    async fn together(&mut self, count: usize) {
        for daemon in &mut self.daemons[..count] {
            daemon.wait_ready().await;
        }
        for daemon in &self.daemons[..count] {
            see_alive(daemon, count).await;
        }
    }

    /// Waits until daemon `at` sees member `name` in this status.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`.
    pub async fn sees(
        &self,
        at: usize,
        name: &str,
        status: MemberStatus,
        limit: Duration,
    ) -> Member {
        see(&self.daemons[at], name, status, limit).await
    }
}

/// Waits until `daemon` sees exactly `count` members, all of them alive.
///
/// # Panics
///
/// When it does not in time.
pub async fn see_alive(daemon: &Daemon, count: usize) {
    let mut api = daemon.api().await;
    let what = format!("{} to see {count} members alive", daemon.name());
    wait::until(&what, wait::SOON, async || {
        let members = api.list().await?;
        let alive = members
            .iter()
            .filter(|m| m.status() == MemberStatus::Alive)
            .count();
        if alive == count && members.len() == count {
            Ok(())
        } else {
            Err(summary(&members))
        }
    })
    .await;
}

/// Waits until `daemon` sees a member of that name in that status; the member.
///
/// # Panics
///
/// When it does not within `limit`.
pub async fn see(daemon: &Daemon, name: &str, status: MemberStatus, limit: Duration) -> Member {
    let mut api = daemon.api().await;
    let what = format!("{} to see {name} {}", daemon.name(), status.as_str_name());
    wait::until(&what, limit, async || {
        let members = api.list().await?;
        let found = members
            .iter()
            .find(|m| m.name == name && m.status() == status);
        found.cloned().ok_or_else(|| summary(&members))
    })
    .await
}

/// Members in one line: name (or alias) and status.
#[must_use]
pub fn summary(members: &[Member]) -> String {
    let states: BTreeMap<&str, &str> = members
        .iter()
        .map(|m| {
            let shown = if m.alias.is_empty() {
                &m.name
            } else {
                &m.alias
            };
            (shown.as_str(), m.status().as_str_name())
        })
        .collect();
    format!("{states:?}")
}

/// Name of daemon number n.
#[must_use]
pub fn node(n: usize) -> String {
    format!("node-{n}")
}
