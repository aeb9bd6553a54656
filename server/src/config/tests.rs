mod addresses;
mod keys;
mod serfnode;

use std::net::IpAddr;

use super::*;

/// A key as `muster keygen` prints it.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

#[derive(Debug, Clone)]
pub(super) struct FakeMachine {
    host: Option<String>,
    pub(super) root: bool,
    interfaces: Vec<(String, IpAddr)>,
}

impl Default for FakeMachine {
    fn default() -> Self {
        Self {
            host: Some("web-1".to_owned()),
            root: true,
            interfaces: vec![("lo".to_owned(), "127.0.0.1".parse().unwrap())],
        }
    }
}

impl FakeMachine {
    pub(super) fn with(interfaces: &[(&str, &str)]) -> Self {
        let parse = |(name, ip): &(&str, &str)| ((*name).to_owned(), ip.parse().unwrap());
        Self {
            interfaces: interfaces.iter().map(parse).collect(),
            ..Self::default()
        }
    }
}

impl Machine for FakeMachine {
    fn host_name(&self) -> Option<String> {
        self.host.clone()
    }

    fn is_root(&self) -> bool {
        self.root
    }

    fn interfaces(&self) -> Vec<(String, IpAddr)> {
        self.interfaces.clone()
    }

    fn users(&self) -> String {
        "root:x:0:0:root:/root:/bin/sh\nrunner:x:998:997::/srv:/bin/false\n".to_owned()
    }

    fn is_socket(&self, path: &str) -> bool {
        path == "/host/run/docker.sock"
    }

    fn group_id(&self, name: &str) -> Option<u32> {
        (name == "muster").then_some(998)
    }

    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        match host {
            "both.example" => Ok(vec![
                "fd00::9".parse().unwrap(),
                "10.0.0.9".parse().unwrap(),
            ]),
            "six.example" => Ok(vec!["fd00::9".parse().unwrap()]),
            _ => Err("no such host".to_owned()),
        }
    }
}

fn load_on(
    machine: &FakeMachine,
    args: &[&str],
    env: &[(&str, &str)],
) -> Result<Request, Problems> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment = env.iter().map(pair).collect();
    load(&Inputs {
        args: &args,
        environment: &environment,
        machine,
    })
}

fn config_on(machine: &FakeMachine, args: &[&str], env: &[(&str, &str)]) -> Config {
    match load_on(machine, args, env).unwrap() {
        Request::Run(config) => *config,
        Request::Print(text) => panic!("{text}"),
    }
}

/// Settings of a daemon without encryption, so that keys need no files.
fn config(args: &[&str], env: &[(&str, &str)]) -> Config {
    let mut all = vec!["--insecure-plaintext"];
    all.extend(args);
    config_on(&FakeMachine::default(), &all, env)
}

/// The lines of a configuration with mistakes, `--insecure-plaintext` given.
fn mistakes(args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let mut all = vec!["--insecure-plaintext"];
    all.extend(args);
    refused(&FakeMachine::default(), &all, env)
}

fn refused(machine: &FakeMachine, args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let problems = load_on(machine, args, env).unwrap_err();
    problems.to_string().lines().map(str::to_owned).collect()
}

fn printed(args: &[&str], env: &[(&str, &str)]) -> String {
    match load_on(&FakeMachine::default(), args, env).unwrap() {
        Request::Print(text) => text,
        Request::Run(_) => panic!("it would run"),
    }
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (dir, path)
}

