//! Members as serfnode told of them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use muster_engine::{Member, Role, Status};
use serde::Serialize;

use super::text;

/// Role of a member that serves none.
pub const NO_ROLE: &str = "no_role";

/// A member as serfnode knew it. All values are strings but `ports`.
#[derive(Debug, Serialize)]
struct NodeInfo<'a> {
    id: &'a str,
    role: &'a str,
    /// `{"8000/tcp": ["49153"]}`: container port to ports of the host.
    ports: &'a BTreeMap<String, Vec<String>>,
    serf_ip: IpAddr,
    serf_port: String,
    service_ip: IpAddr,
    service_port: String,
    /// Unix seconds of the member's start.
    timestamp: String,
}

/// The members of the files, in the order of `muster members`: those that are alive; a
/// suspect one is, for serf has no such state.
#[must_use]
pub fn alive(members: impl IntoIterator<Item = Arc<Member>>) -> Vec<Arc<Member>> {
    let is_alive = |member: &Arc<Member>| matches!(member.status, Status::Alive | Status::Suspect);
    let mut alive: Vec<_> = members.into_iter().filter(is_alive).collect();
    alive.sort_by(by_name);
    alive
}

/// One member, at the address of that role.
#[must_use]
pub fn one(member: &Member, role: Option<&Role>) -> Vec<u8> {
    text(&node(member, role))
}

/// `serfnodes_by_id.json`. Of several roles a member shows its first.
#[must_use]
pub fn by_id(members: &[Arc<Member>]) -> Vec<u8> {
    let infos = members.iter().map(|member| {
        let info = node(member, member.roles.first());
        (info.id, info)
    });
    text(&infos.collect::<BTreeMap<_, _>>())
}

/// `serfnodes_by_role.json`: a member is in the list of each of its roles, once for each
/// address that it serves it at. A container whose health check fails serves none.
#[must_use]
pub fn by_role(members: &[Arc<Member>]) -> Vec<u8> {
    let mut lists: BTreeMap<&str, Vec<NodeInfo<'_>>> = BTreeMap::new();
    for member in members {
        if member.roles.is_empty() {
            let list = lists.entry(NO_ROLE).or_default();
            list.push(node(member, None));
        }
        let mut seen = BTreeSet::new();
        for role in member.roles.iter().filter(|role| role.healthy) {
            if seen.insert((&role.name, role.service_ip, role.service_port)) {
                let list = lists.entry(&role.name).or_default();
                list.push(node(member, Some(role)));
            }
        }
    }
    text(&lists)
}

fn node<'a>(member: &'a Member, role: Option<&'a Role>) -> NodeInfo<'a> {
    let serf_ip = member.addr.ip().to_canonical();
    NodeInfo {
        id: member.display_name(),
        role: role.map_or(NO_ROLE, |role| &role.name),
        ports: &member.ports,
        serf_ip,
        serf_port: member.addr.port().to_string(),
        service_ip: role.map_or(serf_ip, |role| role.service_ip.to_canonical()),
        service_port: role.map_or(0, |role| role.service_port).to_string(),
        timestamp: (member.started_unix_ms / 1_000).to_string(),
    }
}

fn by_name(a: &Arc<Member>, b: &Arc<Member>) -> Ordering {
    a.key().cmp(&b.key())
}
