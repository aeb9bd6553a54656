//! What runs between gossip and the surfaces: calls between peers, keys, queries,
//! deliveries.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;

use super::{Shared, containers};
use crate::config::Security;
use crate::containers::Inspector;
use crate::deliver::{self, Deliveries, Post, Reporter};
use crate::docker::Docker;
use crate::gossip::Handle;
use crate::gossip::rpc::Pipes;
use crate::grpc::Queries;
use crate::hub::Hub;
use crate::hub::containers::summary::ChildFiles;
use crate::keys::{self, Begun, Keys, Store};
use crate::peers::{self, Me, Peers};
use crate::queries::receiver::Received;
use crate::queries::{self, Asker, Receiver, Responders};
use crate::routes::Routes;

/// The keys of this start: settings, and what was changed at run time before.
pub(super) fn begin_keys(shared: &Shared) -> anyhow::Result<Begun> {
    let peers = &shared.config.peers;
    let settings = keys::Settings {
        keys: match &peers.security {
            Security::Sealed(keys) => keys.clone(),
            Security::Plaintext => Vec::new(),
        },
        stage: peers.encryption,
        file: peers.keyring_file.clone(),
        from_file: peers.keys_from_file,
    };
    let begun = Store::begin(&settings, shared.boots.data()).context("cannot read the keys")?;
    for note in &begun.notes {
        tracing::warn!("{note}");
    }
    Ok(begun)
}

/// What the parts above gossip are built from.
pub(super) struct Core {
    pub(super) hub: Arc<Hub>,
    pub(super) me: Me,
    pub(super) handle: Handle,
    pub(super) deliveries: Arc<Deliveries>,
}

/// The calls between peers: what this node serves to them, and its way to them.
pub(super) fn serve_peers(
    shared: &Shared,
    core: &Core,
    pipes: Pipes,
    (received, query_metrics): (Received, queries::Metrics),
    begun: Begun,
    (docker, files): (&Docker, watch::Receiver<Arc<ChildFiles>>),
) -> (Queries, Keys, Inspector) {
    let metrics = peers::Metrics::default();
    shared.metrics.register(|registry| {
        metrics.register(registry);
        query_metrics.register(registry);
    });
    let tasks = shared.tasks.clone();
    let (peers, server) = Peers::new(core.me.clone(), pipes, &tasks, metrics);
    let keys = keys(shared, core, peers.clone(), begun);
    let asker = Asker::new(
        Arc::clone(&core.hub),
        core.handle.clone(),
        core.me.clone(),
        tasks.clone(),
        query_metrics.clone(),
    );
    let responders = Responders::new(query_metrics.clone());
    let inspector = containers::tell(shared, core, docker, files, peers.clone());
    let routes = Routes::default()
        .add(asker.service())
        .add(deliver::service(Arc::clone(&core.deliveries)))
        .add(keys.service())
        .add(inspector.service());
    report(shared, core, peers.clone());
    tasks.spawn("peer calls", server.run(routes));
    let receiver = Receiver {
        hub: Arc::clone(&core.hub),
        me: core.me.clone(),
        peers,
        asker: asker.clone(),
        responders: responders.clone(),
        tasks: tasks.clone(),
        metrics: query_metrics,
    };
    tasks.spawn("queries", receiver.run(received));
    (Queries { asker, responders }, keys, inspector)
}

/// The keys of the cluster, and the task that follows them.
fn keys(shared: &Shared, core: &Core, peers: Peers, begun: Begun) -> Keys {
    let metrics = keys::Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    Keys::start(keys::Parts {
        name: Arc::clone(core.me.name()),
        hub: Arc::clone(&core.hub),
        handle: core.handle.clone(),
        net: Arc::new(peers),
        begun,
        public: shared.config.peers.public.clone(),
        tasks: shared.tasks.clone(),
        metrics,
    })
}

/// Receipts of level DELIVERED.
pub(super) fn deliveries(shared: &Shared, hub: &Arc<Hub>) -> Arc<Deliveries> {
    let metrics = deliver::Metrics::default();
    shared
        .metrics
        .register(|registry| metrics.register(registry));
    Arc::new(Deliveries::new(Arc::clone(hub), metrics))
}

/// Tells origins which of their events are here.
fn report(shared: &Shared, core: &Core, peers: Peers) {
    let post = Arc::new(Post::new(Arc::clone(&core.hub), peers));
    let reporter = Reporter::new(Arc::clone(&core.hub), Arc::clone(&core.deliveries), post);
    let stop = shared.tasks.stop_token();
    shared.tasks.spawn("delivery reports", async move {
        tokio::select! {
            () = reporter.run() => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    });
}
