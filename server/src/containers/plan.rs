//! What is to be told of this node's containers, as a value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use muster_engine::{PUBLISHED_BYTES_MAX, PUBLISHED_KEYS_MAX, Role, published_bytes};

use super::labels::{self, BadLabel};
use super::{Config, address};
use crate::docker::{Container, EngineStatus, Health, State};
use crate::hub::containers::summary::{
    self, ChildFiles, ENGINE_KEY, EngineState, EngineSummary, Files, PortMapping, Summary,
};

/// Bytes of labels of one container that are told, besides those of muster itself. Those
/// beyond are left out.
pub(crate) const LABELS_BYTES_MAX: usize = 1 << 10;

/// Longest label that is told, key and value, bytes. A longer one is left out.
pub(crate) const LABEL_BYTES_MAX: usize = 512;

/// Most exposed ports and networks of one container that are told; more are left out.
pub(crate) const PORTS_MAX: usize = 64;

/// Labels that were left out for want of room are told again below this part of
/// [`PUBLISHED_BYTES_MAX`]: else one container more or less would change them all.
const LABELS_AGAIN: (usize, usize) = (3, 4);

/// Most bytes of the roles that are told; roles of further containers are left out.
const ROLES_BYTES_MAX: usize = 24 << 10;

/// Largest summary of one container, bytes: Docker bounds no names. A larger one is left
/// out, before it takes the labels or the place of others.
const SUMMARY_BYTES_MAX: usize = 16 << 10;

/// What a role takes of it beside its name.
const ROLE_BYTES: usize = 112;

/// Everything that this node tells at run time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) roles: Vec<Role>,
    pub(crate) ports: BTreeMap<String, Vec<String>>,
    pub(crate) values: BTreeMap<String, Bytes>,
    /// By id: whether it runs.
    pub(crate) running: BTreeMap<Arc<str>, bool>,
    /// Labels that make no sense, with the name of their container.
    pub(crate) bad_labels: Vec<(String, BadLabel)>,
    /// Containers without room.
    pub(crate) left_out: usize,
    /// Labels without room.
    pub(crate) labels_left_out: usize,
    /// Labels were left out of all for want of room.
    pub(crate) short: bool,
}

/// What is to be told. `me`: the container that this daemon runs in; `files`: what became
/// of the files of children; `short`: labels were left out of all the last time.
pub(crate) fn plan(
    state: &State,
    me: Option<&Container>,
    files: &ChildFiles,
    config: &Config,
    short: bool,
) -> Plan {
    let mut plan = Plan::default();
    let Some(mut engine) = engine_summary(&state.engine) else {
        return plan;
    };
    let mut summaries = Vec::new();
    for container in state.containers.values() {
        let (said, bad) = labels::read(&container.labels, &config.node);
        let named = bad.into_iter().map(|bad| (container.name.clone(), bad));
        plan.bad_labels.extend(named);
        let roles: Vec<String> = said.roles.iter().map(|role| role.role.clone()).collect();
        summaries.push(Summary {
            files: files.get(&container.id).cloned().unwrap_or_default(),
            ..summarise(container, roles)
        });
        plan.running
            .insert(Arc::clone(&container.id), container.is_running());
        if !container.is_running() {
            continue;
        }
        for wanted in said.roles.iter() {
            let at = address::service(container, &said, wanted.port, config.service_ip, state);
            plan.roles.push(Role {
                name: wanted.role.clone(),
                service_ip: at.0,
                service_port: at.1,
                since_unix_ms: 0,
                container: Some(Arc::clone(&container.id)),
                healthy: matches!(container.health, Health::None | Health::Healthy),
            });
        }
    }
    plan.bound_roles(state);
    plan.ports = me.map(published_ports).unwrap_or_default();
    plan.fit(summaries, short);
    engine.left_out = u32::try_from(plan.left_out).unwrap_or(u32::MAX);
    plan.values.insert(ENGINE_KEY.to_owned(), engine.encode());
    plan
}

impl Plan {
    /// Keeps the roles of the oldest containers.
    fn bound_roles(&mut self, state: &State) {
        let age = |role: &Role| {
            let id = role.container.as_ref();
            let container = id.and_then(|id| state.containers.get(id));
            container.map_or(0, |container| container.created_unix_ms)
        };
        self.roles
            .sort_by_cached_key(|role| (age(role), role.container.clone()));
        let mut room = ROLES_BYTES_MAX;
        self.roles.retain(
            |role| match room.checked_sub(role.name.len() + ROLE_BYTES) {
                Some(left) => {
                    room = left;
                    true
                }
                None => false,
            },
        );
    }

