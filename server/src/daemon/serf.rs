//! How serf's RPC is joined to the rest.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Shared, VERSION};
use crate::config::Config;
use crate::gossip::Handle;
use crate::grpc::Queries;
use crate::hub::Hub;
use crate::serf_rpc::{self, Coordinate, Hooks, Timing};

/// The socket, bound, and its settings.
pub(super) type Listening = (TcpListener, serf_rpc::Config);

/// Binds the socket of serf's RPC if it is wanted.
///
/// # Errors
/// It cannot be bound.
pub(super) async fn listen(config: &Config) -> anyhow::Result<Option<Listening>> {
    let Some(settings) = &config.serf_rpc else {
        return Ok(None);
    };
    let bound = serf_rpc::bind(settings.bind).await;
    let cannot = || format!("cannot serve serf's RPC at {}", settings.bind);
    Ok(Some((bound.with_context(cannot)?, settings.clone())))
}

/// Serves it.
pub(super) fn spawn(
    shared: &Shared,
    (listener, settings): Listening,
    hub: &Arc<Hub>,
    handle: &Handle,
    queries: &Queries,
) {
    let metrics = serf_rpc::Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    let auth = settings.auth.is_some();
    tracing::info!(address = %settings.bind, auth, "serf's RPC is up");
    let serving = serf_rpc::Shared {
        config: settings,
        version: VERSION,
        hub: Arc::clone(hub),
        handle: handle.clone(),
        keys: None,
        asker: queries.asker.clone(),
        responders: queries.responders.clone(),
        hooks: Arc::new(Around {
            left: shared.left.clone(),
        }),
        tail: shared.log.tail.clone(),
        log_filter: shared.log.filter.clone(),
        tasks: shared.tasks.clone(),
        metrics,
        timing: Timing {
            drain: shared.config.process.drain_timeout,
            ..Timing::default()
        },
    };
    let serving = serf_rpc::serve(listener, Arc::new(serving));
    shared.tasks.spawn("serf rpc", serving);
}

/// The daemon around serf's RPC.
#[derive(Debug)]
struct Around {
    left: CancellationToken,
}

impl Hooks for Around {
    fn left(&self) {
        self.left.cancel();
    }

    fn coordinate(&self, _member: &str) -> Option<Coordinate> {
        // Nodes have none here; clients are told so.
        None
    }
}
