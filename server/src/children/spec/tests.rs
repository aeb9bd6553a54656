use super::*;
use crate::children::{run, yml};

fn home() -> Home {
    Home {
        node: "n1".to_owned(),
        cluster: "c".to_owned(),
        container: Some("0123abcd".to_owned()),
        directory: Some(PathBuf::from("/var/lib/docker/volumes/v/_data")),
    }
}

fn on_host() -> Home {
    Home {
        container: None,
        directory: Some(PathBuf::from("/run/muster/files/serfnode")),
        ..home()
    }
}

fn environment() -> BTreeMap<String, String> {
    BTreeMap::from([("HOME".to_owned(), "/root".to_owned())])
}

/// The specs of a file's children.
fn specs(text: &str, home: &Home) -> Vec<Result<Spec, Refused>> {
    let children = yml::parse(text).unwrap().children;
    let names: Vec<String> = children.iter().map(|child| child.name.clone()).collect();
    let spec = |child: &Child| of_child(child, &names, home, &environment());
    children.iter().map(spec).collect()
}

fn only(text: &str, home: &Home) -> Spec {
    specs(text, home).pop().unwrap().unwrap()
}

fn why(text: &str) -> String {
    specs(text, &home()).pop().unwrap().unwrap_err().to_string()
}

#[test]
fn a_child_of_a_container_shares_its_network() {
    let spec = only(
        "children:\n\
         - db: {image: postgres}\n\
         - web:\n\
         \x20   image: nginx:1\n\
         \x20   command: nginx -g 'daemon off;'\n\
         \x20   entrypoint: tini\n\
         \x20   environment: [A=b, HOME, MISSING]\n\
         \x20   volumes: [/etc/site:/site:ro, /cache]\n\
         \x20   volumes_from: ['db:ro', other]\n\
         \x20   expose: [81]\n\
         \x20   working_dir: /srv\n\
         \x20   user: nobody\n\
         \x20   privileged: true\n",
        &home(),
    );
    assert_eq!(spec.container, container_name(&home(), "web"));
    assert!(
        spec.container.starts_with("web_app_n1_"),
        "{}",
        spec.container
    );
    let db = container_name(&home(), "db");
    assert_eq!(
        spec.body,
        json!({
            "Image": "nginx:1",
            "Cmd": ["nginx", "-g", "daemon off;"],
            "Entrypoint": ["tini"],
            "WorkingDir": "/srv",
            "User": "nobody",
            "Env": ["A=b", "HOME=/root"],
            "Volumes": {"/cache": {}},
            "Labels": {
                "muster.child": "web",
                "muster.parent": "n1",
                "muster.cluster": "c",
                "muster.spec": spec.hash,
            },
            "HostConfig": {
                "Privileged": true,
                "RestartPolicy": {"Name": "unless-stopped"},
                "NetworkMode": "container:0123abcd",
                "Binds": [
                    "/etc/site:/site:ro",
                    format!("/var/lib/docker/volumes/v/_data/children/{}:/serfnode:ro", spec.container),
                ],
                "VolumesFrom": [format!("{db}:ro"), "other"],
            },
        })
    );
    assert_eq!(spec.me_json.as_deref(), Some("/serfnode/me.json"));
    assert!(spec.has_files);
    assert_eq!(spec.notes.len(), 1, "{:?}", spec.notes);
    assert!(
        spec.notes[0].starts_with("expose is left out"),
        "{:?}",
        spec.notes
    );
}

#[test]
fn a_child_of_a_daemon_on_the_host_is_on_the_default_bridge() {
    let spec = only(
        "children:\n\
         - db: {image: postgres}\n\
         - web:\n\
         \x20   image: nginx\n\
         \x20   ports: ['8000:80', '127.0.0.1::81']\n\
         \x20   expose: [82/udp]\n\
         \x20   links: [db, 'other:alias']\n\
         \x20   directory: shared\n",
        &on_host(),
    );
    let db = container_name(&on_host(), "db");
    assert_eq!(
        spec.body["ExposedPorts"],
        json!({"80/tcp": {}, "81/tcp": {}, "82/udp": {}})
    );
    assert_eq!(
        spec.body["HostConfig"],
        json!({
            "RestartPolicy": {"Name": "unless-stopped"},
            "PortBindings": {
                "80/tcp": [{"HostIp": "", "HostPort": "8000"}],
                "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
            },
            "Links": [format!("{db}:db"), "other:alias"],
            "Binds": ["/run/muster/files/serfnode:/serfnode"],
        })
    );
    let me = format!("/serfnode/children/{}/me.json", spec.container);
    assert_eq!(spec.me_json, Some(me));
    assert!(spec.notes.is_empty(), "{:?}", spec.notes);
}

