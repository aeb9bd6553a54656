//! How files get into a child, and which cannot. Pure.
//!
//! Files are replaced by a rename, so that readers find whole ones. A bind mount of a
//! single file holds on to the file that was there when the container started: it can
//! never be kept up to date.

use std::path::Path;

use super::children::{Child, MOUNT, View};
use super::parcel::Parcel;
use super::render::{Text, name};
use crate::children::spec::SPEC;
use crate::docker::Mount;

/// How the files get into one child.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ways {
    /// What is to be put into it through the engine.
    pub(super) parcel: Option<Parcel>,
    /// `/me.json`.
    pub(super) me: Way,
    /// The files in `/serfnode`.
    pub(super) serfnode: Way,
}

/// How one file gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// It sees the directory that is written.
    Directory,
    /// With [`Ways::parcel`].
    Parcel,
    /// Not while the container is as it is: it does not run.
    Later,
    /// Not at all: why, and what to do.
    Never(String),
}

/// How `child` gets `texts`, the files that are for it. `directory` is the one of its own
/// on the host, if that has a name there.
pub(super) fn ways(child: &Child, texts: Vec<Text>, directory: Option<&Path>) -> Ways {
    let me = me(child, directory);
    let serfnode = serfnode(child, directory);
    let wanted = |(file, _): &Text| match *file {
        name::ME => me == Way::Parcel,
        file => mount_at(child, &format!("{MOUNT}/{file}")).is_none(),
    };
    let parcel = match (child.view, &me, &serfnode) {
        (View::Own | View::Shared, Way::Parcel, _) => Some(Parcel::link(child)),
        (View::Nothing, Way::Parcel, _) | (View::Nothing, Way::Never(_), Way::Parcel) => {
            let texts: Vec<Text> = texts.into_iter().filter(wanted).collect();
            (!texts.is_empty()).then_some(Parcel::Files(texts))
        }
        _ => None,
    };
    Ways {
        parcel,
        me,
        serfnode,
    }
}

fn me(child: &Child, directory: Option<&Path>) -> Way {
    if let Some(mount) = mount_at(child, &format!("/{}", name::ME)) {
        return Way::Never(single(child, mount, name::ME, directory));
    }
    match (child.container.read_only, child.view) {
        (true, View::Own) => Way::Never(format!(
            "its root file system is read-only; it is at {MOUNT}/{} only",
            name::ME
        )),
        (true, View::Shared) => Way::Never(format!(
            "its root file system is read-only; it is at /{}/{} only",
            child.directory.display(),
            name::ME
        )),
        // Those that we created got their link before they started.
        (false, View::Own | View::Shared) if is_ours(child) => Way::Directory,
        (_, View::Nothing) | (false, View::Own | View::Shared) => put(child),
    }
}

fn serfnode(child: &Child, directory: Option<&Path>) -> Way {
    let files = [name::PARENT, name::BY_ID, name::BY_ROLE];
    let singles = files.iter().find_map(|file| {
        let mount = mount_at(child, &format!("{MOUNT}/{file}"))?;
        Some(single(child, mount, file, directory))
    });
    match (singles, child.view) {
        (Some(why), _) => Way::Never(why),
        (None, View::Own | View::Shared) => Way::Directory,
        (None, View::Nothing) => put(child),
    }
}

/// Through the engine.
fn put(child: &Child) -> Way {
    let container = &child.container;
    if child.view == View::Nothing && is_ours(child) {
        return Way::Never(match mount_at(child, MOUNT) {
            Some(_) => format!("it has a volume of its own at {MOUNT}"),
            None => "the engine does not see --legacy-root".to_owned(),
        });
    }
    if container.read_only {
        return Way::Never(
            "its root file system is read-only: give it --volumes-from the container of this \
             daemon, or mount the directory that is named after it below serfnode/children at \
             /serfnode"
                .to_owned(),
        );
    }
    match container.state.as_str() {
        "created" | "running" => Way::Parcel,
        _ => Way::Later,
    }
}

/// We created it.
fn is_ours(child: &Child) -> bool {
    child.container.labels.contains_key(SPEC)
}

fn mount_at<'a>(child: &'a Child, path: &str) -> Option<&'a Mount> {
    let mut mounts = child.container.mounts.iter();
    mounts.find(|mount| mount.destination == Path::new(path))
}

/// What to say of a mount in the very place of a file.
fn single(child: &Child, mount: &Mount, file: &str, directory: Option<&Path>) -> String {
    // Its own directory, that of all children, and the root have files of this name.
    let mut folders = directory
        .into_iter()
        .flat_map(|own| own.ancestors().take(4));
    let ours = folders.any(|folder| mount.source == folder.join(file));
    let what = match ours {
        true => format!(
            "{} is mounted there as a single file, which stays as it was when the container started",
            mount.source.display()
        ),
        false => format!("something else is mounted there ({})", mount.kind),
    };
    let instead = match (child.view, directory) {
        (View::Own, _) => format!("it is at {MOUNT}/{file} if this mount is left out"),
        (View::Shared, _) => "leave this mount out".to_owned(),
        (View::Nothing, Some(directory)) => format!(
            "mount the directory, -v {}:{MOUNT}:ro, and read {MOUNT}/{file}",
            directory.display()
        ),
        (View::Nothing, None) => format!(
            "mount the directory that is named after it below serfnode/children at {MOUNT}, and \
             read {MOUNT}/{file}"
        ),
    };
    format!("{what}: {instead}")
}

#[cfg(test)]
mod tests;
