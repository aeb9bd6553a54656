//! Entries by key, as a sorted list.
//!
//! A cluster keeps a record of each member at each node, nearly all of a few keys: a
//! tree would take a kilobyte for two.

use super::Entry;

/// Room is taken one by one up to this many, then by doubling.
const FEW: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Entries(Vec<(String, Entry)>);

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        let at = self.find(key).ok()?;
        self.0.get(at).map(|(_, entry)| entry)
    }

    /// Puts an entry in; gives back what stood there.
    pub(super) fn insert(&mut self, key: String, entry: Entry) -> Option<Entry> {
        match self.find(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, entry)),
            Err(at) => {
                if self.0.len() < FEW {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key, entry));
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.find(key).ok()?;
        Some(self.0.remove(at).1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.iter().map(|(key, entry)| (key, entry))
    }

    /// Those from a key on, in order.
    pub(super) fn from(&self, key: &str) -> impl Iterator<Item = (&String, &Entry)> {
        let at = self.find(key).unwrap_or_else(|at| at);
        self.0[at..].iter().map(|(key, entry)| (key, entry))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().map(|(_, entry)| entry)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        self.0.retain(|(_, entry)| keep(entry));
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.as_str().cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(version: u64) -> Entry {
        Entry {
            version,
            raw: Bytes::new(),
            deleted_at: None,
        }
    }

    #[test]
    fn keys_are_sorted_and_held_once() {
        let mut entries = Entries::default();
        for (version, key) in ["m", "a", "z", "b", "m"].into_iter().enumerate() {
            entries.insert(key.to_owned(), entry(version as u64));
        }
        let keys = |entries: &Entries| {
            let keys = entries.iter().map(|(key, _)| key.as_str());
            keys.collect::<Vec<_>>().concat()
        };
        assert_eq!((keys(&entries).as_str(), entries.len()), ("abmz", 4));
        assert_eq!(entries.get("m").map(|entry| entry.version), Some(4));
        let from = |key| entries.from(key).map(|(key, _)| key.as_str()).collect();
        let from: [Vec<&str>; 3] = [from("b"), from("c"), from("zz")];
        assert_eq!(from, [vec!["b", "m", "z"], vec!["m", "z"], vec![]]);
        assert_eq!(entries.remove("b").map(|entry| entry.version), Some(3));
        assert!(entries.remove("b").is_none() && entries.get("b").is_none());
        entries.retain(|entry| entry.version < 2);
        assert_eq!(keys(&entries), "a");
        assert_eq!(entries.values().count(), 1);
    }
}
