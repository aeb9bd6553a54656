//! What the lock file brings in: licences, and crates in several versions.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::tree::{read, root};

/// Crates that must be in the tree in one version only: their types meet.
const ONCE: [&str; 8] = [
    "bytes", "foca", "h2", "http", "hyper", "prost", "tokio", "tonic",
];

/// Packages of the lock file: name, version, licence.
fn packages() -> Vec<(String, String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|p| (text(&p["name"]), text(&p["version"]), text(&p["license"])))
        .collect()
}

/// First words of the lines of a list, comments left out; a licence is the whole line.
fn list(path: &str, whole: bool) -> BTreeSet<String> {
    let text = read(path);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let entry = |line: &str| {
        if whole {
            line.to_owned()
        } else {
            line.split_whitespace().next().unwrap_or("").to_owned()
        }
    };
    lines.map(entry).collect()
}

/// Whether one alternative of a licence expression consists of allowed ones only.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    // No expression in use nests deeper than (A OR B) AND C.
    let holds = |part: &str| {
        let part = part.trim().trim_start_matches('(').trim_end_matches(')');
        part.split(" OR ")
            .any(|licence| allowed.contains(licence.trim()))
    };
    if expression.contains('(') {
        return expression.split(" AND ").all(holds);
    }
    let all_of = |part: &str| {
        part.split(" AND ")
            .all(|licence| allowed.contains(licence.trim()))
    };
    expression.split(" OR ").any(all_of)
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let allowed = list("tests/tidy/licences.txt", true);
    for (name, version, licence) in packages() {
        assert!(
            is_allowed(&licence, &allowed),
            "{name} {version} is under {licence:?}"
        );
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"]
        .map(str::to_owned)
        .into();
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(GPL-3.0 OR MIT) AND Unicode-3.0",
        "MIT AND Apache-2.0",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR Apache-2.0) AND GPL-3.0",
    ] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn crates_are_in_the_tree_once_or_with_a_reason() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, version, _licence) in packages() {
        versions.entry(name).or_default().insert(version);
    }
    let allowed = list("tests/tidy/duplicates.txt", false);
    for name in ONCE {
        assert!(!allowed.contains(name), "{name} must never be there twice");
    }
    let several: BTreeSet<String> = versions
        .into_iter()
        .filter(|(_, v)| v.len() > 1)
        .map(|(name, _)| name)
        .collect();
    let new: Vec<&String> = several.difference(&allowed).collect();
    assert!(
        new.is_empty(),
        "in several versions without a reason: {new:?}"
    );
    let gone: Vec<&String> = allowed.difference(&several).collect();
    assert!(
        gone.is_empty(),
        "no longer in several versions, strike the line: {gone:?}"
    );
}
