//! Words that must not be in the repository.

use crate::tree::{File, files, sources};

/// What is forbidden everywhere, and why. In two halves, so that this file is clean.
const EVERYWHERE: [(&str, &str, &str); 7] = [
    ("FIX", "ME", "finish it or open an issue"),
    ("TO", "DO", "finish it or open an issue"),
    ("XX", "X ", "finish it or open an issue"),
    ("/wo", "rk/", "a path of somebody's machine"),
    ("/ho", "me/", "a path of somebody's machine"),
    ("sub", "agent", "the project speaks of itself only"),
    ("work", "tree", "the project speaks of itself only"),
];

/// What is forbidden in Rust sources, and why.
const IN_RUST: [(&str, &str, &str); 4] = [
    ("to", "do!(", "unfinished"),
    ("unimple", "mented!(", "unfinished"),
    ("#[ig", "nore", "a test that does not run is no test"),
    ("db", "g!(", "left over from debugging"),
];

fn findings(files: &[File], words: &[(&str, &str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            for (first, second, why) in words {
                if line.contains(&format!("{first}{second}")) {
                    found.push(format!("{}:{number}: {first}{second}: {why}", file.path));
                }
            }
        }
    }
    found
}

/// Texts of others are theirs.
fn is_ours(file: &File) -> bool {
    !matches!(file.path.as_str(), "LICENSE" | "Cargo.lock")
}

#[test]
fn no_forbidden_word_is_anywhere() {
    let mut all = files(".");
    all.retain(is_ours);
    assert_eq!(findings(&all, &EVERYWHERE), Vec::<String>::new());
}

#[test]
fn no_forbidden_word_is_in_rust() {
    assert_eq!(findings(&sources(), &IN_RUST), Vec::<String>::new());
}

#[test]
fn a_forbidden_word_is_found() {
    let text = format!("fine\nlet x = {}{};\n", "to", "do!()");
    let file = File {
        path: "a.rs".to_owned(),
        text,
    };
    let found = findings(&[file], &IN_RUST);
    assert!(found[0].starts_with("a.rs:2: "), "{found:?}");
}
