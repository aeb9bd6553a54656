//! Flags, the environment and the file: who wins, and mistakes in each.

use super::*;

#[test]
fn three_mistakes_are_three_lines() {
    let (_dir, path) = file("bind = \"localhost:7946\"\n");
    let lines = mistakes(
        &["--config", &path, "--reap-left", "10min"],
        &[("MUSTER_API_THREADS", "many")],
    );
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let expect = |place: &str, why: &str| {
        let found = lines
            .iter()
            .any(|line| line.starts_with(place) && line.contains(why));
        assert!(found, "{place} {why}: {lines:#?}");
    };
    expect(
        &format!("file {path} bind \"localhost:7946\""),
        "allowed: IP:PORT",
    );
    expect(
        "flag --reap-left \"10min\"",
        "allowed: a duration from 1s to 365d",
    );
    expect(
        "environment MUSTER_API_THREADS \"many\"",
        "allowed: a number from 1 to 64",
    );
}

#[test]
fn a_mistyped_flag_is_one_mistake_and_hides_no_other() {
    let told = |args: &[&str], parts: &[&str]| {
        let lines = match load_on(&FakeMachine::default(), args, &[]) {
            Err(problems) => problems.0,
            Ok(asked) => panic!("{args:?}: {asked:?}"),
        };
        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), parts.len(), "{lines:#?}");
        for part in parts {
            assert!(lines.iter().any(|line| line.contains(part)), "{lines:#?}");
        }
    };
    told(
        &["--key-fil", "/tmp/x", "--role", "-bad-", "--bind", "1"],
        &[
            "did you mean --key-file?",
            "--role \"-bad-\"",
            "--bind \"1\"",
        ],
    );
    told(&["--key-file"], &["flag --key-file: its value is missing"]);
    told(
        &["--key-file", "a", "--key-file", "b"],
        &["flag --key-file: it is given more than once"],
    );
    // A flag of one letter is found among the arguments as well.
    told(
        &["-xyz", "--bind", "1"],
        &["flag -x: there is no such flag", "--bind \"1\"", "no key"],
    );
    told(&["--bogus", "x"], &["flag --bogus", "no key"]);
    let (_dir, path) = file("key_file = \"/tmp/x\"\n");
    told(&["--config", &path], &["did you mean key-file?"]);
}

#[test]
fn unknown_flags_and_keys_are_all_told() {
    let (_dir, path) = file("nmae = \"a\"\nreap_left = \"1m\"\n[extra]\nx = 1\n");
    let lines = mistakes(
        &[
            "--bogus",
            "value",
            "--clutser=x",
            "--config",
            &path,
            "stray",
            "--name",
            "-x",
            "--tag",
        ],
        &[],
    );
    let text = lines.join("\n");
    for part in [
        "flag --bogus: there is no such flag",
        "flag --clutser: there is no such flag; did you mean --cluster?",
        "argument \"stray\"",
        "flag --tag: its value is missing",
        "nmae: there is no such key",
        "reap_left: there is no such key; did you mean reap-left?",
        "extra: there is no such key",
        "flag --name \"-x\": ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("\"value\""), "{text}");
}

#[test]
fn one_value_given_twice_is_a_mistake() {
    let lines = mistakes(&["--name", "a", "--name", "b"], &[]);
    assert_eq!(lines, ["flag --name: it is given more than once"]);
}

#[test]
fn flags_beat_the_environment_and_that_beats_the_file() {
    let (_dir, path) = file(
        "name = \"of-file\"\ncluster = \"of-file\"\nreap-left = \"3m\"\njoin = [\"a\", \"b\"]\n",
    );
    let config = config(
        &["--name", "of-flag"],
        &[
            ("MUSTER_CONFIG", &path),
            ("MUSTER_NAME", "of-env"),
            ("MUSTER_CLUSTER", "of-env"),
            ("MUSTER_JOIN", "c"),
        ],
    );
    assert_eq!(config.node.name, "of-flag");
    assert_eq!(config.node.cluster, "of-env");
    assert_eq!(config.members.reap_left, Duration::from_secs(180));
    // The stronger list replaces the weaker one.
    assert_eq!(config.peers.join, ["c"]);
}

