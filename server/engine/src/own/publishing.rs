//! What this node says of itself at run time: the roles of its containers, its published
//! ports, and values that the engine carries for others.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Own;
use crate::api::EngineError;
use crate::member::Role;
use crate::name::check_role;
use crate::record::{
    CONTAINER_ROLES_BYTES_MAX, KEY_PORTS, PORTS_BYTES_MAX, ROLES_OF, Record, TIME_MAX,
    encode_entry, encode_ports, encode_roles, is_container_id, is_published,
};
use crate::time::Now;

/// Most bytes of all published values of one member with their keys; an update beyond is
/// refused.
pub const PUBLISHED_BYTES_MAX: usize = 104 << 10;

/// Most published keys of one member; an update beyond is refused.
pub const PUBLISHED_KEYS_MAX: usize = 2_048;

/// Largest published value, bytes; an update with a larger one is refused.
pub(crate) const PUBLISHED_VALUE_BYTES_MAX: usize = 8 << 10;

/// Longest published key, bytes.
pub(crate) const PUBLISHED_KEY_BYTES_MAX: usize = 64;

/// Hex digits of a container's id in keys: no node has two that begin alike.
const ID_DIGITS: usize = 24;

/// A change of what this node says of itself. Everything in it is one change of the
/// record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnUpdate {
    /// All roles of containers, instead of those of before; `None` leaves them. Each
    /// names its container; `since_unix_ms` is set by the engine, which keeps it for
    /// those that stay. The roles of the settings are no part of it.
    pub roles: Option<Vec<Role>>,
    /// The map of published ports, instead of the one of before; `None` leaves it.
    pub ports: Option<BTreeMap<String, Vec<String>>>,
    /// Values to publish, `None` to take one back. Keys are ASCII with a slash, such as
    /// `container/4f1a`.
    pub publish: Vec<(String, Option<Bytes>)>,
}

/// Bytes that a published value takes of [`PUBLISHED_BYTES_MAX`].
#[must_use]
pub fn published_bytes(key: &str, value: &Bytes) -> usize {
    // The longest version there is.
    encode_entry(key, u64::MAX, value.clone()).len()
}

impl Own {
    /// Takes a change, or refuses all of it. Says whether the record changed.
    pub(crate) fn update(&mut self, now: Now, update: OwnUpdate) -> Result<bool, EngineError> {
        let mut values = Vec::new();
        if let Some(roles) = update.roles {
            self.plan_roles(now, roles, &mut values)?;
        }
        if let Some(ports) = update.ports {
            let value = encode_ports(&ports);
            refuse_above("published ports", value.len(), PORTS_BYTES_MAX)?;
            values.push((KEY_PORTS.to_owned(), (!ports.is_empty()).then_some(value)));
        }
        self.check_published(&update.publish)?;
        values.extend(update.publish);
        let before = self.record.version();
        self.record.write_all(now.at, values);
        Ok(self.record.version() > before)
    }

    /// Says again under a new boot what was said at run time under the one before.
    pub(super) fn write_again(&mut self, now: Now, before: &Record) {
        let kept = [ROLES_OF, KEY_PORTS].into_iter();
        let kept = kept.flat_map(|prefix| before.values_of(prefix));
        let all = kept.chain(before.published());
        let values = all.map(|(key, value)| (key.to_owned(), Some(value)));
        self.record.write_all(now.at, values.collect());
    }

    /// Sets the roles of containers: one key for each container, so that the end of one
    /// is little news.
    fn plan_roles(
        &self,
        now: Now,
        mut roles: Vec<Role>,
        values: &mut Vec<(String, Option<Bytes>)>,
    ) -> Result<(), EngineError> {
        let held = &self.record.parsed().roles;
        for role in &mut roles {
            check_role(&role.name)?;
            let same = |known: &&Role| known.container == role.container && known.name == role.name;
            let known = held.iter().find(same).map(|known| known.since_unix_ms);
            role.since_unix_ms = known.unwrap_or(now.unix_ms.min(TIME_MAX));
        }
        let mut by_container: BTreeMap<String, Vec<Role>> = BTreeMap::new();
        for role in roles {
            let id = role.container.clone().unwrap_or_else(|| Arc::from(""));
            if !is_container_id(&id) {
                return Err(EngineError::BadContainer(id.to_string()));
            }
            let key = format!("{ROLES_OF}{}", &id[..ID_DIGITS]);
            by_container.entry(key).or_default().push(role);
        }
        let new = by_container.into_iter();
        let new: BTreeMap<_, _> = new
            .map(|(key, roles)| (key, encode_roles(&roles)))
            .collect();
        let bytes = new
            .iter()
            .map(|(key, value)| published_bytes(key, value))
            .sum();
        refuse_above("roles of containers", bytes, CONTAINER_ROLES_BYTES_MAX)?;
        let gone = self.record.values_of(ROLES_OF).map(|(key, _)| key);
        let gone = gone.filter(|key| !new.contains_key(*key));
        values.extend(gone.map(|key| (key.to_owned(), None)));
        values.extend(new.into_iter().map(|(key, value)| (key, Some(value))));
        Ok(())
    }

    fn check_published(&self, changes: &[(String, Option<Bytes>)]) -> Result<(), EngineError> {
        if changes.is_empty() {
            return Ok(());
        }
        for (key, value) in changes {
            let sound = key.bytes().all(|b| b.is_ascii_graphic()) && is_published(key);
            if !sound || key.len() > PUBLISHED_KEY_BYTES_MAX {
                return Err(EngineError::BadKey(key.clone()));
            }
            let bytes = value.as_ref().map_or(0, Bytes::len);
            refuse_above("a published value", bytes, PUBLISHED_VALUE_BYTES_MAX)?;
        }
        let held: Vec<_> = self.record.published().collect();
        let sizes = held
            .iter()
            .map(|(key, value)| (*key, published_bytes(key, value)));
        let mut sizes: BTreeMap<&str, usize> = sizes.collect();
        for (key, value) in changes {
            match value {
                Some(value) => sizes.insert(key, published_bytes(key, value)),
                None => sizes.remove(key.as_str()),
            };
        }
        refuse_above(
            "published values",
            sizes.values().sum(),
            PUBLISHED_BYTES_MAX,
        )?;
        if sizes.len() > PUBLISHED_KEYS_MAX {
            return Err(EngineError::TooManyKeys(sizes.len(), PUBLISHED_KEYS_MAX));
        }
        Ok(())
    }
}

fn refuse_above(what: &'static str, bytes: usize, limit: usize) -> Result<(), EngineError> {
    if bytes > limit {
        return Err(EngineError::RecordTooLarge { what, bytes, limit });
    }
    Ok(())
}
