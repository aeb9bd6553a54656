//! Keys that the engine carries and does not read.

use std::sync::Arc;

use bytes::Bytes;

use super::{ROLES_OF, Record, live_value};
use crate::wire::RecordDelta;

/// Changes of what a member publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Everything that is not named here is gone.
    pub fresh: bool,
    /// Keys and their values; `None`: the key is gone. Opaque to the engine.
    pub changes: Vec<(Arc<str>, Option<Bytes>)>,
}

/// Whether the engine carries a key without reading it.
pub(crate) fn is_published(key: &str) -> bool {
    key.contains('/') && !key.starts_with(ROLES_OF)
}

impl Record {
    /// What surfaces were not told yet, if there is anything. `told`: they hold
    /// something of this member.
    pub(crate) fn take_published(&mut self, told: &mut bool) -> Option<Published> {
        let fresh = std::mem::take(&mut self.fresh);
        let untold = std::mem::take(&mut self.untold);
        let changes: Vec<_> = if fresh {
            let all = self.published().map(|(key, value)| (key, Some(value)));
            all.map(|(key, value)| (Arc::from(key), value)).collect()
        } else {
            let named = untold
                .iter()
                .map(|key| (Arc::from(key.as_str()), self.value(key)));
            named.collect()
        };
        let news = !changes.is_empty() || (fresh && *told);
        *told |= news;
        news.then_some(Published { fresh, changes })
    }

    /// Surfaces see this member under another key: they are told all again.
    pub(crate) fn tell_all_again(&mut self) {
        self.fresh = true;
    }

    /// Keys and values that are carried and not read, by key.
    pub(crate) fn published(&self) -> impl Iterator<Item = (&str, Bytes)> {
        let entries = self.entries.iter().filter(|(key, _)| is_published(key));
        entries.filter_map(|(key, entry)| Some((key.as_str(), live_value(entry)?)))
    }

    /// Keys and values of a prefix, as they were last written.
    pub(crate) fn values_of(&self, prefix: &str) -> impl Iterator<Item = (&str, Bytes)> {
        let entries = self.entries.from(prefix);
        let entries = entries.take_while(move |(key, _)| key.starts_with(prefix));
        entries.filter_map(|(key, entry)| Some((key.as_str(), live_value(entry)?)))
    }

    /// The record without what is only carried: what an old one says of it is worth
    /// nothing.
    pub(crate) fn without_published(&self) -> RecordDelta {
        let read = self.entries.iter().filter(|(key, _)| !is_published(key));
        RecordDelta {
            entries: read.map(|(_, entry)| entry.raw.clone()).collect(),
            ..self.nothing()
        }
    }
}
