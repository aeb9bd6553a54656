//! ResolverService.

pub(crate) mod answers;
pub(crate) mod endpoints;
pub(crate) mod roles;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use muster_engine::name::check_role;
use muster_proto::v1 as pb;
use muster_proto::v1::resolver_service_server::ResolverService;
use tonic::Status;
use tonic::body::Body;

use self::answers::{Answers, Ask};
use self::endpoints::{Endpoints, Order};
use self::roles::Roles;
use super::frames::{Opened, Streams};
use super::limits::{CLIENT_KEY_BYTES_MAX, RESOLVE_INTERVAL_DEFAULT};
use super::members::Members;
use super::metrics::Metrics;
use super::round_trip;
use super::status::invalid;
use super::watch::group::Views;
use super::watch::pulse::{heartbeat_interval, min_interval};
use crate::filter::Filter;
use crate::gossip::Coordinates;
use crate::hub::{Hub, lock};

/// Roles whose ROUND_ROBIN calls are counted; beyond it counting starts anew.
const ROTATIONS_MAX: usize = 4_096;

/// The service.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) hub: Arc<Hub>,
    pub(crate) views: Arc<Views<Members>>,
    pub(crate) coordinates: Arc<Coordinates>,
    pub(crate) rotations: Mutex<BTreeMap<String, usize>>,
    pub(crate) metrics: Metrics,
    pub(crate) decode_max: usize,
}

impl Resolver {
    fn resolve(&self, request: pb::ResolveRoleRequest) -> Result<Answers<Endpoints>, Status> {
        let role = request.role;
        check_role(&role).map_err(|error| invalid("BAD_ROLE", "role", error))?;
        let filter = request.filter.unwrap_or_default();
        if !filter.roles.is_empty() {
            let message = "the role is given by `role`";
            return Err(invalid("ROLES_SET", "filter.roles", message));
        }
        let extra = filter != pb::MemberFilter::default();
        let filter = Filter::compile(pb::MemberFilter {
            roles: vec![role.clone()],
            ..filter
        })?;
        let ask = Ask {
            once: request.once,
            heartbeat: heartbeat_interval(request.heartbeat_interval)?,
            pause: min_interval(request.min_interval, RESOLVE_INTERVAL_DEFAULT)?,
        };
        let order = self.order(&role, request.policy, request.client_key, request.near)?;
        let everybody = match extra {
            true => Some(self.views.of(Filter::role(&role)?)),
            false => None,
        };
        let endpoints = Endpoints {
            view: self.views.of(filter),
            everybody,
            role,
            order,
            limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
            exclude_suspect: request.exclude_suspect,
            include_unhealthy: request.include_unhealthy,
        };
        let count = self.metrics.deliveries("ResolveRole");
        Ok(Answers::open(Arc::clone(&self.hub), endpoints, &ask, count))
    }

    fn order(
        &self,
        role: &str,
        policy: i32,
        client_key: String,
        near: String,
    ) -> Result<Order, Status> {
        let policy = pb::SelectionPolicy::try_from(policy).map_err(|_unknown| {
            let message = format!("{policy} is no selection policy");
            invalid("BAD_POLICY", "policy", message)
        })?;
        if client_key.len() > CLIENT_KEY_BYTES_MAX {
            let bytes = client_key.len();
            let message = format!("{bytes} bytes, at most {CLIENT_KEY_BYTES_MAX} are allowed");
            return Err(invalid("CLIENT_KEY_TOO_LONG", "client_key", message));
        }
        if !near.is_empty() {
            if policy != pb::SelectionPolicy::Nearest {
                let message = "only the policy NEAREST has a point of view";
                return Err(invalid("NEAR_WITHOUT_NEAREST", "near", message));
            }
            round_trip::find(&self.hub, "near", &near)?;
        }
        Ok(match policy {
            pb::SelectionPolicy::Unspecified | pb::SelectionPolicy::All => Order::Oldest,
            pb::SelectionPolicy::Oldest => Order::OnlyOldest,
            pb::SelectionPolicy::Nearest => Order::Nearest {
                coordinates: Arc::clone(&self.coordinates),
                from: near,
            },
            pb::SelectionPolicy::Random => Order::shuffled(client_key),
            pb::SelectionPolicy::RoundRobin => Order::Rotated(self.rotation(role)),
        })
    }

    fn rotation(&self, role: &str) -> usize {
        let mut rotations = lock(&self.rotations);
        if rotations.len() >= ROTATIONS_MAX && !rotations.contains_key(role) {
            rotations.clear();
        }
        let calls = rotations.entry(role.to_owned()).or_default();
        let rotation = *calls;
        *calls = calls.wrapping_add(1);
        rotation
    }

    fn roles(&self, request: pb::WatchRolesRequest) -> Result<Answers<Roles>, Status> {
        let ask = Ask {
            once: request.once,
            heartbeat: heartbeat_interval(request.heartbeat_interval)?,
            pause: RESOLVE_INTERVAL_DEFAULT,
        };
        let roles = Roles {
            view: self.views.of(Filter::compile(pb::MemberFilter::default())?),
        };
        let count = self.metrics.deliveries("WatchRoles");
        Ok(Answers::open(Arc::clone(&self.hub), roles, &ask, count))
    }
}

impl Streams for Resolver {
    fn open(self: &Arc<Self>, method: &str, body: Body) -> Opened {
        match method {
            "ResolveRole" => Opened::stream(self, body, self.decode_max, Self::resolve),
            "WatchRoles" => Opened::stream(self, body, self.decode_max, Self::roles),
            _ => Opened::Other(body),
        }
    }
}

/// Both methods are framed streams.
impl ResolverService for Resolver {}
