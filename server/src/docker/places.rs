//! Where this daemon is: on a host, or in a container of the engine that it follows; and
//! what a path here is called there.

mod clues;

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use self::clues::Clues;
use super::{Container, EngineStatus, State};
use crate::hub::lock;

/// Where this daemon is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Places {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: watch::Receiver<Arc<State>>,
    clues: Clues,
    /// The host's root directory, as it was said to be mounted here.
    prefix: Option<PathBuf>,
    /// Full id of our container, once it was found: it is never another one.
    found: Mutex<Option<Arc<str>>>,
}

impl Places {
    /// Of a process of this machine: `self`, or its id; with where the root directory of
    /// the host is mounted, if that was said.
    #[must_use]
    pub fn of_process(
        state: watch::Receiver<Arc<State>>,
        process: &str,
        prefix: Option<PathBuf>,
    ) -> Self {
        Self::with(state, Clues::of_process(process), prefix)
    }

    /// Of a daemon that runs on the host itself.
    #[must_use]
    pub fn on_host(state: watch::Receiver<Arc<State>>) -> Self {
        Self::with(state, Clues::default(), None)
    }

    /// Of a daemon in the container of this full id.
    #[must_use]
    pub fn in_container(state: watch::Receiver<Arc<State>>, id: &str) -> Self {
        Self::with(state, Clues::certain(id), None)
    }

    fn with(state: watch::Receiver<Arc<State>>, clues: Clues, prefix: Option<PathBuf>) -> Self {
        Self {
            inner: Arc::new(Inner {
                state,
                clues,
                prefix,
                found: Mutex::new(None),
            }),
        }
    }

    /// The container that this daemon runs in, if the engine knows it; as it was seen
    /// last. Found by the control group, the layers and the files that the engine mounts,
    /// never by the host name, which anybody may set.
    #[must_use]
    pub fn me(&self) -> Option<Arc<Container>> {
        let inner = &*self.inner;
        let state = Arc::clone(&inner.state.borrow());
        if let Some(id) = &*lock(&inner.found) {
            return state.containers.get(id).cloned();
        }
        let me = inner.clues.find(&state)?;
        *lock(&inner.found) = Some(Arc::clone(&me.id));
        Some(me)
    }

    /// Whether this process seems to run in a container, the engine's or not.
    #[must_use]
    pub fn contained(&self) -> bool {
        !self.inner.clues.is_empty()
    }

    /// Full ids that the container of this daemon may have, the likeliest first, when the
    /// engine was not listed yet.
    #[must_use]
    pub fn candidates(&self) -> Vec<Arc<str>> {
        self.inner.clues.ids()
    }

    /// What `path` of this daemon is called on the host; `None` for what only this
    /// container has, and for paths that are not absolute or go up.
    #[must_use]
    pub fn to_host(&self, path: &Path) -> Option<PathBuf> {
        let path = sound(path)?;
        match (self.me(), &self.inner.prefix) {
            (Some(me), _) => outwards(&me, path),
            (None, Some(prefix)) => {
                let rest = path.strip_prefix(prefix).ok()?;
                Some(Path::new("/").join(rest))
            }
            (None, None) => self.on_its_host().then(|| path.to_owned()),
        }
    }

    /// What `path` of the host is called here; `None` if it is not mounted here, and for
    /// paths that are not absolute or go up.
    #[must_use]
    pub fn from_host(&self, path: &Path) -> Option<PathBuf> {
        let path = sound(path)?;
        match (self.me(), &self.inner.prefix) {
            (Some(me), prefix) => inwards(&me, path, prefix.as_deref()),
            (None, Some(prefix)) => Some(under(prefix, path)),
            (None, None) => self.on_its_host().then(|| path.to_owned()),
        }
    }
}

impl Places {
    /// Whether paths are the same here and there: not for sure while we may be in one of
    /// the containers that are not listed yet. A container that the engine does not know
    /// may be the one that the engine itself is in.
    fn on_its_host(&self) -> bool {
        let listed = || match self.inner.state.borrow().engine {
            EngineStatus::Live { .. } | EngineStatus::Away { .. } | EngineStatus::Off => true,
            EngineStatus::Unknown { .. } => false,
        };
        !self.contained() || listed()
    }
}

/// Absolute, without steps up.
fn sound(path: &Path) -> Option<&Path> {
    let up = path.components().any(|part| part == Component::ParentDir);
    (path.is_absolute() && !up).then_some(path)
}

/// An absolute path below another.
fn under(base: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => base.to_owned(),
        Ok(rest) => base.join(rest),
        Err(_relative) => base.join(path),
    }
}

/// Joins without a trailing slash.
fn joined(base: &Path, rest: &Path) -> PathBuf {
    match rest.as_os_str().is_empty() {
        true => base.to_owned(),
        false => base.join(rest),
    }
}

/// By the deepest mount above it: that is what is seen there.
fn outwards(me: &Container, path: &Path) -> Option<PathBuf> {
    let above = |mount: &&super::Mount| path.starts_with(&mount.destination);
    let depth = |mount: &&super::Mount| mount.destination.components().count();
    let mount = me.mounts.iter().filter(above).max_by_key(depth)?;
    let rest = path.strip_prefix(&mount.destination).ok()?;
    // A tmpfs is on no host.
    let source = Some(&mount.source).filter(|source| source.is_absolute())?;
    Some(joined(source, rest))
}

/// By the most particular source above it that is not hidden here by another mount.
fn inwards(me: &Container, path: &Path, prefix: Option<&Path>) -> Option<PathBuf> {
    let mut mounts: Vec<_> = me
        .mounts
        .iter()
        .filter(|mount| mount.source.is_absolute() && path.starts_with(&mount.source))
        .collect();
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.source.components().count()));
    let here = mounts.into_iter().find_map(|mount| {
        let rest = path.strip_prefix(&mount.source).ok()?;
        let here = joined(&mount.destination, rest);
        (outwards(me, &here).as_deref() == Some(path)).then_some(here)
    });
    // Mounts that the engine does not tell of, such as those of a parent directory.
    here.or_else(|| prefix.map(|prefix| under(prefix, path)))
}

#[cfg(test)]
mod tests;
