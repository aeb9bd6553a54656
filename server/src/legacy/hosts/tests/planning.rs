//! Which lines a file gets, and when.

use super::*;

#[test]
fn a_role_gets_a_line_and_loses_it_again() {
    let mut scene = Scene::new(DOCKER);
    scene.set(&[("web", "10.0.0.1"), ("db", "fd00::2")]);
    assert_eq!(scene.shows("web"), ["10.0.0.1"]);
    assert_eq!(scene.shows("db"), ["fd00::2"]);
    assert_eq!(scene.shows("localhost"), ["127.0.0.1", "::1"]);
    assert!(scene.text.starts_with(DOCKER.as_bytes()));
    let text = String::from_utf8(scene.text.clone()).unwrap();
    assert!(text.contains("\n10.0.0.1 web "), "{text}");
    assert!(
        scene
            .set(&[("web", "10.0.0.1"), ("db", "fd00::2")])
            .steps
            .is_empty()
    );
    scene.set(&[("db", "fd00::2")]);
    assert_eq!(scene.shows("web"), [""; 0]);
    assert_eq!(scene.shows("db"), ["fd00::2"]);
    let length = scene.text.len();
    scene.set(&[]);
    scene.pass(QUARANTINE);
    assert_eq!(scene.set(&[]).again, None);
    let text = String::from_utf8(scene.text.clone()).unwrap();
    assert!(!text.contains("web") && !text.contains("db"), "{text}");
    assert_eq!(scene.text.len(), length);
    assert_eq!(scene.rest(), DOCKER);
}

#[test]
fn without_roles_nothing_is_written() {
    let mut scene = Scene::new(DOCKER);
    assert!(scene.set(&[]).steps.is_empty());
    assert_eq!(scene.text, DOCKER.as_bytes());
}

#[test]
fn a_new_address_is_shown_behind_the_old_one_before_that_is_hidden() {
    let mut scene = Scene::new(DOCKER);
    scene.set(&[("web", "10.0.0.1")]);
    let plan = scene.set(&[("web", "10.0.0.2")]);
    let edits = plan.steps.iter().map(|step| match step {
        Step::Edit(edit) => (edit.at, edit.from, edit.bytes.clone()),
        Step::Append(_) => panic!("there is room"),
    });
    let edits: Vec<_> = edits.collect();
    assert_eq!(edits.len(), 3);
    assert_eq!(edits[0].1, 1, "the comment is filled first");
    assert_eq!(
        (edits[1].0, edits[1].1, &*edits[1].2),
        (edits[0].0, 0, &b"1"[..])
    );
    assert_eq!((edits[2].1, &*edits[2].2), (0, &b"#"[..]));
    assert!(edits[2].0 < edits[1].0);
    assert_eq!(scene.shows("web"), ["10.0.0.2"]);
}

#[test]
fn a_hidden_slot_is_used_again_after_the_quarantine_only() {
    let mut scene = Scene::new(DOCKER);
    scene.set(&[("web", "10.0.0.1")]);
    let free = scene.free();
    let plan = scene.set(&[]);
    assert_eq!(scene.free(), free);
    assert_eq!(plan.again, Some(QUARANTINE));
    scene.pass(QUARANTINE - Duration::from_millis(1));
    assert!(scene.set(&[]).steps.is_empty());
    scene.pass(Duration::from_millis(1));
    scene.set(&[]);
    assert_eq!(scene.free(), free + 1);
}

#[test]
fn a_line_at_the_end_moves_up_when_there_is_room() {
    let mut scene = Scene::new(DOCKER);
    let addresses = [
        "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6",
    ];
    for ip in addresses {
        scene.set(&[("web", ip)]);
        assert_eq!(scene.shows("web"), [ip]);
    }
    let length = scene.text.len();
    // The last slot: the others are in quarantine.
    scene.pass(QUARANTINE);
    scene.set(&[("web", "10.0.0.6")]);
    assert_eq!(scene.shows("web"), ["10.0.0.6"; 2]);
    scene.pass(QUARANTINE);
    scene.set(&[("web", "10.0.0.6")]);
    assert_eq!(scene.shows("web"), ["10.0.0.6"]);
    scene.set(&[("web", "10.0.0.7")]);
    assert_eq!(scene.shows("web"), ["10.0.0.7"]);
    assert_eq!(scene.text.len(), length);
}

#[test]
fn a_full_file_grows_to_its_limit_and_then_changes_wait() {
    let mut scene = Scene::new("");
    let ip = |n: usize| format!("10.1.{}.{}", n / 256, n % 256);
    let most = SLOTS_MAX + SLOTS_EACH;
    for n in 0..=most {
        scene.set(&[("web", &ip(n))]);
    }
    assert_eq!(slot::slots(&scene.text).len(), most);
    // Nothing is free: the old answer stays.
    assert_eq!(scene.shows("web"), [ip(most - 1)]);
    assert_eq!(scene.set(&[("web", "10.2.0.1")]).waiting, 1);
    scene.pass(QUARANTINE);
    let plan = scene.set(&[("web", "10.2.0.1")]);
    assert_eq!(plan.waiting, 0);
    // In front of the old one, which slow readers may still need.
    assert_eq!(scene.shows("web"), ["10.2.0.1".to_owned(), ip(most - 1)]);
    scene.pass(QUARANTINE);
    scene.set(&[("web", "10.2.0.1")]);
    assert_eq!(scene.shows("web"), ["10.2.0.1"]);
}
