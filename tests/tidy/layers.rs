//! One direction: data flows down, commands go up by the handle only.

use std::collections::BTreeSet;

use crate::tree::{File, is_test, production, read, sources_below};

/// Modules of the daemon, and what of its other modules each may name. The daemon
/// module is the composition root and config fills everybody's settings: they may
/// name all.
const ALLOWED: &[(&str, &[&str])] = &[
    ("filter", &[]),
    ("coalesce", &[]),
    ("deliver", &["hub", "peers"]),
    ("hub", &["filter"]),
    ("storage", &["daemon::supervisor"]),
    ("tags", &["storage"]),
    ("telemetry", &["daemon::supervisor"]),
    ("gossip", &["hub", "daemon::supervisor"]),
    ("process", &[]),
    ("children", &["docker"]),
    (
        "docker",
        &[
            "hub::containers::summary::Health",
            "hub::lock",
            "process",
            "daemon::supervisor",
        ],
    ),
    (
        "legacy",
        &[
            "children::spec",
            "containers::redact",
            "docker",
            "gossip::CommandError",
            "gossip::Handle",
            "gossip::Replicated",
            "hub",
            "queries",
            "storage::DiskError",
            "daemon::supervisor",
        ],
    ),
    (
        "containers",
        &[
            "docker",
            "gossip::CommandError",
            "gossip::Handle",
            "hub",
            "peers",
        ],
    ),
    (
        "handlers",
        &[
            "coalesce",
            "hub",
            "process",
            "queries",
            "storage",
            "daemon::supervisor",
        ],
    ),
    (
        "peers",
        &["gossip::rpc", "hub::lock", "routes", "daemon::supervisor"],
    ),
    (
        "keys",
        &[
            "gossip::Handle",
            "gossip::CommandError",
            "hub",
            "peers",
            "storage",
            "daemon::supervisor",
        ],
    ),
    (
        "queries",
        &[
            "hub",
            "filter",
            "peers",
            "gossip::CommandError",
            "gossip::Handle",
            "daemon::supervisor",
        ],
    ),
    (
        "grpc",
        &[
            "queries",
            "keys",
            "containers",
            "hub",
            "filter",
            "coalesce",
            "deliver",
            "gossip::handle",
            "gossip::Handle",
            "routes",
            "daemon::supervisor",
            "telemetry",
        ],
    ),
    (
        "serf_rpc",
        &[
            "queries",
            "coalesce",
            "filter",
            "hub",
            "gossip::handle",
            "gossip::Handle",
            "daemon::supervisor",
            "telemetry",
        ],
    ),
];

/// Names that `gossip` gives to surfaces.
const HANDLE: [&str; 8] = [
    "Handle",
    "CommandError",
    "JoinOutcome",
    "Replicated",
    "Report",
    "TagKeeper",
    "Coordinates",
    "handle",
];

/// Dependencies of the engine: no runtime, no sockets, no files, no clock.
const PURE: [&str; 9] = [
    "bytes",
    "chacha20poly1305",
    "foca",
    "hkdf",
    "prost",
    "rand",
    "sha2",
    "thiserror",
    "zeroize",
];

/// What would make the engine impure.
const IMPURE: [&str; 10] = [
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "std::fs",
    "std::env",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "tokio",
    "thread_rng",
];

/// Paths that start with `crate::` in production code, one per name of a list.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let flat: String = production(text)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<&str>>()
        .join(" ");
    let mut paths = BTreeSet::new();
    for (at, _) in flat.match_indices("crate::") {
        expand(&flat[at + "crate::".len()..], "", &mut paths);
    }
    paths
}