fn private(path: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn defaults_are_those_of_the_table() {
    let config = config(&[], &[]);
    assert_eq!(config.node.name, "web-1");
    assert_eq!(config.node.cluster, "muster");
    assert_eq!(config.peers.bind, "127.0.0.1:7946".parse().unwrap());
    assert_eq!(config.peers.advertise, config.peers.bind);
    assert_eq!(config.api.socket, Path::new("/run/muster/api.sock"));
    assert_eq!(config.api.socket_mode, 0o660);
    assert_eq!(config.api.child_socket, None);
    assert_eq!(config.api.threads, 1);
    assert_eq!(config.limits.event_payload_bytes, 64 << 10);
    assert_eq!(config.limits.event_bytes_total, 64 << 20);
    assert_eq!(config.members.reap_left, Duration::from_secs(600));
    assert_eq!(config.members.reap_failed, Duration::from_secs(86_400));
    assert_eq!(config.process.data_dir, None);
    assert!(config.process.leave_on_terminate);
    assert_eq!(config.process.log_filter, schema::DEFAULT_LOG_FILTER);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let engine = Limits::default();
    assert_eq!(config.limits.events_per_origin, engine.events_per_origin);
    assert_eq!(
        config.limits.event_bytes_per_origin,
        engine.event_bytes_per_origin
    );
}

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
fn names_follow_the_grammar_and_host_names_are_not_bent() {
    assert!(mistakes(&["--name", "a b"], &[])[0].contains("--name"));
    assert!(mistakes(&["--cluster", "_muster_x"], &[])[0].contains("reserved"));
    let machine = FakeMachine {
        host: Some("bad host".to_owned()),
        ..FakeMachine::default()
    };
    let lines = refused(&machine, &["--insecure-plaintext"], &[]);
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("bad host") && lines[0].contains("--name"),
        "{lines:?}"
    );
}

#[test]
fn the_address_of_all_interfaces_is_never_advertised() {
    let machine = FakeMachine::with(&[
        ("lo", "127.0.0.1"),
        ("docker0", "172.17.0.1"),
        ("eth0", "fe80::1"),
        ("eth0", "169.254.0.9"),
        ("eth0", "10.0.0.5"),
        ("eth0", "fd00::5"),
    ]);
    let plain = "--insecure-plaintext";
    let advertised = |bind: &str| {
        config_on(&machine, &[plain, "--bind", bind], &[])
            .peers
            .advertise
            .to_string()
    };
    assert_eq!(advertised("0.0.0.0:7000"), "10.0.0.5:7000");
    assert_eq!(advertised("[::]:7000"), "[fd00::5]:7000");
    let only_bridge = FakeMachine::with(&[("docker0", "172.17.0.1")]);
    let config = config_on(&only_bridge, &[plain, "--bind", "0.0.0.0:0"], &[]);
    assert_eq!(config.peers.advertise, "172.17.0.1:0".parse().unwrap());
    let bound = "0.0.0.0:4567".parse().unwrap();
    assert_eq!(
        config.peers.advertise_at(bound),
        "172.17.0.1:4567".parse().unwrap()
    );
    let none = refused(
        &FakeMachine::default(),
        &[plain, "--bind", "0.0.0.0:1"],
        &[],
    );
    assert!(none[0].contains("set --advertise"), "{none:?}");
    let wild = mistakes(&["--advertise", "0.0.0.0:1"], &[]);
    assert!(wild[0].contains("cannot reach"), "{wild:?}");
}

#[test]
fn plaintext_is_refused_where_strangers_listen() {
    let plain = "--insecure-plaintext";
    let public = FakeMachine::with(&[("eth0", "10.0.0.5"), ("eth1", "203.0.113.9")]);
    for args in [
        [plain, "--bind", "203.0.113.9:7946"].as_slice(),
        &[plain, "--advertise", "203.0.113.9:7946"],
        &[plain, "--bind", "0.0.0.0:7946"],
    ] {
        let lines = refused(&public, args, &[]);
        assert!(
            lines[0].contains("203.0.113.9") && lines[0].contains("public"),
            "{lines:?}"
        );
    }
    config_on(&public, &[plain, "--bind", "10.0.0.5:7946"], &[]);
}

