//! The tables of header fields (RFC 7541, section 2.3).

use std::collections::VecDeque;
use std::sync::Arc;

use super::Malformed;

/// Octets that the dynamic table may hold. It is the default of
/// SETTINGS_HEADER_TABLE_SIZE, which our server never changes.
pub(super) const TABLE_LIMIT: usize = 4096;

/// What an entry costs besides its octets (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// Where `:authority` is in the static table.
pub(super) const AUTHORITY: usize = 1;

/// The names of the static table (RFC 7541, appendix A), from index 1.
pub(super) const STATIC_NAMES: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// The name of an entry.
#[derive(Debug, Clone)]
pub(super) enum Name {
    /// That of the static table at this index.
    Static(usize),
    Literal(Arc<[u8]>),
}

impl Name {
    pub(super) fn is_authority(&self) -> bool {
        matches!(self, Self::Static(AUTHORITY))
    }

    fn len(&self) -> usize {
        match self {
            Self::Static(index) => STATIC_NAMES[index - 1].len(),
            Self::Literal(name) => name.len(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) value: Box<[u8]>,
}

impl Entry {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
    }
}

/// The dynamic table: at most [`TABLE_LIMIT`] octets, the oldest entries go first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: TABLE_LIMIT,
        }
    }
}

impl Table {
    /// By the index that blocks use, which counts on after the static table.
    pub(super) fn get(&self, index: usize) -> Result<&Entry, Malformed> {
        let place = index.checked_sub(STATIC_NAMES.len() + 1).ok_or(Malformed)?;
        self.entries.get(place).ok_or(Malformed)
    }

    pub(super) fn insert(&mut self, name: Name, value: Box<[u8]>) {
        let entry = Entry { name, value };
        self.evict_to(self.limit.saturating_sub(entry.size()));
        if entry.size() <= self.limit {
            self.size += entry.size();
            self.entries.push_front(entry);
        }
    }

    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.evict_to(limit);
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_evicts_the_oldest_and_follows_its_limit() {
        let mut table = Table::default();
        for value in 0..200u8 {
            table.insert(Name::Static(2), [value; 25].into());
        }
        // 32 + 7 + 25 = 64 octets each.
        assert_eq!((table.entries.len(), table.size), (64, 4096));
        assert_eq!(table.get(62).unwrap().value[0], 199);
        assert_eq!(table.get(62 + 63).unwrap().value[0], 136);
        assert!(table.get(62 + 64).is_err() && table.get(61).is_err() && table.get(0).is_err());
        table.resize(130);
        assert_eq!((table.entries.len(), table.size), (2, 128));
        // One that does not fit empties the table.
        table.insert(Name::Static(2), vec![0; 100].into());
        assert_eq!((table.entries.len(), table.size), (0, 0));
        table.resize(TABLE_LIMIT);
        table.insert(Name::Static(2), vec![0; 4096 - 39].into());
        assert_eq!(table.size, 4096);
    }
}
