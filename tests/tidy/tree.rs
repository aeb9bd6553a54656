//! The files of the repository.

use std::path::{Path, PathBuf};

/// Directories that hold nothing of ours.
const FOREIGN: [&str; 5] = ["target", "node_modules", ".git", "__pycache__", "interop"];

/// A text file: path from the top of the repository, and content.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// All text files below a directory of the repository, in order.
pub(crate) fn files(below: &str) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    collect(&root.join(below), &root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "nothing below {below}");
    found
}

/// All Rust sources of the workspace.
pub(crate) fn sources() -> Vec<File> {
    let mut all = files(".");
    all.retain(|file| file.path.ends_with(".rs"));
    all
}

/// The Rust sources below a directory; none if there is no such directory.
pub(crate) fn sources_below(below: &str) -> Vec<File> {
    let mut all = sources();
    all.retain(|file| file.path.starts_with(below));
    all
}

/// One file by its path.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn collect(at: &Path, root: &Path, found: &mut Vec<File>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() || FOREIGN.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, root, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let path = path
                .strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            found.push(File { path, text });
        }
    }
}

/// Whether this is test code by its place.
pub(crate) fn is_test(path: &str) -> bool {
    let names = ["/tests.rs", "/fuzz.rs", "/mutate.rs"];
    names.iter().any(|name| path.ends_with(name))
        || path.contains("/tests/")
        || path.starts_with("tests/")
}

/// The part of a source before its unit tests.
pub(crate) fn production(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests")
        .map_or(text, |at| &text[..at])
}
