//! What a member says about itself: versioned keys with one writer, its owner.
//!
//! Entries are kept and passed on as the owner's original bytes; everything
//! parsed is a view of them. The higher version of a key wins, so merging is
//! commutative, associative and idempotent.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::ident::{BOOT_MAX, NodeRef, conflict_hash, name_hash};
use crate::member::Role;
use crate::name::{check_name, check_role};
use crate::time::Time;
use crate::wire::{NodeInfo, OwnStatus, RecordDelta, RecordEntry, RoleInfo, Roles, Tags};

/// Largest record of one member, all keys, bytes.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 10;

/// Largest tags of one member, encoded, bytes.
pub(crate) const TAGS_BYTES_MAX: usize = 64 << 10;

/// Largest roles of one member, encoded, bytes.
pub(crate) const ROLES_BYTES_MAX: usize = 16 << 10;

/// Longest daemon version, bytes.
pub(crate) const VERSION_BYTES_MAX: usize = 256;

/// Latest time that a record may name, unix milliseconds: the end of the year 9999.
pub(crate) const TIME_MAX: u64 = 253_402_300_799_999;

/// Most keys of one record.
pub(crate) const KEYS_MAX: usize = 4_096;

/// How long a deleted key is remembered, so that no peer brings it back.
pub(crate) const DELETED_KEPT: Duration = Duration::from_secs(3_600);

pub(crate) const KEY_NODE: &str = "node";
pub(crate) const KEY_TAGS: &str = "tags";
pub(crate) const KEY_ROLES: &str = "roles";
pub(crate) const KEY_STATUS: &str = "status";

/// Why a record was refused. All are the sender's fault and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// Bytes that are no record.
    Malformed,
    /// A name, role or tag outside the grammar, or an owner that is not the name's.
    Grammar,
    /// More than a record may hold.
    TooLarge,
}

/// One key. A cluster keeps one of these for each key of each member at each node,
/// so they are kept close together.
#[derive(Debug, Clone)]
struct Entry {
    key: Box<str>,
    version: u64,
    raw: Bytes,
    deleted_at: Option<Time>,
}

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
}

/// One member's record, as this node holds it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    owner: NodeRef,
    version: u64,
    /// Highest version of a deleted key that was forgotten.
    floor: u64,
    /// Sorted by key.
    entries: Box<[Entry]>,
    parsed: Parsed,
}

