//! The documentation keeps up with the code.

use crate::tree::{File, files, read, root};

fn pages() -> Vec<File> {
    let mut all = files(".");
    all.retain(|file| file.path.ends_with(".md"));
    all
}

/// Targets of the links of a page.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

#[test]
fn every_relative_link_leads_somewhere() {
    for page in pages() {
        let folder = root().join(&page.path).parent().unwrap().to_path_buf();
        for link in links(&page.text) {
            let path = link.split('#').next().unwrap_or("");
            if path.is_empty() || path.contains("://") || path.contains(' ') {
                continue;
            }
            assert!(
                folder.join(path).exists(),
                "{}: {link} leads nowhere",
                page.path
            );
        }
    }
}

#[test]
fn links_are_found() {
    let found: Vec<&str> = links("see [a](b.md), [c](d#e)").collect();
    assert_eq!(found, ["b.md", "d#e"]);
}

#[test]
fn the_api_page_has_a_row_for_every_rpc() {
    let page = read("docs/api.md");
    for (path, text) in muster_proto::PROTO_FILES {
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("rpc "))
        {
            let name = line["rpc ".len()..].split('(').next().unwrap_or("");
            assert!(
                page.contains(&format!("`{name}`")),
                "docs/api.md lacks {name} of {path}"
            );
        }
    }
}

#[test]
fn every_crate_follows_the_lints_of_the_workspace() {
    for manifest in ["proto", "server", "server/engine", "client", "tests"] {
        let text = read(&format!("{manifest}/Cargo.toml"));
        assert!(text.contains("[lints]\nworkspace = true"), "{manifest}");
    }
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
}
