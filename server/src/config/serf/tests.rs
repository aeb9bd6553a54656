use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;

use super::super::tests::FakeMachine;
use super::super::{Config, Inputs, Problems, Request, Security, load_serf_agent};
use super::table::OPTIONS;
use super::*;

/// What `serf agent -h` of Debian's serf 0.9.4 prints.
const HELP: &str = include_str!("../../../tests-data/serf/agent-help.txt");

/// The keys that this serf knows in a file.
const KEYS: &str = include_str!("../../../tests-data/serf/agent-keys.txt");

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Request, Problems> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    load_serf_agent(&Inputs {
        args: &args,
        environment: &env.iter().map(pair).collect(),
        machine: &FakeMachine::with(&[("eth0", "10.0.0.7")]),
    })
}

fn config(args: &[&str]) -> Config {
    match load(args, &[("MUSTER_INSECURE_PLAINTEXT", "true")]).unwrap() {
        Request::Run(config) => *config,
        Request::Print(text) => panic!("{text}"),
    }
}

fn mistakes(args: &[&str]) -> Vec<String> {
    let refused = load(args, &[("MUSTER_INSECURE_PLAINTEXT", "true")]);
    let problems = refused.map(|_request| ()).unwrap_err();
    problems.0.iter().map(ToString::to_string).collect()
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn no_flag_and_no_key_of_serf_is_forgotten() {
    let flags: BTreeSet<&str> = OPTIONS.iter().filter_map(|option| option.flag).collect();
    let listed = HELP.lines().filter_map(|line| line.strip_prefix("  -"));
    let listed: BTreeSet<&str> = listed
        .filter_map(|line| line.split([' ', '=']).next())
        .filter(|flag| !flag.is_empty())
        .collect();
    assert!(listed.len() > 25, "{listed:?}");
    let missing: Vec<_> = listed.difference(&flags).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let keys: BTreeSet<&str> = OPTIONS.iter().filter_map(|option| option.key).collect();
    let missing: Vec<_> = KEYS.lines().filter(|key| !keys.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Of serf's newer releases, or not in its help.
    let more: BTreeSet<&str> = flags.difference(&listed).copied().collect();
    assert_eq!(
        more,
        BTreeSet::from([
            "mdns-disable-ipv4",
            "mdns-disable-ipv6",
            "mdns-iface",
            "replay"
        ])
    );
    let keys: BTreeSet<&str> = keys
        .into_iter()
        .filter(|key| !KEYS.lines().any(|known| known == *key))
        .collect();
    assert_eq!(
        keys,
        BTreeSet::from([
            "mdns.disable_ipv4",
            "mdns.disable_ipv6",
            "mdns.interface",
            "validate_node_names"
        ])
    );
}

#[test]
fn options_are_known_by_one_name_each() {
    for names in [
        OPTIONS
            .iter()
            .filter_map(|option| option.flag)
            .collect::<Vec<_>>(),
        OPTIONS.iter().filter_map(|option| option.key).collect(),
        OPTIONS.iter().map(SerfOption::id).collect(),
    ] {
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
    for option in OPTIONS {
        if let Effect::To(name, _) | Effect::Secret(name) = option.effect {
            assert!(schema::find(name).is_some(), "{name}");
        }
    }
}

#[test]
fn the_page_tells_of_every_option() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/serf.md")).unwrap();
    for option in OPTIONS {
        for name in [
            option.flag.map(|flag| format!("`-{flag}`")),
            option.key.map(|key| format!("`{key}`")),
        ] {
            let name = name.unwrap_or_default();
            assert!(page.contains(&name), "{name}");
        }
    }
}

#[test]
fn without_options_it_is_an_agent_of_serf() {
    let config = config(&[]);
    assert_eq!(config.peers.bind, "0.0.0.0:7946".parse().unwrap());
    assert_eq!(config.peers.advertise, "10.0.0.7:7946".parse().unwrap());
    assert_eq!(config.api.socket.to_str(), Some("/run/muster/api.sock"));
    assert!(config.process.serf_exit_codes && config.process.leave_on_terminate);
    assert!(config.process.leave_on_interrupt);
    let refused = load(&[], &[]).map(|_request| ()).unwrap_err().to_string();
    for word in [
        "-encrypt",
        "-keyring-file",
        "MUSTER_TOKEN",
        "MUSTER_INSECURE_PLAINTEXT",
    ] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
}

#[test]
fn flags_are_written_in_any_way_of_go() {
    for args in [
        &["-node=n", "-bind=127.0.0.1:8", "-disable-compression"][..],
        &[
            "--node",
            "n",
            "--bind",
            "127.0.0.1:8",
            "--disable-compression=true",
        ],
        &[
            "-node",
            "old",
            "-node",
            "n",
            "-bind",
            "127.0.0.1:8",
            "-disable-compression=T",
            "--",
        ],
    ] {
        let config = config(args);
        assert_eq!(config.node.name, "n", "{args:?}");
        assert_eq!(config.peers.bind, "127.0.0.1:8".parse().unwrap());
    }
    let ignored = config(&["-node", "n", "word", "-bind", "nonsense"]);
    assert!(
        ignored
            .warnings
            .iter()
            .any(|line| line.contains("word -bind nonsense"))
    );
}

#[test]
fn options_become_settings() {
    let dir = tempfile::tempdir().unwrap();
    let tags = dir.path().join("tags").display().to_string();
    let config = config(&[
        "-node=web-1",
        "-role=web",
        "-tag=dc=east,a",
        "-tag=x=1",
        "-tag=x=2",
        "-tags-file",
        &tags,
        "-bind=10.0.0.7",
        "-advertise=10.0.0.8",
        "-join=a",
        "-join=b:7",
        "-retry-join=c",
        "-log-level=debug",
        "-profile=wan",
        "-protocol=4",
        "-broadcast-timeout=7s",
        "-disable-compression",
    ]);
    assert_eq!(config.node.name, "web-1");
    let tag = |key: &str| config.node.tags.get(key).map(String::as_str);
    assert_eq!(
        (tag("role"), tag("dc"), tag("x")),
        (Some("web"), Some("east,a"), Some("2"))
    );
    assert_eq!(config.node.tags_file.as_deref(), Some(tags.as_ref()));
    assert_eq!(config.peers.bind, "10.0.0.7:7946".parse().unwrap());
    assert_eq!(
        config.peers.advertise_at(config.peers.bind),
        "10.0.0.8:7946".parse().unwrap()
    );
    assert_eq!(config.peers.join, ["a", "b:7", "c"]);
    assert_eq!(
        config.process.log_filter,
        "info,musterd=debug,muster_engine=debug"
    );
    assert_eq!(config.process.leave_timeout.as_secs(), 7);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn files_count_in_order_and_flags_most() {
    let dir = tempfile::tempdir().unwrap();
    // The name of the first file is the greater one: the order of the flags counts.
    let one = file(
        &dir,
        "z.json",
        r#"{"node_name": "one", "tags": {"a": "1", "b": "1"}, "start_join": ["x"],
            "Log_Level": "warn", "leave_on_terminate": false, "discover": "", "protocol": null}"#,
    );
    let conf = tempfile::tempdir().unwrap();
    file(
        &conf,
        "2.json",
        r#"{"node_name": "two-2", "start_join": ["z"]}"#,
    );
    file(
        &conf,
        "1.json",
        r#"{"node_name": "two-1", "tags": {"b": "2"}, "start_join": ["y"]}"#,
    );
    file(&conf, "not.txt", "nonsense");
    fs::create_dir(conf.path().join("below.json")).unwrap();
    let conf = conf.path().display().to_string();
    let both = config(&[
        "-config-file",
        &one,
        "-config-dir",
        &conf,
        "-join=w",
        "-tag=c=3",
    ]);
    assert_eq!(both.node.name, "two-2");
    assert_eq!(both.peers.join, ["x", "y", "z", "w"]);
    let tags: Vec<_> = both
        .node
        .tags
        .iter()
        .map(|(k, v)| format!("{k}{v}"))
        .collect();
    assert_eq!(tags, ["a1", "b2", "c3"]);
    assert!(!both.process.leave_on_terminate);
    assert_eq!(
        both.process.log_filter,
        "warn,musterd=warn,muster_engine=warn"
    );
    let flag = config(&["-config-file", &one, "-node=flag"]);
    assert_eq!(flag.node.name, "flag");
}

#[test]
fn every_mistake_is_told_under_its_name_in_serf() {
    let dir = tempfile::tempdir().unwrap();
    let bad = file(
        &dir,
        "bad.json",
        r#"{"nope": 1, "bind": 7, "node_name": "a b", "start_join": ["ok", "no/pe"], "tags": ["x"]}"#,
    );
    let torn = file(&dir, "torn.json", r#"{"encrypt_key": "c2VjcmV0"#);
    let args = [
        "-nosuch",
        "value",
        "-log-level=loud",
        "-tag=x",
        "-protocol=9",
        "-config-file",
        &bad,
        "-config-file",
        &torn,
        "-config-file=/no/such/file",
        "-advertise=0.0.0.0:1",
        "-node",
    ];
    let told = mistakes(&args);
    for part in [
        "flag -nosuch: serf's agent has no such flag",
        "flag -log-level \"loud\"",
        "flag -tag \"x\": it is not KEY=VALUE",
        "flag -protocol \"9\": it is out of range",
        "flag -node: its value is missing",
        "flag -advertise \"0.0.0.0:1\"",
        "bad.json nope: serf's agent has no such key",
        "bad.json bind: a text is expected",
        "bad.json node_name \"a b\"",
        "bad.json start_join \"no/pe\"",
        "bad.json tags: an object of texts is expected",
        "torn.json: line 1 column",
        "file /no/such/file: cannot open it",
    ] {
        assert!(
            told.iter().any(|line| line.contains(part)),
            "{part}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 13, "{told:#?}");
    assert!(!told.concat().contains("c2VjcmV0"));
}

#[test]
fn keys_come_inline_by_file_and_from_a_json_file_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key = file(&dir, "key", KEY);
    let json = file(&dir, "a.json", &format!("{{\"encrypt_key\": \"{KEY}\"}}"));
    let by_file = format!("@{key}");
    let inline = ["-encrypt", KEY];
    for args in [
        &inline[..],
        &["-encrypt", &by_file],
        &["-config-file", &json],
    ] {
        let Request::Run(config) = load(args, &[]).unwrap() else {
            panic!("it prints");
        };
        assert!(matches!(&config.peers.security, Security::Sealed(keys) if keys.len() == 1));
        assert!(!format!("{config:?}").contains(KEY));
        let shows = config
            .warnings
            .iter()
            .any(|line| line.contains("list of processes"));
        assert_eq!(shows, args == inline, "{args:?}");
    }
    let refused = load(&["-encrypt=c2hvcnQgc2VjcmV0"], &[]).map(|_request| ());
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("-encrypt") && !refused.contains("c2hvcnQ"),
        "{refused}"
    );
}

#[test]
fn what_has_no_effect_is_told_where_it_matters() {
    let dir = tempfile::tempdir().unwrap();
    let json = file(
        &dir,
        "a.json",
        r#"{"statsd_addr": "10.0.0.1:8125", "retry_max_attempts": 3, "mdns": {"disable_ipv6": false},
            "user_event_size_limit": 512, "statsite_addr": "", "validate_node_names": true}"#,
    );
    let warnings = config(&["-config-file", &json, "-syslog", "-replay=false"]).warnings;
    let told: Vec<_> = ["statsd_addr", "retry_max_attempts", "-syslog"]
        .iter()
        .filter(|name| warnings.iter().any(|line| line.contains(**name)))
        .collect();
    assert_eq!(told.len(), 3, "{warnings:#?}");
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
}

#[test]
fn agents_on_one_host_have_a_socket_each() {
    let mut user = FakeMachine::default();
    user.root = false;
    let of = |rpc, env: &[(&str, &str)], machine: &FakeMachine| {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        socket(rpc, &env.iter().map(pair).collect(), machine)
    };
    let root = FakeMachine::default();
    assert_eq!(
        of("127.0.0.1:7373", &[], &root).unwrap(),
        "/run/muster/api.sock"
    );
    assert_eq!(
        of("127.0.0.1:7374", &[], &root).unwrap(),
        "/run/muster/serf-127.0.0.1-7374.sock"
    );
    let env = [("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/h")];
    assert_eq!(of(RPC, &env, &user).unwrap(), "/run/user/7/muster/api.sock");
    assert_eq!(of(RPC, &env[1..], &user).unwrap(), "/h/.muster/api.sock");
    assert_eq!(of(RPC, &[], &user), None);
}

#[test]
fn help_names_every_flag() {
    let Request::Print(text) = load(&["-h"], &[]).unwrap() else {
        panic!("it runs");
    };
    for flag in OPTIONS.iter().filter_map(|option| option.flag) {
        assert!(text.contains(&format!("  -{flag}")), "{flag}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_command_line_and_no_file_panics(
        args in prop::collection::vec("-{0,2}(node|tag|bind|join|h|x)?=?.{0,6}", 0..5),
        text in "\\PC{0,60}",
        key in "[a-z_.]{0,8}|mdns|tags|bind|start_join",
        value in "[0-9]{1,3}|true|null|\\[1\\]|\\{\"a\":1\\}|\"x\"",
    ) {
        let dir = tempfile::tempdir().unwrap();
        let garbage = file(&dir, "a.json", &text);
        let typed = file(&dir, "b.json", &format!("{{\"{key}\": {value}}}"));
        let mut all: Vec<&str> = vec!["-config-file", &garbage, "-config-file", &typed];
        all.extend(args.iter().map(String::as_str));
        // Whatever it says: it says it.
        let _told = load(&all, &[]);
    }
}
