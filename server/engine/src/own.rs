//! What this node says of itself.

mod publishing;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::api::{Config, EngineError};
use crate::crypto::Keyring;
use crate::ident::{Ident, NodeRef, conflict_hash, name_hash};
use crate::member::{Member, Role, Status, StatusChange, StatusReason};
use crate::record::{
    KEY_NODE, KEY_ROLES, KEY_STATUS, KEY_TAGS, Published, Record, TAGS_BYTES_MAX, TIME_MAX,
    encode_entry, encode_ip, encode_roles, tag_is_sound,
};
use crate::time::{Now, Time};
use crate::wire::{NodeInfo, OwnStatus, RecordDelta, Tags};

pub use publishing::{OwnUpdate, PUBLISHED_BYTES_MAX, PUBLISHED_KEYS_MAX, published_bytes};

/// Wall clocks that differ by less than this are as good as clocks get.
const CLOCK_TOLERANCE_MS: u64 = 1_000;

/// This node: its settings, its record, its status.
#[derive(Debug)]
pub(crate) struct Own {
    config: Config,
    pub(crate) instance: u64,
    pub(crate) ident: Ident,
    pub(crate) incarnation: u16,
    pub(crate) record: Record,
    pub(crate) up_since: Time,
    pub(crate) status: Status,
    pub(crate) started_unix_ms: u64,
    pub(crate) first_started_unix_ms: u64,
    /// The start time was compared with those of older members.
    pub(crate) seniority_taken: bool,
    /// Times that the boot was raised in this run of the process.
    pub(crate) raises: u32,
    /// Identity under the name that was lost to another live node.
    pub(crate) former: Option<Ident>,
    change: StatusChange,
    transitions: u64,
    conflict: bool,
    leaving: bool,
    shown: Option<Arc<Member>>,
    /// Surfaces hold something that this node publishes.
    told: bool,
}

