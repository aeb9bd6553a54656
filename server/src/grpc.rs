//! The API: gRPC over unix sockets.
//!
//! ```text
//!   socket -> accept loop (serve) -> authority filter -> hyper
//!               -> Gate (capability, count, panic, drain)
//!               -> Routes -> generated servers (unary calls, SendEvent)
//!                         -> framed streams (watches): bytes encoded once, shared
//! ```
//! Streams pull from the [`crate::hub`]; nothing is queued per caller. Commands go
//! down by [`crate::gossip::Handle`].

pub mod access;
pub mod authority;
mod containers;
mod convert;
mod events;
mod frames;
pub mod gate;
pub mod health;
mod keys;
pub mod limits;
mod logs;
mod members;
pub mod metrics;
pub mod node;
pub mod peer;
mod queries;
mod resolver;
mod round_trip;
pub mod serve;
pub mod socket;
mod status;
pub mod transport_metrics;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use muster_proto::v1 as pb;
use pb::event_service_server::EventServiceServer;
use pb::key_service_server::KeyServiceServer;
use pb::membership_service_server::MembershipServiceServer;
use pb::node_service_server::NodeServiceServer;
use pb::query_service_server::QueryServiceServer;
use pb::resolver_service_server::ResolverServiceServer;
use tokio_util::sync::CancellationToken;

pub use self::access::{Access, Capabilities, Capability};
pub use self::gate::Gate;
pub use self::health::HealthHandle;
pub use self::metrics::Metrics;
pub use self::node::{Hooks, Identity, Reloaded};
pub use self::peer::{Peer, SocketKind};
pub use self::queries::Queries;

use self::containers::ContainerCalls;
use self::events::Events;
use self::events::segments::Feeds;
use self::events::send::Sender;
use self::frames::WithStreams;
use self::gate::Bounds;
use self::members::Membership;
use self::node::Node;
use self::resolver::Resolver;
use self::watch::group::Views;
use crate::containers::Inspector;
use crate::deliver::Deliveries;
use crate::gossip::Handle;
use crate::hub::Hub;
use crate::keys::Keys;
use crate::routes::Routes;

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct Config {
    /// What callers are told of this daemon.
    pub identity: Identity,
    /// Who may do what.
    pub access: Access,
    /// Largest event payload, bytes.
    pub payload_bytes_max: usize,
    /// Calls under way in all: [`limits::STREAMS_MAX`].
    pub calls_max: usize,
}

/// What the API shows and commands.
#[derive(Debug)]
pub struct Parts {
    /// Members and events.
    pub hub: Arc<Hub>,
    /// Commands to the engine.
    pub handle: Handle,
    /// Receipts of level DELIVERED.
    pub deliveries: Arc<Deliveries>,
    /// Queries.
    pub queries: Queries,
    /// The keys of the cluster.
    pub keys: Keys,
    /// Asks the owners of containers.
    pub inspector: Inspector,
}

/// The whole API as one service, and the handle on its health. Streams end with
/// UNAVAILABLE once `stop` is cancelled; calls that answer once are left to end.
///
/// # Errors
/// The built-in descriptors cannot be served: a bug.
pub async fn services(
    parts: Parts,
    config: Config,
    hooks: Arc<dyn Hooks>,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(Gate, HealthHandle), tonic_reflection::server::Error> {
    let (hub, handle, queries) = (parts.hub, parts.handle, parts.queries);
    let decode_max = config.payload_bytes_max + limits::DECODE_SLACK_BYTES;
    let views = Arc::new(Views::new());
    let membership = Arc::new(Membership {
        hub: Arc::clone(&hub),
        views: Arc::clone(&views),
        metrics: metrics.clone(),
        decode_max,
    });
    let resolver = Arc::new(Resolver {
        hub: Arc::clone(&hub),
        views,
        coordinates: handle.coordinates(),
        rotations: Mutex::new(BTreeMap::new()),
        metrics: metrics.clone(),
        decode_max,
    });
    let events = Arc::new(Events {
        hub: Arc::clone(&hub),
        sender: Sender {
            handle: handle.clone(),
            hub: Arc::clone(&hub),
            deliveries: parts.deliveries,
            name: Arc::clone(&config.identity.name),
            rejected: metrics.rejected.clone(),
            decode_max,
        },
        feeds: Feeds::default(),
        metrics: metrics.clone(),
    });
    let containers = ContainerCalls::new(&hub, parts.inspector, &metrics, decode_max);
    let node = Node {
        hub,
        handle,
        hooks,
        identity: config.identity,
        metrics: metrics.clone(),
    };
    let members = MembershipServiceServer::from_arc(Arc::clone(&membership));
    let members = members.max_decoding_message_size(decode_max);
    let roles = ResolverServiceServer::from_arc(Arc::clone(&resolver));
    let sending =
        EventServiceServer::from_arc(Arc::clone(&events)).max_decoding_message_size(decode_max);
    let node = NodeServiceServer::new(node).max_decoding_message_size(decode_max);
    // The larger limit for both methods: what is asked is checked by the engine.
    let query = QueryServiceServer::new(queries);
    let query = query.max_decoding_message_size(limits::REPLY_MESSAGE_BYTES_MAX.max(decode_max));
    let routes = Routes::default()
        .add(WithStreams::new(members, membership))
        .add(WithStreams::new(roles, resolver))
        .add(containers::service(containers))
        .add(WithStreams::new(sending, events))
        .add(query)
        .add(
            KeyServiceServer::new(keys::KeyCalls(parts.keys)).max_decoding_message_size(decode_max),
        )
        .add(node);
    let (routes, health) = health::add(routes).await?;
    let (calls, message_bytes) = (config.calls_max, decode_max);
    let bounds = Bounds {
        calls,
        message_bytes,
    };
    let gate = Gate::new(routes, config.access, bounds, metrics, stop);
    Ok((gate, health))
}

#[cfg(test)]
mod tests;
