//! Who serves a role, in which order.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_engine::{Member, Role, Status};
use muster_proto::v1 as pb;
use pb::resolve_role_response::Event;
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::super::convert;
use super::super::frames::framed;
use super::super::members::{Members, position, source};
use super::super::round_trip;
use super::super::watch::group::View;
use super::answers::Question;
use crate::gossip::Coordinates;
use crate::hub::Hub;

/// The order of endpoints.
#[derive(Debug)]
pub(crate) enum Order {
    /// By start time, then name.
    Oldest,
    /// The first of [`Order::Oldest`] alone.
    OnlyOldest,
    /// By a hash with this key (rendezvous hashing): a member that comes or goes
    /// moves nobody else.
    Shuffled(String),
    /// By estimated round trip time, unknown ones last and as [`Order::Oldest`].
    Nearest {
        /// Where members are.
        coordinates: Arc<Coordinates>,
        /// From this member on; empty: from this node.
        from: String,
    },
    /// As [`Order::Oldest`], begun this much later.
    Rotated(usize),
}

impl Order {
    /// Shuffled by a key; by one of its own if the key is empty.
    pub(crate) fn shuffled(key: String) -> Self {
        Self::Shuffled(match key.as_str() {
            "" => format!("{:016x}", RandomState::new().hash_one(0)),
            _ => key,
        })
    }
}

/// Who serves a role.
#[derive(Debug)]
pub(crate) struct Endpoints {
    /// Members that serve the role and pass the filter.
    pub(crate) view: Arc<View<Members>>,
    /// Members that serve the role, if others than in `view`.
    pub(crate) everybody: Option<Arc<View<Members>>>,
    pub(crate) role: String,
    pub(crate) order: Order,
    /// Keep so many; 0: all.
    pub(crate) limit: usize,
    pub(crate) exclude_suspect: bool,
    /// Keep containers that say that they should not be used.
    pub(crate) include_unhealthy: bool,
}

impl Endpoints {
    fn set(&self, hub: &Hub) -> (u64, pb::EndpointSet) {
        let (revision, entries) = self.view.entries(&source(hub));
        let known = match &self.everybody {
            Some(everybody) => !everybody.entries(&source(hub)).1.is_empty(),
            None => !entries.is_empty(),
        };
        let alive = entries
            .iter()
            .any(|entry| entry.value.status == Status::Alive);
        let suspect = entries
            .iter()
            .any(|entry| entry.value.status == Status::Suspect);
        let serves = |member: &Member| match member.status {
            Status::Alive => true,
            Status::Suspect => !self.exclude_suspect,
            Status::Leaving | Status::Left | Status::Failed => false,
        };
        let mut endpoints: Vec<(&Member, &Role)> = entries
            .iter()
            .map(|entry| &*entry.value)
            .filter(|member| serves(member))
            .flat_map(|member| member.roles.iter().map(move |role| (member, role)))
            .filter(|(_, role)| role.name == self.role)
            .filter(|(_, role)| role.healthy || self.include_unhealthy)
            .collect();
        let total = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        self.arrange(hub, &mut endpoints);
        let endpoints = endpoints.into_iter().map(endpoint).collect();
        let set = pb::EndpointSet {
            role: self.role.clone(),
            role_known: known,
            endpoints,
            total,
            degraded: suspect && !alive,
        };
        (revision, set)
    }

    fn arrange(&self, hub: &Hub, endpoints: &mut Vec<(&Member, &Role)>) {
        // Stable: roles of one member stay in its order, oldest first.
        endpoints.sort_by(|(a, _), (b, _)| a.seniority().cmp(&b.seniority()));
        let mut limit = match self.limit {
            0 => usize::MAX,
            limit => limit,
        };
        match &self.order {
            Order::Oldest => {}
            Order::OnlyOldest => limit = 1,
            Order::Shuffled(key) => {
                endpoints.sort_by_cached_key(|(member, role)| Reverse(score(key, member, role)));
            }
            Order::Nearest { coordinates, from } => {
                let from = match from.as_str() {
                    "" => round_trip::this_node(hub),
                    from => round_trip::find(hub, "near", from),
                };
                // Who was reaped meanwhile is far from everybody.
                if let Ok(from) = from {
                    let places = coordinates.snapshot();
                    endpoints.sort_by_cached_key(|(member, _)| {
                        places.between(&from, member).unwrap_or(Duration::MAX)
                    });
                }
            }
            Order::Rotated(by) => {
                let by = by.checked_rem(endpoints.len()).unwrap_or(0);
                endpoints.rotate_left(by);
            }
        }
        endpoints.truncate(limit);
    }
}

fn score(key: &str, member: &Member, role: &Role) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [key, member.display_name(), &role.service_ip.to_string()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(role.service_port.to_le_bytes());
    hash.finalize().into()
}

fn endpoint((member, role): (&Member, &Role)) -> pb::Endpoint {
    pb::Endpoint {
        member: member.display_name().to_string(),
        address: role.service_ip.to_string(),
        port: role.service_port.into(),
        status: convert::status(member.status).into(),
        since: Some(convert::timestamp(member.started_unix_ms)),
        tags: member.tags.clone(),
        healthy: role.healthy,
        container: role.container.as_deref().unwrap_or_default().to_owned(),
    }
}

/// Short name of a message, the same in every run: 128 bits of its SHA-256 in hex.
pub(crate) fn etag(message: &impl Message) -> String {
    let digest = Sha256::digest(message.encode_to_vec());
    digest
        .iter()
        .take(16)
        .fold(String::new(), |mut text, byte| {
            // Writing into a String does not fail.
            _ = write!(text, "{byte:02x}");
            text
        })
}

impl Question for Endpoints {
    fn last_change(&self, hub: &Hub) -> (u64, u64) {
        let (mut changed, revision) = self.view.last_change(&source(hub));
        if let Some(everybody) = &self.everybody {
            changed = changed.max(everybody.last_change(&source(hub)).0);
        }
        (changed, revision)
    }

    fn answer(&self, hub: &Hub) -> (String, Bytes) {
        let (revision, set) = self.set(hub);
        let etag = etag(&set);
        let message = framed(&pb::ResolveRoleResponse {
            position: Some(position(hub, revision)),
            etag: etag.clone(),
            event: Some(Event::Set(set)),
        });
        (etag, message)
    }

    fn heartbeat(&self, hub: &Hub, tag: &str, revision: u64) -> Bytes {
        framed(&pb::ResolveRoleResponse {
            position: Some(position(hub, revision)),
            etag: tag.to_owned(),
            event: Some(Event::Heartbeat(pb::ResolveHeartbeat {})),
        })
    }
}
