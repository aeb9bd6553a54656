//! Who the children of this node are. Pure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::children::spec::{CHILD, PARENT};
use crate::docker::{Container, Places, State};

/// Where a container finds what its node gives it.
pub const MOUNT: &str = "/serfnode";

/// Directory of the files for children, below the root.
pub const SERFNODE: &str = "serfnode";

/// Directory of what is for one child alone, below [`SERFNODE`].
pub const CHILDREN: &str = "children";

/// A container that is given the files.
#[derive(Debug, Clone)]
pub struct Child {
    /// The container.
    pub container: Arc<Container>,
    /// What it is called in files: the name of the container.
    pub key: String,
    /// Its directory, below the root.
    pub directory: PathBuf,
    /// What it sees at [`MOUNT`].
    pub view: View,
    /// It has the network of the container that this daemon runs in, and so its
    /// `/etc/hosts`.
    pub shares_network: bool,
}

/// What a child sees at [`MOUNT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The directory that is for it alone.
    Own,
    /// The directory that all share: `--volumes-from`.
    Shared,
    /// Nothing of ours.
    Nothing,
}

/// The children of `node`, by name: containers with [`CHILD`], those that share the
/// network of the container that the daemon runs in, and those that mount `root`'s
/// [`SERFNODE`]. Ones that ended are among them until they are removed.
#[must_use]
pub fn children(state: &State, places: &Places, node: &str, root: &Path) -> Vec<Child> {
    let me = places.me();
    let shared = places.to_host(&root.join(SERFNODE));
    let seen = state.containers.values();
    let seen = seen.filter(|container| me.as_ref().is_none_or(|me| me.id != container.id));
    let mut children: Vec<Child> = seen
        .filter_map(|container| child(container, me.as_deref(), node, shared.as_deref()))
        .collect();
    children.sort_by(|a, b| a.key.cmp(&b.key));
    children
}

fn child(
    container: &Arc<Container>,
    me: Option<&Container>,
    node: &str,
    shared: Option<&Path>,
) -> Option<Child> {
    let label = container.labels.get(CHILD).map(String::as_str);
    let parent = container.labels.get(PARENT);
    if label == Some("false") || parent.is_some_and(|parent| parent != node) {
        return None;
    }
    let with = container.network_mode.strip_prefix("container:");
    let shares_network = with.is_some_and(|id| me.is_some_and(|me| *me.id == *id));
    let view = shared.map_or(View::Nothing, |shared| view(container, shared));
    let directory = Path::new(SERFNODE).join(CHILDREN).join(&container.name);
    let is_child = label.is_some() || shares_network || view != View::Nothing;
    is_child.then(|| Child {
        container: Arc::clone(container),
        key: container.name.clone(),
        directory,
        view,
        shares_network,
    })
}

fn view(container: &Container, shared: &Path) -> View {
    let at = |mount: &&crate::docker::Mount| mount.destination == Path::new(MOUNT);
    match container.mounts.iter().find(at) {
        Some(mount) if mount.source == shared => View::Shared,
        Some(mount) if mount.source == shared.join(CHILDREN).join(&container.name) => View::Own,
        Some(_) | None => View::Nothing,
    }
}

#[cfg(test)]
mod tests;
