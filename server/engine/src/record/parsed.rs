//! What the keys that the engine knows say, and how they are written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::entries::Entries;
use super::{
    KEY_NODE, KEY_PORTS, KEY_ROLES, KEY_STATUS, KEY_TAGS, ROLES_OF, RecordError, TIME_MAX,
    VERSION_BYTES_MAX,
};
use crate::ident::{BOOT_MAX, NodeRef, conflict_hash, name_hash};
use crate::member::Role;
use crate::name::{check_name, check_role};
use crate::wire::{
    NodeInfo, OwnStatus, PortInfo, Ports, RecordDelta, RecordEntry, RoleInfo, Roles, Tags,
};

/// Bytes of a container's id.
const CONTAINER_BYTES: usize = 32;

/// The parsed view of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) name: String,
    pub(crate) instance: u64,
    pub(crate) addr: SocketAddr,
    pub(crate) started_unix_ms: u64,
    pub(crate) version: String,
    pub(crate) protocol: (u32, u32),
    pub(crate) plaintext: bool,
    pub(crate) conflict: bool,
    pub(crate) leaving: bool,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) roles: Vec<Role>,
    pub(crate) ports: BTreeMap<String, Vec<String>>,
}

impl Parsed {
    pub(super) fn nobody() -> Self {
        Self {
            name: String::new(),
            instance: 0,
            addr: SocketAddr::from(([0, 0, 0, 0], 0)),
            started_unix_ms: 0,
            version: String::new(),
            protocol: (0, 0),
            plaintext: false,
            conflict: false,
            leaving: false,
            tags: BTreeMap::new(),
            roles: Vec::new(),
            ports: BTreeMap::new(),
        }
    }
}

/// Reads the keys that the engine knows, and no others.
pub(super) fn parse(owner: NodeRef, entries: &Entries) -> Result<Parsed, RecordError> {
    let info: NodeInfo = value(entries, KEY_NODE)?.ok_or(RecordError::Malformed)?;
    let tags: Tags = value(entries, KEY_TAGS)?.unwrap_or_default();
    let ports: Ports = value(entries, KEY_PORTS)?.unwrap_or_default();
    let status: OwnStatus = value(entries, KEY_STATUS)?.unwrap_or_default();
    check_name(&info.name).map_err(|_e| RecordError::Grammar)?;
    let hash = if info.conflict {
        conflict_hash(&info.name, info.instance)
    } else {
        name_hash(&info.name)
    };
    if hash != owner.hash || owner.boot > BOOT_MAX || info.started_unix_ms > TIME_MAX {
        return Err(RecordError::Grammar);
    }
    if info.version.len() > VERSION_BYTES_MAX {
        return Err(RecordError::TooLarge);
    }
    if tags
        .tags
        .iter()
        .any(|(key, value)| !tag_is_sound(key, value))
    {
        return Err(RecordError::Grammar);
    }
    let port = u16::try_from(info.port).map_err(|_e| RecordError::Malformed)?;
    Ok(Parsed {
        addr: SocketAddr::new(decode_ip(&info.ip)?, port),
        name: info.name,
        instance: info.instance,
        started_unix_ms: info.started_unix_ms,
        version: info.version,
        protocol: (info.protocol_min, info.protocol_max),
        plaintext: info.plaintext,
        conflict: info.conflict,
        leaving: status.leaving,
        tags: tags.tags,
        roles: roles(entries)?,
        ports: decode_ports(ports)?,
    })
}

/// Roles of the settings, then those of containers, oldest first.
fn roles(entries: &Entries) -> Result<Vec<Role>, RecordError> {
    let configured: Roles = value(entries, KEY_ROLES)?.unwrap_or_default();
    let decoded = configured.roles.into_iter().map(decode_role);
    let mut roles: Vec<Role> = decoded.collect::<Result<_, _>>()?;
    let first = roles.len();
    let of_containers = entries.from(ROLES_OF);
    for (key, _) in of_containers.take_while(|(key, _)| key.starts_with(ROLES_OF)) {
        let Some(said) = value::<Roles>(entries, key)? else {
            continue;
        };
        for role in said.roles {
            let role = decode_role(role)?;
            let id = role.container.as_deref().unwrap_or_default();
            if !id.starts_with(&key[ROLES_OF.len()..]) || key.len() == ROLES_OF.len() {
                return Err(RecordError::Grammar);
            }
            roles.push(role);
        }
    }
    roles[first..].sort_by(|a, b| {
        let order = |role: &Role| (role.since_unix_ms, role.container.clone());
        order(a).cmp(&order(b))
    });
    Ok(roles)
}

