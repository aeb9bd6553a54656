use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

fn tags(pairs: &[(&str, &str)]) -> Tags {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(pair).collect()
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn changes_lie_over_what_is_configured() {
    let configured = tags(&[("zone", "a"), ("disk", "ssd")]);
    let store = TagStore::new(configured.clone(), TagChanges::default(), None);
    store.changed(
        &tags(&[("zone", "b"), ("run", "1")]),
        &keys(&["disk", "none"]),
    );
    assert_eq!(
        store.over(&configured),
        tags(&[("zone", "b"), ("run", "1")])
    );
    // Another configuration changes what was not changed by hand.
    let other = tags(&[("zone", "c"), ("disk", "hdd"), ("new", "n")]);
    let difference = store.difference(&other);
    assert_eq!(difference.set, tags(&[("new", "n")]));
    assert!(difference.remove.is_empty());
    store.reconfigure(other.clone());
    assert_eq!(
        store.over(&other),
        tags(&[("zone", "b"), ("run", "1"), ("new", "n")])
    );
    let difference = store.difference(&Tags::new());
    assert_eq!(difference.remove, keys(&["new"]));
    assert!(difference.set.is_empty() && !difference.is_empty());
}

#[test]
fn the_file_is_whole_private_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tags.json");
    assert_eq!(TagChanges::read(&path), Ok(TagChanges::default()));
    let configured = tags(&[("zone", "a")]);
    let store = TagStore::new(
        configured.clone(),
        TagChanges::default(),
        Some(path.clone()),
    );
    store.changed(&tags(&[("q", "\"\n")]), &keys(&["zone"]));
    assert_eq!(store.warning(), None);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"q\":\"\\\"\\n\",\"zone\":null}\n");
    let read = TagChanges::read(&path).unwrap();
    assert_eq!(read.over(&configured), tags(&[("q", "\"\n")]));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_cannot_be_written_is_told_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("gone");
    let path = place.join("tags.json");
    let store = TagStore::new(Tags::new(), TagChanges::default(), Some(path));
    store.changed(&tags(&[("a", "1")]), &[]);
    assert!(store.warning().unwrap().contains("tags.json"));
    assert_eq!(store.over(&Tags::new()), tags(&[("a", "1")]));
    store.retry();
    assert!(store.warning().is_some());
    std::fs::create_dir(&place).unwrap();
    store.retry();
    assert_eq!(store.warning(), None);
    let text = std::fs::read_to_string(place.join("tags.json")).unwrap();
    assert_eq!(text, "{\"a\":\"1\"}\n");
}

#[test]
fn garbage_is_told_and_a_file_of_serf_is_read() {
    for text in [
        "",
        "nonsense",
        "[]",
        "{\"a\":1}",
        "{\"a\":\"b\"",
        "{\"a\":\"b\"}{}",
    ] {
        let why = TagChanges::parse(text).unwrap_err();
        assert!(
            why.contains("JSON") || why.contains("\"a\""),
            "{text:?}: {why}"
        );
    }
    let serf = TagChanges::parse("{\n  \"role\": \"web\",\n  \"dc\": \"east\"\n}").unwrap();
    assert_eq!(
        serf.over(&Tags::new()),
        tags(&[("role", "web"), ("dc", "east")])
    );
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("no").join("tags.json");
    assert!(
        TagChanges::read(&nowhere)
            .unwrap_err()
            .contains("directory")
    );
    assert!(TagChanges::read(dir.path()).is_err());
}

proptest! {
    #[test]
    fn what_is_written_reads_back(pairs in prop::collection::btree_map(".{1,8}", prop::option::of(".{0,8}"), 0..8)) {
        let changes = TagChanges(pairs);
        prop_assert_eq!(TagChanges::parse(&changes.to_json()), Ok(changes));
    }

    #[test]
    fn no_text_panics(text in ".{0,60}") {
        let _read = TagChanges::parse(&text);
    }
}