#[test]
fn a_shared_directory_is_all_volumes_of_the_parent() {
    let spec = only("children: [{a: {image: x, directory: shared}}]", &home());
    assert_eq!(spec.body["HostConfig"]["VolumesFrom"], json!(["0123abcd"]));
    assert_eq!(spec.body["HostConfig"].get("Binds"), None);
}

#[test]
fn ports_and_links_in_a_shared_network_are_refused_with_what_to_write() {
    assert_eq!(
        why(
            "children: [{a: {image: x, ports: ['8000:80', '127.0.0.1:53:53/udp', '9', '[::1]::7']}}]"
        ),
        "child \"a\": ports: it shares the network of its parent, and the engine publishes ports \
         only where a network begins. Start the parent's container with -p 8000:80 -p \
         127.0.0.1:53:53/udp -p 9 -p [::1]::7 and leave ports out here"
    );
    let link = why("children: [{b: {image: y}}, {a: {image: x, links: ['b:c']}}]");
    assert!(
        link.ends_with("Leave links out and reach b at 127.0.0.1"),
        "{link}"
    );
    let link = why("children: [{a: {image: x, links: ['db:c']}}]");
    assert!(
        link.contains("--link db:c, or with a --network that db is in"),
        "{link}"
    );
    let shared = why("serfnode: {ports: ['1:2']}\nchildren: [{a: {image: x}}]");
    assert!(shared.contains("-p 1:2"), "{shared}");
}

#[test]
fn without_a_directory_there_are_no_files_and_it_is_said() {
    for (text, home) in [
        (
            "children: [{a: {image: x}}]",
            Home {
                directory: None,
                ..home()
            },
        ),
        (
            "children: [{a: {image: x, volumes: ['/a:/serfnode']}}]",
            home(),
        ),
    ] {
        let spec = only(text, &home);
        assert!(!spec.has_files && spec.me_json.is_none());
        assert_eq!(spec.notes.len(), 1, "{:?}", spec.notes);
    }
}

#[test]
fn docker_run_keeps_its_own_network_and_name() {
    let mut run = run::parse("--read-only -h box -l a=b -p 80:80 --restart no nginx").unwrap();
    run.child.name = "front".to_owned();
    let spec = of_run(&run, &home(), &environment()).unwrap();
    assert_eq!(spec.container, "front");
    assert_eq!(spec.body["Hostname"], json!("box"));
    assert_eq!(spec.body["Labels"]["a"], json!("b"));
    assert_eq!(spec.body["Labels"]["muster.child"], json!("front"));
    assert_eq!(spec.body["HostConfig"].get("NetworkMode"), None);
    assert_eq!(
        spec.body["HostConfig"]["RestartPolicy"]["Name"],
        json!("no")
    );
    assert_eq!(spec.me_json, None);
    assert!(spec.notes[0].contains("read-only"), "{:?}", spec.notes);
}

#[test]
fn the_hash_is_that_of_everything_that_matters() {
    let base = only("children: [{a: {image: x}}]", &home());
    let again = only("children: [{a: {image: x}}]", &home());
    assert_eq!(base, again);
    assert_eq!(base.hash.len(), 64);
    let changed = [
        only("children: [{a: {image: y}}]", &home()),
        only("children: [{a: {image: x, command: b}}]", &home()),
        only("children: [{a: {image: x, directory: shared}}]", &home()),
        only(
            "children: [{a: {image: x}}]",
            &Home {
                container: Some("9".to_owned()),
                ..home()
            },
        ),
        only(
            "children: [{a: {image: x}}]",
            &Home {
                cluster: "d".to_owned(),
                ..home()
            },
        ),
    ];
    for other in changed {
        assert_ne!(other.hash, base.hash, "{other:?}");
    }
    let other = Home {
        node: "n2".to_owned(),
        ..home()
    };
    assert_ne!(container_name(&other, "a"), container_name(&home(), "a"));
}

#[test]
fn values_of_variables_are_not_shown() {
    let spec = only(
        "children: [{a: {image: x, environment: {KEY: hunter2}}}]",
        &home(),
    );
    assert!(!format!("{spec:?}").contains("hunter2"));
}
