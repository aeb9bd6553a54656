//! Archives for containers that do not see our directories.
//!
//! The engine unpacks an archive file by file and not atomically. So the files go to one
//! of two directories of our own in turn, which nobody reads, and links to them come last
//! in the archive: a reader finds whole files, or, for the instant in which a link is
//! replaced, none.

use std::path::Path;
use std::sync::Arc;

use tar::{Builder, EntryType, Header};

use super::children::{Child, MOUNT, View};
use super::render::{Text, name};

/// Directories for the files in turn, in `/serfnode` of the container.
const TURNS: [&str; 2] = [".muster-a", ".muster-b"];

/// What a container is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parcel {
    /// `/me.json` as a link to this path.
    Link(String),
    /// `/me.json`, and the others in `/serfnode`.
    Files(Vec<Text>),
}

impl Parcel {
    /// The link into the directory of a child that sees it.
    pub(super) fn link(child: &Child) -> Self {
        let directory = match child.view {
            View::Own => Path::new(MOUNT).to_owned(),
            View::Shared | View::Nothing => Path::new("/").join(&child.directory),
        };
        Self::Link(directory.join(name::ME).display().to_string())
    }

    /// The archive, to be unpacked at `/`. `turn` changes from one to the next.
    pub(super) fn archive(&self, turn: bool) -> std::io::Result<Vec<u8>> {
        let mut archive = Archive(Builder::new(Vec::new()));
        match self {
            Self::Link(target) => archive.link(name::ME, target)?,
            Self::Files(texts) => {
                let turn = TURNS[usize::from(turn)];
                archive.directory("serfnode/")?;
                archive.directory(&format!("serfnode/{turn}/"))?;
                for (name, text) in texts {
                    archive.file(&format!("serfnode/{turn}/{name}"), text)?;
                }
                for (file, _) in texts {
                    match *file {
                        name::ME => {
                            archive.link(name::ME, &format!("/serfnode/{turn}/{file}"))?;
                        }
                        _ => {
                            archive.link(&format!("serfnode/{file}"), &format!("{turn}/{file}"))?
                        }
                    }
                }
            }
        }
        archive.0.into_inner()
    }
}

struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn directory(&mut self, path: &str) -> std::io::Result<()> {
        self.0
            .append_data(&mut header(EntryType::Directory, 0o755, 0), path, &[][..])
    }

    fn file(&mut self, path: &str, text: &Arc<[u8]>) -> std::io::Result<()> {
        let mut header = header(EntryType::Regular, 0o644, text.len() as u64);
        self.0.append_data(&mut header, path, &text[..])
    }

    fn link(&mut self, path: &str, target: &str) -> std::io::Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, target)
    }
}

fn header(kind: EntryType, mode: u32, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn entries(archive: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mode = entry.header().mode().unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let link = entry.link_name().unwrap();
            let link = link.map_or_else(String::new, |link| format!(" -> {}", link.display()));
            format!("{path} {mode:o}{link} {text}")
                .trim_end()
                .to_owned()
        });
        entries.collect()
    }

    #[test]
    fn files_come_before_the_links_to_them() {
        let texts: Vec<Text> = vec![
            (name::ME, Arc::from(&b"{}"[..])),
            (name::PARENT, Arc::from(&b"[]"[..])),
        ];
        let parcel = Parcel::Files(texts);
        assert_eq!(
            entries(&parcel.archive(false).unwrap()),
            [
                "serfnode/ 755",
                "serfnode/.muster-a/ 755",
                "serfnode/.muster-a/me.json 644 {}",
                "serfnode/.muster-a/parent.json 644 []",
                "me.json 777 -> /serfnode/.muster-a/me.json",
                "serfnode/parent.json 777 -> .muster-a/parent.json",
            ]
        );
        let next = entries(&parcel.archive(true).unwrap());
        assert!(
            next[2].starts_with("serfnode/.muster-b/me.json"),
            "{next:?}"
        );
        let link = Parcel::Link("/serfnode/children/web/me.json".to_owned());
        assert_eq!(
            entries(&link.archive(false).unwrap()),
            ["me.json 777 -> /serfnode/children/web/me.json"]
        );
    }
}