#[test]
fn the_default_socket_depends_on_the_user() {
    let user = FakeMachine {
        root: false,
        ..FakeMachine::default()
    };
    let plain = ["--insecure-plaintext"];
    let config = config_on(&user, &plain, &[("XDG_RUNTIME_DIR", "/run/user/7")]);
    assert_eq!(config.api.socket, Path::new("/run/user/7/muster/api.sock"));
    let lines = refused(&user, &plain, &[]);
    assert!(
        lines[0].contains("XDG_RUNTIME_DIR") && lines[0].contains("--socket"),
        "{lines:?}"
    );
    let long = format!("/{}", "x".repeat(107));
    assert!(mistakes(&["--socket", &long], &[])[0].contains("108 bytes"));
    let lines = mistakes(&["--socket", "/a", "--child-socket", "/a"], &[]);
    assert!(lines[0].contains("the API socket as well"), "{lines:?}");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let lines = mistakes(
        &[
            "--event-payload-limit",
            "1MiB",
            "--event-bytes-per-origin",
            "1MiB",
            "--event-bytes-total",
            "1MiB",
        ],
        &[],
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("less than 4 times"), "{lines:?}");
    let lines = mistakes(&["--event-bytes-total", "16MiB"], &[]);
    assert!(
        lines[0].contains("less than event-bytes-per-origin 32MiB"),
        "{lines:?}"
    );
    let lines = mistakes(
        &[
            "--role",
            "a",
            "--role",
            "a=10.0.0.1:1",
            "--tag",
            "k=1",
            "--tag",
            "k=2",
        ],
        &[],
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    for args in [
        ["--event-payload-limit", "2MiB"],
        ["--reap-left", "0s"],
        ["--drain-timeout", "61s"],
        ["--api-threads", "0"],
        ["--socket-group", "nobody-here"],
        ["--log-filter", "inof"],
        ["--leave-on-terminate", "maybe"],
    ] {
        assert_eq!(mistakes(&args, &[]).len(), 1, "{args:?}");
    }
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
fn the_effective_settings_tell_their_source_and_no_secret() {
    let line = keys::token("prod", &["seed"]);
    let (_dir, path) = file("reap-left = \"3m\"\ntag = { zone = \"a\" }\n");
    let env = [("MUSTER_TOKEN", line.as_str()), ("MUSTER_JOIN", "x,y")];
    let text = printed(&["--print-config", "--config", &path, "--name", "n"], &env);
    for part in [
        "name = \"n\" # flag\n",
        "cluster = \"prod\" # default\n",
        "join = [\"x\", \"y\"] # environment\n",
        &format!("reap-left = \"3m\" # file {path}\n"),
        "reap-failed = \"24h\" # default\n",
        "advertise = \"127.0.0.1:7946\" # default\n",
        "# token (redacted, environment)\n",
        "# data-dir is not set\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains(&line) && !text.contains(&KEY[..8]), "{text}");
    let table: toml::Table = text.parse().unwrap();
    for key in table.keys() {
        assert!(schema::find(key).is_some(), "{key}");
    }
}

#[test]
fn help_version_and_check_print() {
    let help = printed(&["--help"], &[]);
    for setting in schema::settings().filter(|setting| setting.has_flag()) {
        assert!(
            help.contains(&format!("--{}", setting.name)),
            "{}",
            setting.name
        );
    }
    let version = printed(&["--version"], &[]);
    assert_eq!(version, format!("musterd {}\n", env!("CARGO_PKG_VERSION")));
    let text = printed(&["--check-config", "--insecure-plaintext"], &[]);
    assert!(
        text.contains("is fine") && text.contains("NOT ENCRYPTED"),
        "{text}"
    );
    command().debug_assert();
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

#[test]
fn serf_rpc_wants_loopback_or_a_token_file() {
    assert!(config(&[], &[]).serf_rpc.is_none());
    let open = config(&["--serf-rpc=127.0.0.1:7373"], &[]);
    let rpc = open.serf_rpc.unwrap();
    assert!(rpc.auth.is_none() && !rpc.show_keys);
    let public = mistakes(&["--serf-rpc=10.0.0.5:7373"], &[]);
    assert!(
        public[0].contains("takes a serf-rpc-auth-file"),
        "{public:?}"
    );
    let (_dir, path) = file("s3cret\n");
    let auth = format!("--serf-rpc-auth-file={path}");
    let loose = mistakes(&["--serf-rpc=127.0.0.1:7373", &auth], &[]);
    assert!(
        loose[0].contains("chmod 600") && !loose[0].contains("s3cret"),
        "{loose:?}"
    );
    private(&path);
    let config = config(&["--serf-rpc=10.0.0.5:7373", &auth], &[]);
    assert!(config.serf_rpc.is_some_and(|rpc| rpc.auth.is_some()));
    let warned = config
        .warnings
        .iter()
        .any(|w| w.contains("WITHOUT ENCRYPTION"));
    assert!(warned, "{:?}", config.warnings);
}
