//! Container filters: checked and compiled.

use std::collections::{BTreeMap, BTreeSet};

use muster_proto::v1 as pb;
use prost::Message as _;
use tonic::Status;

use super::super::members::check_member_name;
use super::super::status::invalid;
use super::health;
use crate::hub::containers::NodeContainer;

/// Ids, names or nodes in a filter.
pub(crate) const FILTER_NAMES_MAX: usize = 256;

/// Roles in a filter.
pub(crate) const FILTER_ROLES_MAX: usize = 64;

/// Label conditions, or states, in a filter.
pub(crate) const FILTER_LABELS_MAX: usize = 16;

/// Least digits of an id.
const ID_DIGITS_MIN: usize = 4;

/// Asks only that a label is there.
const PRESENT: &str = "*";

/// A filter that was checked. Equal filters have equal keys.
#[derive(Debug)]
pub(crate) struct ContainerFilter {
    ids: BTreeSet<String>,
    names: BTreeSet<String>,
    nodes: BTreeSet<String>,
    states: BTreeSet<String>,
    roles: BTreeSet<String>,
    labels: BTreeMap<String, String>,
    healths: BTreeSet<i32>,
    local_only: bool,
    key: Vec<u8>,
}

impl ContainerFilter {
    /// Checks.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the part that is wrong.
    pub(crate) fn compile(filter: pb::ContainerFilter, local_only: bool) -> Result<Self, Status> {
        bound("filter.ids", filter.ids.len(), FILTER_NAMES_MAX)?;
        bound("filter.names", filter.names.len(), FILTER_NAMES_MAX)?;
        bound("filter.nodes", filter.nodes.len(), FILTER_NAMES_MAX)?;
        bound("filter.states", filter.states.len(), FILTER_LABELS_MAX)?;
        bound("filter.labels", filter.labels.len(), FILTER_LABELS_MAX)?;
        bound("filter.roles", filter.roles.len(), FILTER_ROLES_MAX)?;
        for id in &filter.ids {
            let hex = id
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if !hex || id.len() < ID_DIGITS_MIN || id.len() > 64 {
                let message = format!("{id:?} is neither an id nor at least 4 digits of one");
                return Err(invalid("BAD_CONTAINER_ID", "filter.ids", message));
            }
        }
        for node in &filter.nodes {
            check_member_name("filter.nodes", node)?;
        }
        for health in &filter.healths {
            let known = pb::ContainerHealth::try_from(*health);
            if !known.is_ok_and(|known| known != pb::ContainerHealth::Unspecified) {
                let message = format!("{health} is no health");
                return Err(invalid("BAD_HEALTH", "filter.healths", message));
            }
        }
        let mut compiled = Self {
            ids: filter.ids.into_iter().collect(),
            names: filter.names.into_iter().collect(),
            nodes: filter.nodes.into_iter().collect(),
            states: filter.states.into_iter().collect(),
            roles: filter.roles.into_iter().collect(),
            labels: filter.labels,
            healths: filter.healths.into_iter().collect(),
            local_only,
            key: Vec::new(),
        };
        compiled.key = compiled.encode();
        Ok(compiled)
    }

    /// Empty if everything fits.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether a container fits.
    pub(crate) fn matches(&self, held: &NodeContainer) -> bool {
        let summary = &*held.summary;
        let any = |set: &BTreeSet<String>, name: &str| set.is_empty() || set.contains(name);
        let id = || self.ids.is_empty() || self.ids.iter().any(|id| summary.id.starts_with(id));
        let role = || self.roles.is_empty() || summary.roles.iter().any(|r| self.roles.contains(r));
        let label = |(key, wanted): (&String, &String)| {
            let value = summary.labels.get(key);
            value.is_some_and(|value| wanted == PRESENT || value == wanted)
        };
        let well = || {
            let health: i32 = health(summary.health).into();
            self.healths.is_empty() || self.healths.contains(&health)
        };
        (!self.local_only || held.is_local)
            && any(&self.names, &summary.name)
            && any(&self.nodes, &held.node)
            && any(&self.states, &summary.state)
            && id()
            && role()
            && self.labels.iter().all(label)
            && well()
    }