fn value<M: prost::Message + Default>(
    entries: &Entries,
    key: &str,
) -> Result<Option<M>, RecordError> {
    let Some(entry) = entries.get(key) else {
        return Ok(None);
    };
    let entry = RecordEntry::decode(entry.raw.clone()).map_err(|_e| RecordError::Malformed)?;
    if entry.deleted {
        return Ok(None);
    }
    M::decode(entry.value)
        .map(Some)
        .map_err(|_e| RecordError::Malformed)
}

/// Instance and address of the process that wrote a delta, if the delta says.
pub(crate) fn owner_of_delta(delta: &RecordDelta) -> Option<(u64, SocketAddr)> {
    let entries = delta.entries.iter();
    let entry = entries
        .filter_map(|raw| RecordEntry::decode(raw.clone()).ok())
        .find(|entry| entry.key == KEY_NODE && !entry.deleted)?;
    let info = NodeInfo::decode(entry.value).ok()?;
    let port = u16::try_from(info.port).ok()?;
    let ip = decode_ip(&info.ip).ok()?;
    Some((info.instance, SocketAddr::new(ip, port)))
}

/// The value of key `roles`, and of `roles/<container>`.
pub(crate) fn encode_roles<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Bytes {
    let roles = roles.into_iter().map(|role| RoleInfo {
        name: role.name.clone(),
        ip: encode_ip(role.service_ip),
        port: u32::from(role.service_port),
        since_unix_ms: role.since_unix_ms,
        container: role
            .container
            .as_deref()
            .and_then(encode_id)
            .unwrap_or_default(),
        unhealthy: !role.healthy,
    });
    let roles = roles.collect();
    Bytes::from(Roles { roles }.encode_to_vec())
}

/// The value of key `ports`.
pub(crate) fn encode_ports(ports: &BTreeMap<String, Vec<String>>) -> Bytes {
    let ports = ports.iter().map(|(port, published)| PortInfo {
        port: port.clone(),
        published: published.clone(),
    });
    let ports = ports.collect();
    Bytes::from(Ports { ports }.encode_to_vec())
}

/// 4 or 16 bytes.
pub(crate) fn encode_ip(ip: IpAddr) -> Bytes {
    match ip {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}

/// Keys are not empty; neither half holds a NUL.
pub(crate) fn tag_is_sound(key: &str, value: &str) -> bool {
    !key.is_empty() && !key.contains('\0') && !value.contains('\0')
}

/// Whether a text is the full id of a container.
pub(crate) fn is_container_id(id: &str) -> bool {
    encode_id(id).is_some()
}

fn decode_ip(bytes: &[u8]) -> Result<IpAddr, RecordError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_e| RecordError::Malformed)?;
    Ok(IpAddr::from(v6))
}

fn decode_ports(ports: Ports) -> Result<BTreeMap<String, Vec<String>>, RecordError> {
    let sound = |text: &String| text.bytes().all(|b| b.is_ascii_graphic());
    let all_sound = |port: &PortInfo| sound(&port.port) && port.published.iter().all(sound);
    if !ports.ports.iter().all(all_sound) {
        return Err(RecordError::Grammar);
    }
    let ports = ports.ports.into_iter();
    Ok(ports.map(|port| (port.port, port.published)).collect())
}

fn decode_role(role: RoleInfo) -> Result<Role, RecordError> {
    check_role(&role.name).map_err(|_e| RecordError::Grammar)?;
    if role.since_unix_ms > TIME_MAX {
        return Err(RecordError::Grammar);
    }
    Ok(Role {
        service_ip: decode_ip(&role.ip)?,
        service_port: u16::try_from(role.port).map_err(|_e| RecordError::Malformed)?,
        name: role.name,
        since_unix_ms: role.since_unix_ms,
        container: decode_id(&role.container)?,
        healthy: !role.unhealthy,
    })
}

/// 64 lower-case hex digits as bytes.
fn encode_id(id: &str) -> Option<Bytes> {
    let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    if id.len() != 2 * CONTAINER_BYTES || !id.as_bytes().iter().all(hex) {
        return None;
    }
    let pairs = (0..CONTAINER_BYTES).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).ok());
    pairs.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

fn decode_id(bytes: &[u8]) -> Result<Option<Arc<str>>, RecordError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() != CONTAINER_BYTES {
        return Err(RecordError::Malformed);
    }
    let mut id = String::with_capacity(2 * CONTAINER_BYTES);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _always: Result<(), std::fmt::Error> = write!(id, "{byte:02x}");
    }
    Ok(Some(Arc::from(id)))
}
