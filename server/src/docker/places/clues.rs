//! What the kernel says of the container that this process runs in.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::super::{Container, State};

/// Most bytes that are read of the kernel's table of mounts.
const TABLE_BYTES_MAX: u64 = 1 << 20;

/// Length of a full id.
const ID_LENGTH: usize = 64;

/// Files that the engine mounts into every container from the container's own directory.
const ITS_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// What was found, the most certain first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Clues {
    /// Writable layer of the root directory.
    layer: Option<PathBuf>,
    /// Ids in the control group.
    group: Vec<Arc<str>>,
    /// Ids in the sources of mounts. With the network of another container these are
    /// that one's files.
    files: Vec<Arc<str>>,
    /// All that is mounted here.
    mounted: BTreeSet<PathBuf>,
}

impl Clues {
    /// Of `self` or the process of an id.
    pub(super) fn of_process(process: &str) -> Self {
        let text = |what: &str| {
            let path = format!("/proc/{process}/{what}");
            let mut text = String::new();
            let file = File::open(&path).map(|file| file.take(TABLE_BYTES_MAX));
            let read = file.and_then(|mut file| file.read_to_string(&mut text));
            if let Err(error) = read {
                tracing::debug!(path, %error, "cannot read what the kernel says");
            }
            text
        };
        Self::read(&text("cgroup"), &text("mountinfo"))
    }

    /// Of a process that is known to be in this container.
    pub(super) fn certain(id: &str) -> Self {
        Self {
            group: vec![id.into()],
            ..Self::default()
        }
    }

    /// From `/proc/self/cgroup` and `/proc/self/mountinfo`.
    pub(super) fn read(cgroup: &str, mountinfo: &str) -> Self {
        let mut clues = Self::default();
        for line in cgroup.lines() {
            let group = line.splitn(3, ':').nth(2).unwrap_or("");
            note(&mut clues.group, id_in(group));
        }
        for line in mountinfo.lines() {
            clues.mount(line);
        }
        clues
    }

    /// One line: id, parent, device, root, where, options, fields, `-`, kind, source,
    /// options of the kind.
    fn mount(&mut self, line: &str) {
        let Some((front, back)) = line.split_once(" - ") else {
            return;
        };
        let mut front = front.split(' ').skip(3);
        let (Some(root), Some(place)) = (front.next(), front.next()) else {
            return;
        };
        let place = unescaped(place);
        if ITS_FILES.contains(&place.as_str()) {
            note(&mut self.files, id_in(root));
        }
        if place == "/" {
            let mut last_first = back.rsplit([' ', ',']);
            let upper = last_first.find_map(|option| option.strip_prefix("upperdir="));
            self.layer = upper.map(unescaped).map(PathBuf::from);
        }
        self.mounted.insert(PathBuf::from(place));
    }

    /// Whether nothing speaks for a container.
    pub(super) fn is_empty(&self) -> bool {
        self.group.is_empty() && self.files.is_empty()
    }

    /// Ids, the likeliest first.
    pub(super) fn ids(&self) -> Vec<Arc<str>> {
        let mut ids = self.group.clone();
        for id in &self.files {
            note(&mut ids, Some(Arc::clone(id)));
        }
        ids
    }

    /// The one of these containers that this is.
    pub(super) fn find(&self, state: &State) -> Option<Arc<Container>> {
        let known = |id: &Arc<str>| state.containers.get(id).cloned();
        // Innermost last: a container in a container is in both groups.
        if let Some(me) = self.group.iter().rev().find_map(known) {
            return Some(me);
        }
        let all = state.containers.values();
        if let Some(layer) = &self.layer {
            let mut same = all
                .clone()
                .filter(|one| layer_of(one).as_ref() == Some(layer));
            if let Some(me) = same.next() {
                return Some(Arc::clone(me));
            }
        }
        let owner = self.files.iter().find_map(known)?;
        let shares = format!("container:{}", owner.id);
        let mut fitting = all.filter(|one| {
            let near = one.id == owner.id || one.network_mode == shares;
            near && one.pid != 0 && self.fits(one)
        });
        // Who has these files may be another one that shares its network with us.
        match (fitting.next(), fitting.next()) {
            (Some(me), None) => Some(Arc::clone(me)),
            (Some(_) | None, _) => None,
        }
    }

    /// Whether all mounts of a container are here.
    fn fits(&self, container: &Container) -> bool {
        let here = |mount: &super::super::Mount| self.mounted.contains(&mount.destination);
        container.mounts.iter().all(here)
    }
}

fn note(ids: &mut Vec<Arc<str>>, id: Option<Arc<str>>) {
    if let Some(id) = id.filter(|id| !ids.contains(id)) {
        ids.push(id);
    }
}

/// The last full id in a path: `/docker/ID`, `/system.slice/docker-ID.scope`,
/// `/var/lib/docker/containers/ID/hosts`.
fn id_in(path: &str) -> Option<Arc<str>> {
    let words = path.split(|c: char| !c.is_ascii_hexdigit());
    let id = words.rev().find(|word| word.len() == ID_LENGTH)?;
    Some(id.into())
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut whole = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let octal = part.get(..3).and_then(|o| u8::from_str_radix(o, 8).ok());
        match octal {
            Some(byte) => {
                whole.push(char::from(byte));
                whole.push_str(&part[3..]);
            }
            None => {
                whole.push('\\');
                whole.push_str(part);
            }
        }
    }
    whole
}

/// The writable layer of a container, where the engine says so (overlay2).
fn layer_of(container: &Container) -> Option<PathBuf> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Whole {
        graph_driver: Driver,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Driver {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Data {
        upper_dir: PathBuf,
    }
    let whole: Whole = serde_json::from_str(container.inspect.get()).ok()?;
    let layer = whole.graph_driver.data.upper_dir;
    Path::new(&layer).is_absolute().then_some(layer)
}

#[cfg(test)]
mod tests;