impl Record {
    /// A record from its first entries; they must hold the key `node`.
    pub(crate) fn new(now: Time, delta: &RecordDelta) -> Result<Self, RecordError> {
        let owner = NodeRef {
            hash: delta.hash,
            boot: delta.boot,
        };
        let mut record = Self {
            owner,
            version: 0,
            floor: 0,
            entries: Box::default(),
            parsed: Parsed::nobody(),
        };
        record.merge(now, delta)?;
        Ok(record)
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> NodeRef {
        self.owner
    }

    /// Highest version of any key.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The parsed view.
    pub(crate) fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// Takes the entries that are newer; says whether anything was. On an error
    /// nothing is taken.
    pub(crate) fn merge(&mut self, now: Time, delta: &RecordDelta) -> Result<bool, RecordError> {
        let mut entries = self.entries.to_vec();
        let mut version = self.version.max(delta.floor);
        let floor = self.floor.max(delta.floor);
        if delta.floor > self.version {
            // What was deleted meanwhile is not known any more: start over.
            entries.retain(|entry| entry.version > delta.floor);
        }
        for raw in &delta.entries {
            let entry = RecordEntry::decode(raw.clone()).map_err(|_e| RecordError::Malformed)?;
            version = version.max(entry.version);
            entries.push(Entry {
                key: entry.key.into_boxed_str(),
                version: entry.version,
                raw: raw.clone(),
                deleted_at: entry.deleted.then_some(now),
            });
        }
        // Of each key the newest, and the one held before among equals.
        let newest = |entry: &Entry| Reverse(entry.version);
        entries.sort_by(|a, b| (&a.key, newest(a)).cmp(&(&b.key, newest(b))));
        entries.dedup_by(|later, kept| later.key == kept.key);
        let entries = entries.into_boxed_slice();
        let bytes = bytes_of(&entries);
        if bytes > RECORD_BYTES_MAX || entries.len() > KEYS_MAX {
            return Err(RecordError::TooLarge);
        }
        let parsed = parse(self.owner, &entries)?;
        let news = version > self.version;
        (self.entries, self.version, self.parsed) = (entries, version, parsed);
        self.floor = floor;
        Ok(news)
    }

    /// Entries above `version`, as the owner wrote them; all of them if keys were
    /// deleted and forgotten since.
    pub(crate) fn since(&self, version: u64) -> RecordDelta {
        let behind = version < self.floor;
        let newer = self
            .entries
            .iter()
            .filter(|entry| behind || entry.version > version);
        RecordDelta {
            hash: self.owner.hash,
            boot: self.owner.boot,
            entries: newer.map(|entry| entry.raw.clone()).collect(),
            floor: if behind { self.floor } else { 0 },
        }
    }

    /// Bytes of all entries.
    pub(crate) fn bytes(&self) -> usize {
        bytes_of(&self.entries)
    }

    /// Forgets keys deleted for longer than [`DELETED_KEPT`]; says how many bytes
    /// that freed.
    pub(crate) fn purge(&mut self, now: Time) -> usize {
        let worn = |entry: &Entry| {
            let deleted = entry.deleted_at;
            deleted.is_some_and(|at| now.since(at) >= DELETED_KEPT)
        };
        let gone = self.entries.iter().filter(|entry| worn(entry));
        let (floor, freed) = gone.fold((self.floor, 0), |(floor, freed), entry| {
            (floor.max(entry.version), freed + entry.raw.len())
        });
        if freed > 0 {
            let kept = self.entries.iter().filter(|entry| !worn(entry));
            self.entries = kept.cloned().collect();
            self.floor = floor;
        }
        freed
    }

    /// Writes one key; only the owner does.
    pub(crate) fn write(&mut self, now: Time, key: &str, value: Bytes) {
        let delta = RecordDelta {
            hash: self.owner.hash,
            boot: self.owner.boot,
            entries: vec![encode_entry(key, self.version + 1, value)],
            floor: 0,
        };
        self.merge(now, &delta)
            .expect("own entries are checked before they are written");
    }
}

fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.raw.len()).sum()
}

impl Parsed {
    fn nobody() -> Self {
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
        }
    }
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

/// One entry, as its owner first writes it.
pub(crate) fn encode_entry(key: &str, version: u64, value: Bytes) -> Bytes {
    let entry = RecordEntry {
        key: key.to_owned(),
        version,
        deleted: false,
        value,
    };
    Bytes::from(entry.encode_to_vec())
}

/// The value of key `roles`.
pub(crate) fn encode_roles(roles: &[Role]) -> Bytes {
    let roles = roles.iter().map(|role| RoleInfo {
        name: role.name.clone(),
        ip: encode_ip(role.service_ip),
        port: u32::from(role.service_port),
        since_unix_ms: role.since_unix_ms,
    });
    Bytes::from(
        Roles {
            roles: roles.collect(),
        }
        .encode_to_vec(),
    )
}

/// 4 or 16 bytes.
pub(crate) fn encode_ip(ip: IpAddr) -> Bytes {
    match ip {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}

fn decode_ip(bytes: &[u8]) -> Result<IpAddr, RecordError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_e| RecordError::Malformed)?;
    Ok(IpAddr::from(v6))
}

fn parse(owner: NodeRef, entries: &[Entry]) -> Result<Parsed, RecordError> {
    let info: NodeInfo = value(entries, KEY_NODE)?.ok_or(RecordError::Malformed)?;
    let tags: Tags = value(entries, KEY_TAGS)?.unwrap_or_default();
    let roles: Roles = value(entries, KEY_ROLES)?.unwrap_or_default();
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
        roles: roles
            .roles
            .into_iter()
            .map(decode_role)
            .collect::<Result<_, _>>()?,
    })
}

/// Keys are not empty; neither half holds a NUL.
pub(crate) fn tag_is_sound(key: &str, value: &str) -> bool {
    !key.is_empty() && !key.contains('\0') && !value.contains('\0')
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
    })
}

fn value<M: prost::Message + Default>(
    entries: &[Entry],
    key: &str,
) -> Result<Option<M>, RecordError> {
    let found = entries.binary_search_by(|entry| (*entry.key).cmp(key));
    let Some(entry) = found.ok().and_then(|at| entries.get(at)) else {
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

#[cfg(test)]
mod tests;
