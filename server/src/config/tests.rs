mod addresses;
mod keys;
mod serfnode;
mod sources;

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
