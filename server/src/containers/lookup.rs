//! Which container is meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::hub::Hub;
use crate::hub::containers::NodeContainer;

/// Least characters of an id that are taken for its beginning.
pub(crate) const ID_PREFIX_MIN: usize = 4;

/// Longest text that is looked up, bytes: two names and what stands between.
pub(crate) const ASKED_BYTES_MAX: usize = 512;

/// Most containers that are named where several could be meant.
const NAMED_MAX: usize = 20;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The name, or the id or its beginning.
    pub which: &'a str,
    /// The node, if it was named: empty otherwise.
    pub node: &'a str,
}

/// The one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The container.
    pub container: Arc<NodeContainer>,
}

/// Why none is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Malformed(&'static str),
    /// There is none.
    #[error("no container is called {0}")]
    NotFound(String),
    /// Several could be meant, as `NODE/NAME`.
    #[error("several containers could be meant: {}; ask for one of them", .0.join(", "))]
    Ambiguous(Vec<String>),
}

impl<'a> Asked<'a> {
    /// Reads `NAME`, `/NAME`, `NAME@NODE`, `NODE/NAME`, an id or the beginning of one.
    ///
    /// # Errors
    /// Nothing or too much is asked for, or two nodes.
    pub fn read(text: &'a str, node: &'a str) -> Result<Self, LookupError> {
        if text.is_empty() {
            return Err(LookupError::Malformed("a name or an id is needed"));
        }
        if text.len() > ASKED_BYTES_MAX {
            return Err(LookupError::Malformed(
                "that is too long for a name or an id",
            ));
        }
        let text = text.strip_prefix('/').unwrap_or(text);
        let (which, named) = match (text.split_once('/'), text.rsplit_once('@')) {
            (Some((node, name)), _) => (name, node),
            (None, Some((name, node))) => (name, node),
            (None, None) => (text, ""),
        };
        let node = match (node, named) {
            ("", named) => named,
            (node, "") => node,
            (node, named) if node == named => node,
            _ => return Err(LookupError::Malformed("two different nodes are named")),
        };
        if which.is_empty() {
            return Err(LookupError::Malformed("a name or an id is needed"));
        }
        Ok(Self { which, node })
    }

    fn matches(&self, container: &NodeContainer) -> Option<Rank> {
        if !self.node.is_empty() && *container.node != *self.node {
            return None;
        }
        let summary = &container.summary;
        if *summary.id == *self.which {
            return Some(Rank::Id);
        }
        if summary.name == self.which {
            return Some(Rank::Name);
        }
        let begins = self.which.len() >= ID_PREFIX_MIN && summary.id.starts_with(self.which);
        begins.then_some(Rank::Prefix)
    }
}

/// What fits better comes first, as Docker has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Id,
    Name,
    Prefix,
}

