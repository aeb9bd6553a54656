//! The `.proto` files: compiled, exported and described, all of them.

use std::collections::BTreeSet;

use crate::tree::{files, read};

fn on_disk() -> BTreeSet<String> {
    let all = files("proto/muster");
    let protos = all.into_iter().filter(|file| file.path.ends_with(".proto"));
    protos
        .map(|file| file.path.trim_start_matches("proto/").to_owned())
        .collect()
}

#[test]
fn every_proto_file_is_compiled_and_exported() {
    let build = read("proto/build.rs");
    for path in on_disk() {
        assert!(
            build.contains(&format!("\"{path}\"")),
            "{path} is missing in proto/build.rs"
        );
    }
    let public: BTreeSet<String> = on_disk()
        .into_iter()
        .filter(|path| path.starts_with("muster/v1/"))
        .collect();
    let exported: BTreeSet<String> = muster_proto::PROTO_FILES
        .iter()
        .map(|(path, _)| (*path).to_owned())
        .collect();
    assert_eq!(exported, public);
}

#[test]
fn every_proto_file_has_the_options_that_generators_need() {
    for path in on_disk() {
        let text = read(&format!("proto/{path}"));
        let (package, go) = match path.starts_with("muster/peer/") {
            true => ("muster.peer.v1", "muster/peer/v1;musterpeerv1"),
            false => ("muster.v1", "muster/v1;musterv1"),
        };
        for line in [
            format!("package {package};"),
            format!("option go_package = \"github.com/muster-project/muster/gen/go/{go}\";"),
            "option java_multiple_files = true;".to_owned(),
            format!("option java_package = \"dev.{package}\";"),
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{path} lacks {line}"
            );
        }
    }
}

#[test]
fn every_rpc_documents_itself() {
    for path in on_disk() {
        let text = read(&format!("proto/{path}"));
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            if pair[1].starts_with("rpc ") {
                assert!(
                    pair[0].starts_with("//"),
                    "{path}: no comment above {}",
                    pair[1]
                );
            }
        }
    }
}
