//! serfnode's JSON files, as texts.
//!
//! Two shapes: *container info* `{"id": NODE, "inspect": {...}}` and *node info*, whose
//! numbers are strings (they were tags of serf).

mod inspect;
mod nodes;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

pub use inspect::{Inspect, Privacy};
pub use nodes::{NO_ROLE, alive, by_id, by_role, one};

/// What serfnode tells of a container.
#[derive(Debug, Serialize)]
struct ContainerInfo<'a> {
    /// Name of the node that it belongs to.
    id: &'a str,
    inspect: &'a RawValue,
}

/// `me.json` and `parent.json`: a container of a node.
#[must_use]
pub fn container(node: &str, inspect: &Inspect) -> Vec<u8> {
    text(&info(node, inspect))
}

/// `children_by_name.json`: containers by name.
#[must_use]
pub fn children_by_name<'a>(
    node: &str,
    children: impl IntoIterator<Item = (&'a str, &'a Arc<Inspect>)>,
) -> Vec<u8> {
    let infos = children.into_iter();
    let infos: BTreeMap<_, _> = infos
        .map(|(name, inspect)| (name, info(node, inspect)))
        .collect();
    text(&infos)
}

fn info<'a>(node: &'a str, inspect: &'a Inspect) -> ContainerInfo<'a> {
    ContainerInfo {
        id: node,
        inspect: inspect.json(),
    }
}

/// Texts and maps by text always become JSON.
fn text(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a legacy file cannot be written");
        b"{}".to_vec()
    })
}

#[cfg(test)]
mod tests;
