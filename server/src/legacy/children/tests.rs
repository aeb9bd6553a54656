use super::*;
use crate::legacy::testing::{container, labelled, mounted, state};

fn names(children: &[Child]) -> Vec<(&str, View, bool)> {
    let shown = |child: &Child| (child.view, child.shares_network);
    let named = children
        .iter()
        .map(|child| (child.key.as_str(), shown(child)));
    named
        .map(|(key, (view, shares))| (key, view, shares))
        .collect()
}

#[test]
fn on_a_host_labels_and_mounts_make_children() {
    let root = Path::new("/srv/muster");
    let files = root.join("serfnode");
    let mine = labelled("mine", &[("muster.child", ""), ("muster.parent", "n1")]);
    let theirs = labelled("theirs", &[("muster.child", ""), ("muster.parent", "n2")]);
    let mut ended = labelled("ended", &[("muster.child", "web")]);
    ended.state = "exited".to_owned();
    let (state, follow) = state(vec![
        container("other"),
        mine,
        theirs,
        ended,
        labelled("refused", &[("muster.child", "false")]),
        mounted(
            labelled("never", &[("muster.child", "false")]),
            &files,
            "/serfnode",
        ),
        mounted(container("shares"), &files, "/serfnode"),
        mounted(container("own"), &files.join("children/own"), "/serfnode"),
        mounted(
            container("of-own"),
            &files.join("children/own"),
            "/serfnode",
        ),
        mounted(container("aside"), &files, "/elsewhere"),
    ]);
    let found = children(&state, &Places::on_host(follow), "n1", root);
    assert_eq!(
        names(&found),
        [
            ("ended", View::Nothing, false),
            ("mine", View::Nothing, false),
            ("own", View::Own, false),
            ("shares", View::Shared, false),
        ]
    );
    assert_eq!(found[2].directory, Path::new("serfnode/children/own"));
}

#[test]
fn in_a_container_those_that_share_its_network_or_volume_are_children() {
    let volume = Path::new("/var/lib/docker/volumes/v/_data");
    let me = mounted(container("me"), volume, "/serfnode");
    let mut joins = mounted(container("joins"), volume, "/serfnode");
    joins.network_mode = format!("container:{}", me.id);
    let mut elsewhere = container("elsewhere");
    elsewhere.network_mode = format!("container:{}", container("other").id);
    let id = me.id.to_string();
    let (state, follow) = state(vec![me, joins, elsewhere, container("other")]);
    let places = Places::in_container(follow, &id);
    let found = children(&state, &places, "n1", Path::new("/"));
    assert_eq!(names(&found), [("joins", View::Shared, true)]);
}
