//! Handlers as a directory: a program named after an event or query is run for it,
//! one named after a kind of member event for that.
//!
//! Names come from the list of the directory and must be names of events, so that no
//! name that is heard of elsewhere ever becomes a path.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use muster_engine::name::check_name;

use super::spec::{Filter, MemberKind, Options, Selector, Spec};
use crate::process::Program;

/// Files that are looked at in the directory; the rest is told and left out.
pub(super) const DIR_FILES_MAX: usize = 4_096;

/// A program of the directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    pub(super) name: String,
    path: PathBuf,
}

impl File {
    pub(super) fn label(&self) -> String {
        format!("dir/{}", self.name)
    }

    pub(super) fn program(&self) -> Program {
        Program::File(self.path.clone())
    }

    pub(super) fn spec(&self) -> Spec {
        // serfnode's handlers were methods in Python: member_join.
        let kind = MemberKind::parse(&self.name.replace('_', "-"));
        let filters = match kind {
            Some(kind) => vec![Filter::Member(kind)],
            None => vec![
                Filter::User(Some(self.name.clone())),
                Filter::Query(Some(self.name.clone())),
            ],
        };
        Spec {
            text: self.label(),
            filters,
            selector: Selector::default(),
            options: Options::default(),
            script: self.path.display().to_string(),
        }
    }
}

/// The directory as it was found last.
#[derive(Debug)]
pub(super) struct Watched {
    dir: Option<PathBuf>,
    programs: Vec<File>,
    /// What was said last of files that were left out, so that it is said once.
    said: Vec<String>,
}

impl Watched {
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self {
            dir,
            programs: Vec::new(),
            said: Vec::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.dir.is_some()
    }

    /// The programs, by name.
    pub(super) fn programs(&self) -> &[File] {
        &self.programs
    }

    /// Reads the directory. Says whether the set of programs changed. One that cannot
    /// be read leaves everything as it was.
    pub(super) async fn look(&mut self) -> bool {
        let Some(dir) = self.dir.clone() else {
            return false;
        };
        let read = tokio::task::spawn_blocking(move || read(&dir)).await;
        let (programs, odd) = match read {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => (
                self.programs.clone(),
                vec![format!("cannot be read: {error}")],
            ),
            Err(error) => (self.programs.clone(), vec![error.to_string()]),
        };
        if odd != self.said {
            for what in &odd {
                tracing::warn!(dir = ?self.dir, "handler directory: {what}");
            }
            self.said = odd;
        }
        let changed = programs != self.programs;
        self.programs = programs;
        changed
    }
}

/// The programs of a directory by name, and what is odd about other files.
fn read(dir: &Path) -> io::Result<(Vec<File>, Vec<String>)> {
    let (mut programs, mut odd) = (Vec::new(), Vec::new());
    for (seen, entry) in fs::read_dir(dir)?.enumerate() {
        if seen == DIR_FILES_MAX {
            odd.push(format!("it holds more than {DIR_FILES_MAX} files"));
            break;
        }
        let path = entry?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        // A file that vanished meanwhile, or a link to nowhere.
        let Ok(meta) = fs::metadata(&path) else {
            continue;
        };
        let mode = meta.permissions().mode();
        if !meta.is_file() || mode & 0o111 == 0 || name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        if let Err(error) = check_name(&name) {
            odd.push(format!("{name:?} is no name of an event: {error}"));
        } else if mode & 0o002 != 0 {
            odd.push(format!(
                "{name} can be written by everybody, so it is not run"
            ));
        } else {
            programs.push(File { name, path });
        }
    }
    programs.sort();
    odd.sort();
    Ok((programs, odd))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn put(dir: &Path, name: &str, mode: u32) {
        let path = dir.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn names(watched: &Watched) -> Vec<&str> {
        watched
            .programs()
            .iter()
            .map(|file| file.name.as_str())
            .collect()
    }

    #[tokio::test]
    async fn programs_are_found_and_others_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [
            ("deploy", 0o755),
            ("member-join", 0o700),
            ("notes", 0o644),
            (".hidden", 0o755),
            ("old~", 0o755),
            ("a b", 0o755),
            ("open", 0o777),
        ] {
            put(dir.path(), name, mode);
        }
        fs::create_dir(dir.path().join("sub")).unwrap();
        let mut watched = Watched::new(Some(dir.path().to_owned()));
        assert!(watched.look().await);
        assert_eq!(names(&watched), ["deploy", "member-join"]);
        assert_eq!(watched.said.len(), 2, "{:?}", watched.said);
        assert!(!watched.look().await);
        put(dir.path(), "load", 0o755);
        fs::remove_file(dir.path().join("deploy")).unwrap();
        assert!(watched.look().await);
        assert_eq!(names(&watched), ["load", "member-join"]);
        // A directory that cannot be read for a while takes no handler away.
        fs::rename(dir.path(), dir.path().with_extension("away")).unwrap();
        assert!(!watched.look().await);
        assert_eq!(names(&watched), ["load", "member-join"]);
        fs::remove_dir_all(dir.path().with_extension("away")).unwrap();
    }

    #[test]
    fn a_name_is_a_member_event_or_an_event_and_a_query() {
        let file = |name: &str| File {
            name: name.to_owned(),
            path: PathBuf::from("/h").join(name),
        };
        let spec = file("member-failed").spec();
        assert!(
            spec.wants_member(MemberKind::Failed)
                && !spec.wants_users()
                && spec.queries().is_none()
        );
        let spec = file("deploy").spec();
        assert!(spec.wants_user("deploy") && !spec.wants_user("other") && !spec.wants_members());
        assert_eq!(spec.queries(), Some(vec!["deploy".to_owned()]));
    }
}