impl Own {
    pub(crate) fn new(mut config: Config, instance: u64, now: Now) -> Self {
        let started_unix_ms = now.unix_ms.min(TIME_MAX);
        config
            .roles
            .iter_mut()
            .for_each(|role| role.since_unix_ms = started_unix_ms);
        let hash = name_hash(&config.name);
        let ident = Ident {
            hash,
            boot: config.boot,
            life: 0,
        };
        let change = StatusChange {
            by: None,
            at_unix_ms: now.unix_ms,
            reason: StatusReason::Joined,
        };
        let info = node_info(&config, instance, started_unix_ms, false);
        let delta = full_record(&config, ident.node(), &info, false);
        let record = Record::new(now.at, &delta).expect("the configuration was checked");
        Self {
            config,
            instance,
            ident,
            incarnation: 0,
            record,
            up_since: now.at,
            status: Status::Alive,
            started_unix_ms,
            first_started_unix_ms: started_unix_ms,
            seniority_taken: false,
            raises: 0,
            former: None,
            change,
            transitions: 0,
            conflict: false,
            leaving: false,
            shown: None,
            told: false,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn in_conflict(&self) -> bool {
        self.conflict
    }

    /// Sets the status, with a reason.
    pub(crate) fn set_status(&mut self, now: Now, status: Status, reason: StatusReason) {
        if self.status != status {
            self.status = status;
            self.transitions += 1;
            self.change = StatusChange {
                by: None,
                at_unix_ms: now.unix_ms,
                reason,
            };
        }
    }

    /// Says in the record whether this node leaves.
    pub(crate) fn say_leaving(&mut self, now: Now, leaving: bool) {
        self.leaving = leaving;
        let value = OwnStatus { leaving }.encode_to_vec();
        self.record.write(now.at, KEY_STATUS, Bytes::from(value));
    }

    /// Hash under which this node goes on once it has lost its name.
    pub(crate) fn conflict_hash(&self) -> u64 {
        conflict_hash(&self.config.name, self.instance)
    }

    /// Goes on under a higher boot, or under the hash of a conflict's loser: a new
    /// run, so a new record.
    pub(crate) fn restart_as(&mut self, now: Now, boot: u64, conflict: bool) {
        self.conflict = conflict;
        let hash = if conflict {
            self.conflict_hash()
        } else {
            name_hash(&self.config.name)
        };
        self.ident = Ident {
            hash,
            boot,
            life: 0,
        };
        self.incarnation = 0;
        let info = node_info(&self.config, self.instance, self.started_unix_ms, conflict);
        let delta = full_record(&self.config, self.ident.node(), &info, self.leaving);
        let record = Record::new(now.at, &delta).expect("the configuration was checked");
        let before = std::mem::replace(&mut self.record, record);
        self.write_again(now, &before);
    }

    /// Sets the start time that decides seniority.
    pub(crate) fn set_started(&mut self, now: Now, unix_ms: u64) {
        self.started_unix_ms = unix_ms.min(TIME_MAX);
        let started = self.started_unix_ms;
        let info = node_info(&self.config, self.instance, started, self.conflict);
        self.record
            .write(now.at, KEY_NODE, Bytes::from(info.encode_to_vec()));
    }

    /// The wall clock stood so far behind those of older members that somebody
    /// should look.
    pub(crate) fn clock_is_off(&self) -> bool {
        self.started_unix_ms > self.first_started_unix_ms + CLOCK_TOLERANCE_MS
    }

    /// Sets and removes tags.
    pub(crate) fn update_tags(
        &mut self,
        now: Now,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), EngineError> {
        let mut tags = self.config.tags.clone();
        for key in remove {
            tags.remove(key);
        }
        tags.extend(set);
        check_tags(&tags)?;
        let value = Tags { tags: tags.clone() }.encode_to_vec();
        if tags != self.config.tags {
            self.config.tags = tags;
            self.record.write(now.at, KEY_TAGS, Bytes::from(value));
        }
        Ok(())
    }

    /// Takes other keys, or none; true if the record says something new by it.
    pub(crate) fn set_keyring(&mut self, now: Now, keyring: Option<Keyring>) -> bool {
        let before = talks_in_clear(&self.config);
        self.config.keyring = keyring;
        let changed = talks_in_clear(&self.config) != before;
        if changed {
            self.set_started(now, self.started_unix_ms);
        }
        changed
    }

    /// This node as surfaces shall see it, if that is news.
    pub(crate) fn show(&mut self) -> Option<(Arc<Member>, Option<Arc<Member>>)> {
        let member = self.render();
        if self.shown.as_deref() == Some(&member) {
            return None;
        }
        let member = Arc::new(member);
        let old = self.shown.replace(Arc::clone(&member));
        if old.as_ref().is_some_and(|old| old.key() != member.key()) {
            self.record.tell_all_again();
        }
        Some((member, old))
    }

    /// What this node publishes, as far as surfaces were not told.
    pub(crate) fn take_published(&mut self) -> Option<Published> {
        self.record.take_published(&mut self.told)
    }

    /// This node as surfaces see it.
    pub(crate) fn shown(&self) -> Arc<Member> {
        self.shown
            .clone()
            .unwrap_or_else(|| Arc::new(self.render()))
    }

    fn render(&self) -> Member {
        let said = self.record.parsed();
        Member {
            name: Arc::from(said.name.as_str()),
            alias: said.conflict.then(|| crate::table::alias(said)),
            boot: self.ident.boot,
            instance: self.instance,
            incarnation: u64::from(self.ident.life) << 16 | u64::from(self.incarnation),
            addr: said.addr,
            status: self.status,
            change: self.change.clone(),
            transitions: self.transitions,
            started_unix_ms: said.started_unix_ms,
            tags: said.tags.clone(),
            roles: said.roles.clone(),
            ports: said.ports.clone(),
            version: said.version.clone(),
            protocol: said.protocol,
            plaintext: said.plaintext,
            by_tcp: false,
            is_self: true,
        }
    }
}

/// Checks tags as their owner: keys, values, total size.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), EngineError> {
    for (key, value) in tags {
        if !tag_is_sound(key, value) {
            let why = if key.is_empty() {
                "the key is empty"
            } else {
                "it holds a NUL"
            };
            return Err(EngineError::BadTag {
                key: key.clone(),
                why,
            });
        }
    }
    let bytes = Tags { tags: tags.clone() }.encoded_len();
    if bytes > TAGS_BYTES_MAX {
        return Err(EngineError::RecordTooLarge {
            what: "tags",
            bytes,
            limit: TAGS_BYTES_MAX,
        });
    }
    Ok(())
}

/// Whether a node of these settings sends in clear.
fn talks_in_clear(config: &Config) -> bool {
    config.keyring.as_ref().and_then(Keyring::sealing).is_none()
}

fn node_info(config: &Config, instance: u64, started_unix_ms: u64, conflict: bool) -> NodeInfo {
    NodeInfo {
        name: config.name.clone(),
        instance,
        ip: encode_ip(config.advertise.ip()),
        port: u32::from(config.advertise.port()),
        started_unix_ms,
        version: config.version.clone(),
        protocol_min: config.limits.protocol.0,
        protocol_max: config.limits.protocol.1,
        features: 0,
        plaintext: talks_in_clear(config),
        conflict,
    }
}

fn full_record(config: &Config, owner: NodeRef, info: &NodeInfo, leaving: bool) -> RecordDelta {
    let mut entries = vec![encode_entry(KEY_NODE, 1, Bytes::from(info.encode_to_vec()))];
    if !config.tags.is_empty() {
        let tags = Tags {
            tags: config.tags.clone(),
        }
        .encode_to_vec();
        entries.push(encode_entry(KEY_TAGS, 2, Bytes::from(tags)));
    }
    if !config.roles.is_empty() {
        let roles: &[Role] = &config.roles;
        entries.push(encode_entry(KEY_ROLES, 3, encode_roles(roles)));
    }
    if leaving {
        let status = OwnStatus { leaving }.encode_to_vec();
        entries.push(encode_entry(KEY_STATUS, 4, Bytes::from(status)));
    }
    RecordDelta {
        hash: owner.hash,
        boot: owner.boot,
        entries,
        upto: 4,
        ..RecordDelta::default()
    }
}
