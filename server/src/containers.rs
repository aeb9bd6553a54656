//! This node's containers as knowledge of the cluster: what the engine shows is told in
//! the node's own record, and anybody may ask the owner for all of it.
//!
//! ```text
//!   docker::State -> plan (labels, addresses, bounds; pure) -> publisher -> gossip::Handle
//!   hub.containers() -> lookup -> Inspector -> owner: docker, or the peer that is it
//! ```

mod address;
mod inspect;
mod labels;
mod lookup;
mod metrics;
mod plan;
mod publish;
pub mod redact;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;

pub use self::inspect::{InspectError, Inspection, Inspector, InspectorParts};
pub use self::labels::{CHILD, NETWORK, PARENT, PORT, ROLE, SERVICE_IP};
pub use self::lookup::{Asked, Found, LookupError, find};
pub use self::metrics::Metrics;
pub use self::publish::Publisher;

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this node.
    pub node: String,
    /// Address at which what the host publishes is reached.
    pub service_ip: IpAddr,
    /// Callers who may do everything are shown secrets by `inspect`.
    pub inspect_secrets: bool,
}