/// Finds the container that is meant. One that several nodes of one engine tell of is
/// one: this node's word comes first.
///
/// # Errors
/// None or several could be meant.
pub fn find(hub: &Hub, asked: &Asked<'_>) -> Result<Found, LookupError> {
    let mut by_rank: BTreeMap<Rank, Vec<Arc<NodeContainer>>> = BTreeMap::new();
    // From 0 there is always an answer.
    let all = hub.containers().store().changes_since(0);
    let all = all.map(|changes| changes.items).unwrap_or_default();
    for change in all.into_iter().filter(|change| !change.removed) {
        let container = change.entry.value;
        if let Some(rank) = asked.matches(&container) {
            by_rank.entry(rank).or_default().push(container);
        }
    }
    let not_found = || LookupError::NotFound(asked.which.to_owned());
    let (_, mut best) = by_rank.pop_first().ok_or_else(not_found)?;
    best.sort_by(|a, b| {
        let order = |held: &NodeContainer| {
            let summary = &held.summary;
            let stale = (!held.is_local, held.stale.is_some());
            (Arc::clone(&summary.id), stale, Arc::clone(&held.node))
        };
        order(a).cmp(&order(b))
    });
    best.dedup_by(|a, b| a.summary.id == b.summary.id);
    match &best[..] {
        [container] => Ok(Found {
            container: Arc::clone(container),
        }),
        several => {
            let named = several.iter();
            let named = named.map(|held| format!("{}/{}", held.node, held.summary.name));
            let mut named: Vec<String> = named.collect();
            named.sort_unstable();
            named.truncate(NAMED_MAX);
            Err(LookupError::Ambiguous(named))
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use muster_engine::Published;

    use super::*;
    use crate::hub::MemberUpdate;
    use crate::hub::containers::summary::{Summary, key};
    use crate::hub::testing::{member, updated};

    fn holds(node: &str, containers: &[(&str, &str)]) -> Vec<MemberUpdate> {
        let put = |(id, name): &(&str, &str)| -> (Arc<str>, Option<Bytes>) {
            let id = format!("{id}{}", "0".repeat(64 - id.len()));
            let summary = Summary {
                id: Arc::from(id.as_str()),
                name: (*name).to_owned(),
                ..Summary::default()
            };
            (Arc::from(key(&id)), Some(summary.encode()))
        };
        let member = member(node, 1, &[]);
        let published = Published {
            fresh: true,
            changes: containers.iter().map(put).collect(),
        };
        let key = member.key();
        vec![
            updated(member),
            MemberUpdate::Published {
                member: key,
                published,
            },
        ]
    }

    fn hub() -> Hub {
        let hub = Hub::new("e".to_owned());
        hub.apply_members(holds(
            "a",
            &[("aaaa1", "web"), ("aaaa2", "db"), ("face", "cafe")],
        ));
        hub.apply_members(holds("b", &[("bbbb1", "web"), ("cafe", "other")]));
        hub
    }

    fn found(hub: &Hub, text: &str, node: &str) -> Result<String, LookupError> {
        let asked = Asked::read(text, node)?;
        let found = find(hub, &asked)?.container;
        Ok(format!("{}/{}", found.node, found.summary.name))
    }

    #[test]
    fn names_nodes_and_beginnings_of_ids_find_one() {
        let hub = hub();
        for (text, expected) in [
            ("db", "a/db"),
            ("/db", "a/db"),
            ("web@b", "b/web"),
            ("a/web", "a/web"),
            ("bbbb", "b/web"),
            ("aaaa1", "a/web"),
            ("cafe", "a/cafe"),
            ("cafe0", "b/other"),
        ] {
            assert_eq!(found(&hub, text, ""), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(found(&hub, "web", "b"), Ok("b/web".to_owned()));
    }

    #[test]
    fn where_several_could_be_meant_they_are_named() {
        let hub = hub();
        let both = Err(LookupError::Ambiguous(vec![
            "a/web".to_owned(),
            "b/web".to_owned(),
        ]));
        assert_eq!(found(&hub, "web", ""), both);
        let ids = found(&hub, "aaaa", "").unwrap_err().to_string();
        assert!(ids.contains("a/db, a/web"), "{ids}");
        for text in ["aaa", "nobody", "web@c", "c/web"] {
            assert!(
                matches!(found(&hub, text, ""), Err(LookupError::NotFound(_))),
                "{text}"
            );
        }
        for (text, node) in [
            ("", ""),
            ("a/", ""),
            ("@a", ""),
            ("a/web", "b"),
            (&*"x".repeat(600), ""),
        ] {
            assert!(
                matches!(found(&hub, text, node), Err(LookupError::Malformed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn two_nodes_on_one_engine_tell_of_one_container() {
        let hub = Hub::new("e".to_owned());
        hub.apply_members(holds("a", &[("aaaa1", "web")]));
        hub.apply_members(holds("b", &[("aaaa1", "web")]));
        assert_eq!(found(&hub, "web", ""), Ok("a/web".to_owned()));
        assert_eq!(found(&hub, "web@b", ""), Ok("b/web".to_owned()));
    }
}