#[test]
fn a_file_can_hold_everything() {
    let (_dir, path) = file(
        r#"
        insecure-plaintext = true
        leave-on-terminate = false
        events-per-origin = 100
        socket-mode = "0600"
        socket-group = "muster"
        role = ["web=10.0.0.1:80", "db"]
        service-ip = "10.0.0.9"
        service-port = 5432
        tag = { zone = "a,b", rack = 7 }
        allow = ["1000=read+events+admin", "1001=read"]
        "#,
    );
    let config = config_on(&FakeMachine::default(), &["--config", &path], &[]);
    assert!(!config.process.leave_on_terminate);
    assert_eq!(config.limits.events_per_origin, 100);
    assert_eq!(
        (config.api.socket_mode, config.api.socket_group),
        (0o600, Some(998))
    );
    let roles: Vec<_> = config
        .node
        .roles
        .iter()
        .map(|role| {
            (
                role.name.as_str(),
                role.service_ip.to_string(),
                role.service_port,
            )
        })
        .collect();
    assert_eq!(
        roles,
        [
            ("web", "10.0.0.1".to_owned(), 80),
            ("db", "10.0.0.9".to_owned(), 5432)
        ]
    );
    assert_eq!(config.node.tags["zone"], "a,b");
    assert_eq!(config.node.tags["rack"], "7");
    assert_eq!(config.api.allow[&1001], BTreeSet::from([Capability::Read]));
    assert_eq!(config.api.allow[&1000].len(), 3);
}

#[test]
fn files_that_are_none_are_mistakes() {
    let (_dir, path) = file("name = \"a\"\ncluster = = 1\n");
    assert!(mistakes(&["--config", &path], &[])[0].contains("line 2 is no TOML"));
    assert!(mistakes(&["--config", "/no/such"], &[])[0].contains("cannot open it"));
    assert!(mistakes(&["--config", "/"], &[])[0].contains("cannot read it"));
    let (_dir, path) = file("reap-left = 1.5\njoin = [[\"a\"]]\n");
    let lines = mistakes(&["--config", &path], &[]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let (_dir, path) = file(&"#".repeat((1 << 20) + 1));
    assert!(mistakes(&["--config", &path], &[])[0].contains("more than"));
}

#[test]
fn kubernetes_may_inject_what_it_likes() {
    let link = "tcp://10.96.0.7:7946";
    let config = config(
        &[],
        &[
            ("MUSTER_PORT", link),
            ("MUSTER_SERVICE_HOST", "10.96.0.7"),
            ("MUSTER_SERVICE_PORT", "7946"),
            ("MUSTER_SERVICE_PORT_GOSSIP", "7946"),
            ("MUSTER_PORT_7946_TCP", link),
            ("MUSTER_PORT_7946_TCP_PROTO", "tcp"),
            ("MUSTER_PORT_7946_TCP_PORT", "7946"),
            ("MUSTER_PORT_7946_TCP_ADDR", "10.96.0.7"),
            // A Service called muster-role.
            ("MUSTER_ROLE_PORT", link),
            ("MUSTER_NO_SUCH_THING", "x"),
        ],
    );
    assert_eq!(config.peers.bind, "127.0.0.1:7946".parse().unwrap());
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("MUSTER_NO_SUCH_THING"));
    assert!(config.warnings[1].contains("service link"));
}

#[test]
fn every_setting_can_be_given_everywhere_it_says() {
    for setting in schema::settings() {
        let mut layers = Layers::default();
        // Some value that is wrong for all but texts: it must reach the setting.
        let value = "true";
        if setting.has_flag() {
            let args = [OsString::from(format!("--{}={value}", setting.name))];
            args::read(&args, &mut layers);
            assert_eq!(
                layers.text(setting.name),
                Some(value),
                "flag {}",
                setting.name
            );
        }
        if let Some(variable) = setting.env() {
            let mut layers = Layers::default();
            env::read(
                &BTreeMap::from([(variable.clone(), value.to_owned())]),
                &mut layers,
            );
            assert_eq!(layers.text(setting.name), Some(value), "{variable}");
        }
        let (_dir, path) = file(&format!("{} = \"{value}\"\n", setting.name));
        let mut layers = Layers::default();
        file::read(Path::new(&path), &mut layers);
        assert_eq!(
            layers.text(setting.name).is_some(),
            setting.in_file(),
            "{}",
            setting.name
        );
    }
}
