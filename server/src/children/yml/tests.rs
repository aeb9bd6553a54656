use super::*;
use crate::children::forms;

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = parse(text).expect_err("it is wrong");
    mistakes.iter().map(ToString::to_string).collect()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A file with every key.
const EVERYTHING: &str = "serfnode:\n\
     \x20 role: web\n\
     \x20 peer: 10.0.0.1:7946\n\
     \x20 serf_ip: 10.0.0.2\n\
     \x20 serf_port: 7947\n\
     \x20 service_ip: 10.0.0.3\n\
     \x20 service_port: 8080\n\
     \x20 volumes: [/srv:/srv]\n\
     \x20 volumes_from: [store]\n\
     \x20 environment:\n\
     \x20   VERSION: 1.10\n\
     \x20   OWN: parent\n\
     children:\n\
     - db:\n\
     \x20   image: postgres:16\n\
     - web:\n\
     \x20   image: nginx\n\
     \x20   command: nginx -g 'daemon off;'\n\
     \x20   links: [db]\n\
     \x20   ports: ['8000:80', 9000]\n\
     \x20   expose: [81/udp]\n\
     \x20   volumes:\n\
     \x20     - /etc/site:/etc/site:ro\n\
     \x20   volumes_from: db:ro\n\
     \x20   environment: [OWN=child, HOME]\n\
     \x20   working_dir: /srv\n\
     \x20   entrypoint: [tini, --]\n\
     \x20   user: 1000:1000\n\
     \x20   privileged: yes\n\
     \x20   directory: shared\n";

#[test]
fn every_key_is_read() {
    let yml = parse(EVERYTHING).unwrap();
    let settings: Vec<_> = yml
        .settings
        .iter()
        .map(|s| (s.key, s.value.as_str(), s.line))
        .collect();
    assert_eq!(
        settings,
        [
            ("role", "web", 2),
            ("peer", "10.0.0.1:7946", 3),
            ("serf_ip", "10.0.0.2", 4),
            ("serf_port", "7947", 5),
            ("service_ip", "10.0.0.3", 6),
            ("service_port", "8080", 7),
        ]
    );
    let variable = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let shared = [variable("VERSION", "1.10"), variable("OWN", "parent")];
    let [db, web] = &yml.children[..] else {
        panic!("{yml:?}")
    };
    assert_eq!(
        *db,
        Child {
            name: "db".to_owned(),
            image: "postgres:16".to_owned(),
            volumes: vec![forms::volume("/srv:/srv").unwrap()],
            volumes_from: strings(&["store"]),
            environment: shared.to_vec(),
            ..Child::default()
        }
    );
    assert_eq!(
        *web,
        Child {
            name: "web".to_owned(),
            image: "nginx".to_owned(),
            command: Some(strings(&["nginx", "-g", "daemon off;"])),
            entrypoint: Some(strings(&["tini", "--"])),
            ports: [
                forms::publish("8000:80").unwrap(),
                forms::publish("9000").unwrap()
            ]
            .concat(),
            expose: strings(&["81/udp"]),
            links: strings(&["db"]),
            volumes: vec![
                forms::volume("/etc/site:/etc/site:ro").unwrap(),
                forms::volume("/srv:/srv").unwrap()
            ],
            volumes_from: strings(&["db:ro", "store"]),
            environment: vec![
                variable("OWN", "child"),
                ("HOME".to_owned(), None),
                variable("VERSION", "1.10")
            ],
            working_dir: Some("/srv".to_owned()),
            user: Some("1000:1000".to_owned()),
            privileged: true,
            directory: Directory::Shared,
        }
    );
}

#[test]
fn little_is_enough() {
    for text in [
        "",
        "serfnode:\n",
        "children:\n",
        "children: []\n",
        "# nothing\n",
    ] {
        assert_eq!(parse(text).unwrap(), Yml::default(), "{text:?}");
    }
    let yml = parse("children:\n- a: {image: x}\nserfnode: {directory: shared}\n").unwrap();
    assert_eq!(yml.children[0].directory, Directory::Shared);
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let found = mistakes(
        "serfnod: {}\n\
         serfnode:\n\
         \x20 rolle: web\n\
         \x20 ports: x\n\
         children:\n\
         - web:\n\
         \x20   imgae: nginx\n\
         - db:\n\
         \x20   image: [a]\n\
         \x20   privileged: maybe\n\
         \x20   command: \"'\"\n\
         \x20   volumes: [./here:/there]\n\
         \x20   environment: {A: [1]}\n\
         \x20   healthcheck: true\n\
         - a b: {image: x}\n\
         - text\n\
         - c:\n\
         \x20 image: x\n",
    );
    let expected = [
        "line 1: the file has no key \"serfnod\"; did you mean serfnode?",
        "line 3: serfnode has no key \"rolle\"; did you mean role?",
        "line 4: ports of serfnode: \"x\" in port \"x\" is no port from 1 to 65535",
        "line 7: child \"web\" has no key \"imgae\"; did you mean image?",
        "line 6: child \"web\" has no image",
        "line 14: child \"db\" has no key \"healthcheck\"; allowed: image, command,",
        "line 9: image of child \"db\" is a text, not a list",
        "line 10: privileged of child \"db\" is \"maybe\"; allowed: true or false",
        "line 11: command of child \"db\" cannot be split into words: missing closing quote",
        "line 12: volumes of child \"db\": \"./here\" in volume \"./here:/there\" is neither",
        "line 13: A in environment of child \"db\" is a text, not a list",
        "line 8: child \"db\" has no image",
        "line 15: \"a b\" is no name of a child; allowed: 1 to 63 letters",
        "line 16: a child is `- NAME:` and its keys, not a text",
        "line 17: a child is one name with its keys below it, but here are c, image",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn names_are_unique_and_the_file_is_bounded() {
    let twice = mistakes("children:\n- a: {image: x}\n- a: {image: y}\n");
    assert_eq!(twice, ["line 3: there are two children \"a\""]);
    let order = mistakes(
        "children:\n- a: {image: x, volumes_from: ['b:ro', c]}\n- b: {image: y, links: b:x}\n",
    );
    assert_eq!(
        order,
        [
            "line 2: volumes_from of child \"a\" names \"b\", which does not start before it: move it up",
            "line 3: links of child \"b\" names \"b\", which does not start before it: move it up",
        ]
    );
    assert!(mistakes("children: {a: {image: x}}\n")[0].contains("write `- NAME:`"));
    let many: String = (0..=CHILDREN_MAX)
        .map(|n| format!("- c{n}: {{image: x}}\n"))
        .collect();
    assert!(mistakes(&format!("children:\n{many}"))[0].contains("more than 256 children"));
    let long = "#".repeat(usize::try_from(YML_BYTES_MAX).unwrap() + 1);
    assert!(mistakes(&long)[0].contains("more than"));
    assert!(mistakes("children: [\n")[0].contains("it is no YAML"));
}
