//! Our block among what others write.

use super::*;

#[test]
fn the_rest_stays_byte_for_byte() {
    for text in [
        "",
        "127.0.0.1 localhost",
        "127.0.0.1 localhost\r\n10.9.9.9 other\r\n",
        "# comment without newline\n\n\n   \n10.9.9.9\tother # words",
        "\0\u{fffd}\n# BEGIN muster\n",
    ] {
        let mut scene = Scene::new(text);
        scene.set(&[("web", "10.0.0.1")]);
        scene.set(&[("web", "10.0.0.2")]);
        assert!(scene.text.starts_with(text.as_bytes()), "{text:?}");
        let text = std::str::from_utf8(&scene.text[text.len()..]).unwrap();
        assert!(
            text.starts_with("# BEGIN") || text.starts_with("\n# BEGIN"),
            "{text:?}"
        );
        assert!(text.contains("\n10.0.0.2 web "));
    }
}

#[test]
fn damaged_lines_of_ours_are_hidden() {
    let line = "10.0.0.9 web                                           # muster";
    let half = &line[..20];
    let two = line.replace("web", "web app");
    let cr = format!("{line}\r");
    let indented = format!(" {line}");
    let text =
        format!("{DOCKER}{two}\n{indented}\n# END muster\n{line}\n{line}\n{cr}\n#{cr}\n{half}");
    let mut scene = Scene::new(&text);
    scene.set(&[("web", "10.0.0.1")]);
    // What is not marked is not ours, even if it was once.
    assert_eq!(scene.shows("web"), ["10.0.0.9", "10.0.0.1"]);
    assert!(parse(&scene.text).remove("app").is_none());
    scene.set(&[]);
    assert_eq!(scene.shows("web"), ["10.0.0.9"]);
    assert!(scene.text.starts_with(DOCKER.as_bytes()));
}

#[test]
fn what_docker_moves_and_removes_is_set_right() {
    let mut scene = Scene::new(DOCKER);
    scene.set(&[("web", "10.0.0.1")]);
    // A network is disconnected: a line in front of ours goes; another is connected.
    let text = String::from_utf8(scene.text.clone()).unwrap();
    let text = text.replace("172.17.0.2\ta0fb5f1a9626\n", "") + "172.18.0.5\ta0fb5f1a9626\n";
    scene.text = text.into_bytes();
    assert!(scene.set(&[("web", "10.0.0.1")]).steps.is_empty());
    scene.set(&[("web", "10.0.0.2")]);
    assert_eq!(scene.shows("web"), ["10.0.0.2"]);
    assert_eq!(scene.shows("a0fb5f1a9626"), ["172.18.0.5"]);
    // The container is started again.
    scene.text = DOCKER.as_bytes().to_vec();
    scene.set(&[("web", "10.0.0.2")]);
    assert_eq!(scene.shows("web"), ["10.0.0.2"]);
    assert_eq!(scene.rest(), DOCKER);
}

#[test]
fn a_slot_of_any_length_is_filled_and_blanked() {
    let blanks = " ".repeat(70_000);
    let mut scene = Scene::new(&format!("#{blanks}# muster\n10.0.0.9 db{blanks}# muster\n"));
    scene.set(&[("web", "10.0.0.1")]);
    assert_eq!(scene.shows("web"), ["10.0.0.1"]);
    assert!(scene.shows("db").is_empty());
    scene.pass(QUARANTINE);
    scene.set(&[]);
    scene.pass(QUARANTINE);
    scene.set(&[]);
    assert_eq!(scene.free(), 2);
}

#[test]
fn a_cut_line_that_becomes_a_slot_is_free_one_day() {
    let mut scene = Scene::new("#0.0.0.9 db  # muster");
    scene.set(&[("web", "10.0.0.1")]);
    scene.pass(QUARANTINE);
    scene.set(&[("web", "10.0.0.1")]);
    scene.pass(QUARANTINE);
    assert_eq!(scene.set(&[("web", "10.0.0.1")]).again, None);
    assert!(scene.text.starts_with(b"#            # muster\n"));
}

#[test]
fn long_lines_have_room() {
    let role = "a".repeat(63);
    let ip = "1111:2222:3333:4444:5555:6666:7777:8888";
    let mut scene = Scene::new("");
    scene.set(&[("web", "10.0.0.1")]);
    scene.set(&[("web", "10.0.0.1"), (&role, ip)]);
    assert_eq!(scene.shows(&role), [ip]);
    assert_eq!(scene.shows("web"), ["10.0.0.1"]);
}