    /// Takes the summaries that there is room for: labels go first, then the stopped
    /// containers, oldest first, then the oldest of the others.
    fn fit(&mut self, mut summaries: Vec<Summary>, short: bool) {
        let (again, of) = LABELS_AGAIN;
        let room = PUBLISHED_BYTES_MAX - ENGINE_ROOM;
        let limit = if short { room / of * again } else { room };
        let size =
            |summary: &Summary| published_bytes(&summary::key(&summary.id), &summary.encode());
        let all = summaries.len();
        summaries.retain(|summary| size(summary) <= SUMMARY_BYTES_MAX);
        self.short = summaries.iter().map(size).sum::<usize>() > limit;
        if self.short {
            summaries.iter_mut().for_each(drop_texts);
        }
        // Those that go last come first.
        summaries.sort_by_key(|summary| {
            let runs = summary.state == "running";
            (
                !runs,
                std::cmp::Reverse(summary.started_unix_ms.max(summary.created_unix_ms)),
            )
        });
        let mut room = room;
        for summary in summaries.into_iter().take(PUBLISHED_KEYS_MAX - 1) {
            let Some(left) = room.checked_sub(size(&summary)) else {
                break;
            };
            room = left;
            self.labels_left_out += usize::try_from(summary.labels_left_out).unwrap_or(0);
            self.values
                .insert(summary::key(&summary.id), summary.encode());
        }
        self.left_out = all - self.values.len();
    }
}

/// Bytes that are kept for the word on the engine.
const ENGINE_ROOM: usize = 256;

/// Nothing where there is nothing to tell.
fn engine_summary(status: &EngineStatus) -> Option<EngineSummary> {
    let version = |version: &str| {
        version
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect()
    };
    match status {
        EngineStatus::Off | EngineStatus::Unknown { .. } => None,
        EngineStatus::Live { version: told } => Some(EngineSummary {
            state: EngineState::Live,
            version: version(told),
            ..EngineSummary::default()
        }),
        EngineStatus::Away { since, .. } => Some(EngineSummary {
            state: EngineState::Away,
            away_since_unix_ms: unix_ms(*since),
            ..EngineSummary::default()
        }),
    }
}

fn summarise(container: &Container, roles: Vec<String>) -> Summary {
    let (labels, labels_left_out) = told_labels(&container.labels);
    let first = |(name, ips): (&String, &Vec<std::net::IpAddr>)| {
        Some((name.clone(), ips.first()?.to_string()))
    };
    let networks = container.networks.iter().take(PORTS_MAX);
    Summary {
        id: Arc::clone(&container.id),
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: container.image_id.clone(),
        state: container.state.clone(),
        health: container.health,
        labels,
        labels_left_out,
        ports: ports(container),
        ip_by_network: networks.filter_map(first).collect(),
        created_unix_ms: container.created_unix_ms,
        started_unix_ms: container.started_unix_ms,
        exit_code: container.exit_code,
        roles,
        files: Files::None,
    }
}

/// Labels of muster, and of the others as many as there is room for.
fn told_labels(labels: &BTreeMap<String, String>) -> (BTreeMap<String, String>, u32) {
    let ours = |key: &str| key.starts_with("muster.");
    let mut told = BTreeMap::new();
    let (mut room, mut left_out) = (LABELS_BYTES_MAX, 0);
    let (mine, others): (Vec<_>, Vec<_>) = labels.iter().partition(|(key, _)| ours(key));
    for (key, value) in mine.into_iter().chain(others) {
        let bytes = key.len() + value.len();
        match room.checked_sub(bytes).filter(|_| bytes <= LABEL_BYTES_MAX) {
            Some(left) => {
                room = left;
                told.insert(key.clone(), value.clone());
            }
            None => left_out += 1,
        }
    }
    (told, left_out)
}

/// Leaves the labels out that are not muster's, and why files are undeliverable: the
/// node itself says that.
fn drop_texts(summary: &mut Summary) {
    if let Files::Undeliverable(why) = &mut summary.files {
        why.clear();
    }
    let before = summary.labels.len();
    summary.labels.retain(|key, _| key.starts_with("muster."));
    let dropped = before - summary.labels.len();
    summary.labels_left_out += u32::try_from(dropped).unwrap_or(u32::MAX);
}

fn ports(container: &Container) -> Vec<PortMapping> {
    let mut ports = Vec::new();
    for port in &container.ports {
        let mapping = |host_ip: String, host_port: u16| PortMapping {
            container_port: port.container_port,
            protocol: port.protocol.clone(),
            host_ip,
            host_port,
        };
        if port.published.is_empty() {
            ports.push(mapping(String::new(), 0));
        }
        let published = port.published.iter();
        ports.extend(published.map(|(ip, number)| mapping(ip.to_string(), *number)));
    }
    ports.truncate(PORTS_MAX);
    ports
}

/// serfnode's map of published ports: `8000/tcp` to `49153`, each once though Docker
/// publishes it for IPv4 and IPv6.
fn published_ports(container: &Container) -> BTreeMap<String, Vec<String>> {
    let mut ports: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for port in container
        .ports
        .iter()
        .filter(|port| !port.published.is_empty())
        .take(PORTS_MAX)
    {
        let name = format!("{}/{}", port.container_port, port.protocol);
        let held = ports.entry(name).or_default();
        for (_, number) in &port.published {
            let number = number.to_string();
            if !held.contains(&number) {
                held.push(number);
            }
        }
    }
    ports
}

fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
