use std::sync::Arc;

use super::*;
use crate::docker::Places;
use crate::legacy::children::children;
use crate::legacy::testing::{labelled, mounted, state};

const ROOT: &str = "/srv/muster";

fn web() -> crate::docker::Container {
    labelled("web", &[("muster.child", "")])
}

fn ways_of(container: crate::docker::Container) -> Ways {
    let (state, follow) = state(vec![container]);
    let found = children(&state, &Places::on_host(follow), "n1", Path::new(ROOT));
    let child = &found[0];
    let files = [name::PARENT, name::BY_ID, name::BY_ROLE, name::ME];
    let texts = files.map(|file| (file, Arc::from(&b"{}"[..])));
    let directory = Path::new(ROOT).join(&child.directory);
    ways(child, texts.to_vec(), Some(&directory))
}

/// Names of the files in the parcel, or where the link leads.
fn parcel(ways: &Ways) -> Vec<String> {
    match &ways.parcel {
        Some(Parcel::Files(texts)) => texts.iter().map(|(name, _)| (*name).to_owned()).collect(),
        Some(Parcel::Link(target)) => vec![target.clone()],
        None => Vec::new(),
    }
}

fn never(way: &Way) -> &str {
    match way {
        Way::Never(why) => why,
        Way::Directory | Way::Parcel | Way::Later => panic!("{way:?}"),
    }
}

#[test]
fn a_single_file_that_is_mounted_never_follows() {
    let own = Path::new(ROOT).join("serfnode/children/web");
    let single = ways_of(mounted(web(), &own.join("me.json"), "/me.json"));
    assert_eq!(
        never(&single.me),
        "/srv/muster/serfnode/children/web/me.json is mounted there as a single file, which stays \
         as it was when the container started: mount the directory, -v /srv/muster/serfnode/children/web:/serfnode:ro, and read \
         /serfnode/me.json"
    );
    assert_eq!(single.serfnode, Way::Parcel, "the others can be put there");
    let others = [
        "parent.json",
        "serfnodes_by_id.json",
        "serfnodes_by_role.json",
    ];
    assert_eq!(parcel(&single), others);

    let shared = Path::new(ROOT).join("serfnode/serfnodes_by_id.json");
    let other = ways_of(mounted(web(), &shared, "/serfnode/serfnodes_by_id.json"));
    assert!(never(&other.serfnode).contains("as a single file"));
    assert_eq!(other.me, Way::Parcel);
    let rest = ["parent.json", "serfnodes_by_role.json", "me.json"];
    assert_eq!(parcel(&other), rest);
}

#[test]
fn a_mount_in_the_place_of_the_link_says_where_the_file_is() {
    let own = Path::new(ROOT).join("serfnode/children/web");
    let seeing = mounted(web(), &own, "/serfnode");
    let both = ways_of(mounted(seeing, Path::new("/etc/x"), "/me.json"));
    assert_eq!(
        never(&both.me),
        "something else is mounted there (bind): it is at /serfnode/me.json if this mount is left \
         out"
    );
    assert_eq!(both.serfnode, Way::Directory);
    assert_eq!(both.parcel, None);
    let shared = mounted(web(), &Path::new(ROOT).join("serfnode"), "/serfnode");
    let shared = ways_of(mounted(shared, &own.join("me.json"), "/me.json"));
    assert!(never(&shared.me).ends_with("container started: leave this mount out"));
}

#[test]
fn who_sees_the_directory_gets_a_link_into_it() {
    let own = Path::new(ROOT).join("serfnode/children/web");
    let seeing = mounted(web(), &own, "/serfnode");
    assert_eq!(parcel(&ways_of(seeing.clone())), ["/serfnode/me.json"]);
    let shared = mounted(web(), &Path::new(ROOT).join("serfnode"), "/serfnode");
    assert_eq!(parcel(&ways_of(shared)), ["/serfnode/children/web/me.json"]);
    let mut created = seeing;
    created.labels.insert(SPEC.to_owned(), "x".to_owned());
    let ways = ways_of(created.clone());
    assert_eq!((ways.parcel, ways.me), (None, Way::Directory));
    created.read_only = true;
    assert!(never(&ways_of(created).me).ends_with("it is at /serfnode/me.json only"));
}

#[test]
fn what_we_created_with_a_volume_of_its_own_is_left_alone() {
    let mut created = mounted(web(), Path::new("/srv/data"), "/serfnode");
    created.labels.insert(SPEC.to_owned(), "x".to_owned());
    let ways = ways_of(created);
    assert_eq!(never(&ways.me), "it has a volume of its own at /serfnode");
    assert_eq!(never(&ways.serfnode), never(&ways.me));
    assert_eq!(ways.parcel, None);
}

#[test]
fn what_does_not_run_gets_them_when_it_does() {
    let mut ended = web();
    ended.state = "exited".to_owned();
    let ways = ways_of(ended);
    assert_eq!((ways.parcel, ways.me), (None, Way::Later));
}