/// Expands `a::{b, c::d}` into its paths; `text` may go on with anything.
fn expand(text: &str, prefix: &str, paths: &mut BTreeSet<String>) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (path, rest) = text.split_at(end.unwrap_or(text.len()));
    let path = format!("{prefix}{path}");
    let is_group = path.is_empty() || path.ends_with("::");
    if !is_group || !rest.starts_with('{') {
        paths.insert(path.trim_end_matches(':').to_owned());
        return;
    }
    let mut depth = 0;
    let mut start = 1;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => {
                expand(rest[start..at].trim(), &path, paths);
                return;
            }
            '}' => depth -= 1,
            ',' if depth == 1 => {
                expand(rest[start..at].trim(), &path, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Names of another module that `module` must not use.
fn breaches(module: &str, allowed: &[&str], file: &File) -> Vec<String> {
    let is_surface = ["grpc", "serf_rpc"].contains(&module);
    let is_allowed = |path: &str| {
        let mut parts = path.split("::");
        let (top, second) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        top == module
            || top.is_empty()
            || top.starts_with(char::is_uppercase)
            || allowed
                .iter()
                .any(|a| path == *a || path.starts_with(&format!("{a}::")))
            || (is_surface && top == "gossip" && HANDLE.contains(&second))
    };
    let paths = crate_paths(&file.text);
    let wrong = paths.into_iter().filter(|path| !is_allowed(path));
    wrong
        .map(|path| format!("{}: crate::{path}", file.path))
        .collect()
}

#[test]
fn modules_use_only_what_is_above_them() {
    let mut found = Vec::new();
    for (module, allowed) in ALLOWED {
        for file in sources_below(&format!("server/src/{module}")) {
            if !is_test(&file.path) {
                found.extend(breaches(module, allowed, &file));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_breach_of_the_layers_is_found() {
    let file = |text: &str| File {
        path: "f.rs".to_owned(),
        text: text.to_owned(),
    };
    let bad =
        file("use crate::{hub::Hub, grpc::{limits, watch::Group}};\nfn f() { crate::config::x() }");
    let found = breaches("hub", &[], &bad);
    assert_eq!(
        found,
        [
            "f.rs: crate::config::x",
            "f.rs: crate::grpc::limits",
            "f.rs: crate::grpc::watch::Group"
        ]
    );
    let sly = file("use crate::gossip::{Handle, task::Driver};");
    assert_eq!(
        breaches("grpc", &["hub"], &sly),
        ["f.rs: crate::gossip::task::Driver"]
    );
}

/// Names in one table of a manifest.
fn dependencies(manifest: &str, table: &str) -> Vec<String> {
    let after = manifest
        .split_once(&format!("\n[{table}]\n"))
        .map_or("", |(_, after)| after);
    let lines = after.lines().take_while(|line| !line.starts_with('['));
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries
        .filter_map(|line| Some(line.split(['.', ' ', '=']).next()?.to_owned()))
        .collect()
}

#[test]
fn the_dependencies_of_the_engine_are_pure() {
    assert_eq!(
        dependencies(&read("server/engine/Cargo.toml"), "dependencies"),
        PURE
    );
}

#[test]
fn the_client_needs_nothing_of_the_daemon() {
    let names = dependencies(&read("client/Cargo.toml"), "dependencies");
    assert!(
        !names
            .iter()
            .any(|name| name == "musterd" || name == "muster-engine"),
        "{names:?}"
    );
}

#[test]
fn the_engine_names_nothing_impure() {
    for file in sources_below("server/engine/src") {
        if is_test(&file.path) {
            continue;
        }
        let code = production(&file.text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let found = IMPURE.iter().find(|word| line.contains(**word));
            assert!(found.is_none(), "{}: {line}", file.path);
        }
    }
}

#[test]
fn one_file_of_the_engine_knows_foca() {
    let mut knowing = Vec::new();
    for file in sources_below("server/engine/src") {
        let mut code = file
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        if code.any(|line| line.contains("foca::")) {
            knowing.push(file.path);
        }
    }
    let outside = |path: &String| !path.starts_with("server/engine/src/swim");
    assert!(!knowing.iter().any(outside), "{knowing:?}");
}