    fn encode(&self) -> Vec<u8> {
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect();
        let filter = pb::ContainerFilter {
            ids: list(&self.ids),
            names: list(&self.names),
            nodes: list(&self.nodes),
            states: list(&self.states),
            labels: self.labels.clone(),
            roles: list(&self.roles),
            healths: self.healths.iter().copied().collect(),
        };
        let empty = filter == pb::ContainerFilter::default();
        let request = pb::WatchContainersRequest {
            filter: (!empty).then_some(filter),
            local_only: self.local_only,
            ..pb::WatchContainersRequest::default()
        };
        request.encode_to_vec()
    }
}

fn bound(field: &str, count: usize, limit: usize) -> Result<(), Status> {
    if count > limit {
        let message = format!("{count} items, at most {limit} are allowed");
        return Err(invalid("FILTER_TOO_LARGE", field, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::containers::summary::{Health, Summary};

    fn held(node: &str, name: &str, state: &str) -> NodeContainer {
        let label = ("app".to_owned(), name.to_owned());
        NodeContainer {
            node: Arc::from(node),
            is_local: node == "me",
            summary: Arc::new(Summary {
                id: Arc::from("ab".repeat(32)),
                name: name.to_owned(),
                state: state.to_owned(),
                health: Health::Healthy,
                labels: BTreeMap::from([label]),
                roles: vec!["web".to_owned()],
                ..Summary::default()
            }),
            stale: None,
        }
    }

    fn fits(filter: pb::ContainerFilter, local: bool) -> bool {
        let filter = ContainerFilter::compile(filter, local).unwrap();
        filter.matches(&held("b", "shop", "running"))
    }

    fn with(edit: impl FnOnce(&mut pb::ContainerFilter)) -> pb::ContainerFilter {
        let mut filter = pb::ContainerFilter::default();
        edit(&mut filter);
        filter
    }

    #[test]
    fn every_part_must_hold() {
        let text = |text: &str| vec![text.to_owned()];
        let label = |value: &str| BTreeMap::from([("app".to_owned(), value.to_owned())]);
        for (filter, expected) in [
            (with(|_| ()), true),
            (with(|f| f.ids = text("abab")), true),
            (with(|f| f.ids = text("abba")), false),
            (with(|f| f.names = text("shop")), true),
            (with(|f| f.names = text("sho")), false),
            (with(|f| f.nodes = text("b")), true),
            (with(|f| f.nodes = text("c")), false),
            (with(|f| f.states = text("exited")), false),
            (with(|f| f.labels = label("shop")), true),
            (with(|f| f.labels = label("*")), true),
            (with(|f| f.labels = label("s")), false),
            (with(|f| f.roles = text("web")), true),
            (with(|f| f.roles = text("db")), false),
            (with(|f| f.healths = vec![3]), true),
            (with(|f| f.healths = vec![4]), false),
        ] {
            assert_eq!(fits(filter.clone(), false), expected, "{filter:?}");
        }
        assert!(!fits(with(|_| ()), true), "it is another node's");
    }

    #[test]
    fn equal_filters_have_equal_keys_and_the_empty_one_none() {
        let two = |a: &str, b: &str| pb::ContainerFilter {
            names: vec![a.to_owned(), b.to_owned()],
            ..pb::ContainerFilter::default()
        };
        let key = |filter, local| {
            ContainerFilter::compile(filter, local)
                .unwrap()
                .key()
                .to_vec()
        };
        assert_eq!(key(two("a", "b"), false), key(two("b", "a"), false));
        assert_eq!(key(pb::ContainerFilter::default(), false), Vec::<u8>::new());
        assert_ne!(key(pb::ContainerFilter::default(), true), Vec::<u8>::new());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for filter in [
            with(|f| f.ids = vec!["abc".to_owned()]),
            with(|f| f.ids = vec!["xyzw".to_owned()]),
            with(|f| f.nodes = vec!["-".to_owned()]),
            with(|f| f.healths = vec![0]),
            with(|f| f.healths = vec![9]),
            with(|f| f.names = vec!["a".to_owned(); 257]),
        ] {
            let refused = ContainerFilter::compile(filter.clone(), false);
            assert!(refused.is_err(), "{filter:?}");
        }
    }
}
