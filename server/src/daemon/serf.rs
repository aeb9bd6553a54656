//! How serf's RPC is joined to the rest.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muster_engine::crypto::KeyId;
use muster_proto::token::KeyBytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::peering::Core;
use super::{Shared, VERSION};
use crate::config::Config;
use crate::gossip::Handle;
use crate::grpc::Queries;
use crate::handlers::spec::Filter;
use crate::hub::Hub;
use crate::keys::{KeyReport, Keys, KeysError, Ring, RingError};
use crate::serf_rpc::{self, ClusterKeys, Coordinate, Hooks, KeyChange, KeyText, KeysTold, Timing};

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
    core: &Core,
    queries: &Queries,
    keys: &Keys,
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
        hub: Arc::clone(&core.hub),
        handle: core.handle.clone(),
        keys: Some(Arc::new(OfCluster(keys.clone()))),
        asker: queries.asker.clone(),
        responders: queries.responders.clone(),
        hooks: Arc::new(Around {
            left: shared.left.clone(),
            hub: Arc::clone(&core.hub),
            handle: core.handle.clone(),
            config: shared.live.config.subscribe(),
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
    hub: Arc<Hub>,
    handle: Handle,
    config: watch::Receiver<Arc<Config>>,
}

impl Hooks for Around {
    fn left(&self) {
        self.left.cancel();
    }

    fn coordinate(&self, member: &str) -> Option<Coordinate> {
        let member = self.hub.member(member)?;
        let place = self.handle.coordinates().snapshot().of(&member.value)?;
        Some(Coordinate {
            adjustment: place.adjustment,
            error: place.error,
            height: place.height,
            vec: Some(place.vec.to_vec()),
        })
    }

    fn event_handlers(&self) -> BTreeMap<String, String> {
        let config = Arc::clone(&self.config.borrow());
        let specs = config.handlers.specs.iter();
        let scripts = specs.flat_map(|spec| {
            let keys = spec.filters.iter().map(Filter::key);
            keys.map(|key| (key, spec.script.clone()))
        });
        scripts.collect()
    }
}

/// The keys of the cluster, as serf's clients see them.
#[derive(Debug)]
struct OfCluster(Keys);

impl ClusterKeys for OfCluster {
    fn list(&self, raw: bool) -> BoxFuture<'_, Result<KeysTold, String>> {
        let list = async move {
            let report = self.0.list().await.map_err(|error| error.to_string())?;
            let texts = if raw {
                self.0.texts().await
            } else {
                BTreeMap::new()
            };
            Ok(told(&report, &texts))
        };
        list.boxed()
    }

    fn change(&self, change: KeyChange, key: KeyText) -> BoxFuture<'_, Result<KeysTold, String>> {
        let told = async move {
            let report = match change {
                KeyChange::Install => {
                    let key = KeyBytes::parse(key.as_str()).map_err(|error| error.to_string())?;
                    let installed = self.0.install(key).await;
                    installed.map(|(_, report)| report)
                }
                KeyChange::Use => self.0.use_key(id_of(&key)?, false).await,
                KeyChange::Remove => self.0.remove(id_of(&key)?, false).await,
            };
            match report {
                Ok(report) => Ok(told(&report, &BTreeMap::new())),
                Err(error) => self.refused(change, &error).await,
            }
        };
        told.boxed()
    }
}

impl OfCluster {
    /// serf asks every member before it knows that a change makes no sense, so its clients
    /// expect each member's refusal; and to remove what is gone is a success.
    async fn refused(&self, change: KeyChange, error: &KeysError) -> Result<KeysTold, String> {
        let why = match (change, error) {
            (KeyChange::Remove, KeysError::Ring(RingError::Unknown(_))) => None,
            (KeyChange::Use, KeysError::Ring(RingError::Unknown(_))) => {
                Some("Requested key is not in the keyring")
            }
            (KeyChange::Remove, KeysError::Ring(RingError::Primary(_))) => {
                Some("Removing the primary key is not allowed")
            }
            _ => return Err(error.to_string()),
        };
        let report = self.0.list().await.map_err(|error| error.to_string())?;
        let mut told = told(&report, &BTreeMap::new());
        if let Some(why) = why {
            let members = report.members.into_iter();
            told.failures = members.map(|m| (m.member, why.to_owned())).collect();
        }
        Ok(told)
    }
}

/// serf's clients name a key by itself; its id, as `serf keys -list` shows it, will do.
fn id_of(key: &KeyText) -> Result<KeyId, String> {
    if let Ok(id) = KeyId::from_str(key.as_str()) {
        return Ok(id);
    }
    let key = KeyBytes::parse(key.as_str()).map_err(|error| error.to_string())?;
    Ring::id_of(&key).map_err(|error| error.to_string())
}

fn told(report: &KeyReport, texts: &BTreeMap<KeyId, Zeroizing<String>>) -> KeysTold {
    let failed = |member: &crate::keys::MemberKeys| {
        let error = member.error.clone()?;
        Some((member.member.clone(), error))
    };
    let shown = |id: KeyId| match texts.get(&id) {
        Some(text) => text.to_string(),
        None => id.to_string(),
    };
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let keys = report.keys.iter();
    KeysTold {
        failures: report.members.iter().filter_map(failed).collect(),
        keys: keys
            .map(|key| (shown(key.id), count(key.members)))
            .collect(),
        asked: count(report.members.len()),
        answered: count(report.members.len()),
    }
}
