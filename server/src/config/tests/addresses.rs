//! Addresses, interfaces, and where the snapshot goes.

use super::*;

#[test]
fn an_interface_gives_the_address() {
    let machine = FakeMachine::with(&[
        ("lo", "127.0.0.1"),
        ("eth0", "fe80::1"),
        ("eth0", "fd00::5"),
        ("eth0", "10.0.0.5"),
        ("eth1", "169.254.0.9"),
        ("eth1", "fe80::2"),
        ("eth2", "fd00::7"),
    ]);
    let plain = "--insecure-plaintext";
    let bound = |args: &[&str]| {
        let args: Vec<&str> = [&[plain], args].concat();
        let peers = config_on(&machine, &args, &[]).peers;
        assert_eq!(peers.bind, peers.advertise);
        peers.bind.to_string()
    };
    assert_eq!(bound(&["--iface", "eth0"]), "10.0.0.5:7946");
    assert_eq!(
        bound(&["--iface", "eth0", "--bind", "0.0.0.0:80"]),
        "10.0.0.5:80"
    );
    assert_eq!(
        bound(&["--iface", "eth0", "--bind", "[::]:80"]),
        "[fd00::5]:80"
    );
    assert_eq!(
        bound(&["--iface", "eth0", "--bind", "[fd00::5]:80"]),
        "[fd00::5]:80"
    );
    assert_eq!(bound(&["--iface", "eth2"]), "[fd00::7]:7946");
    let wrong = |args: &[&str], words: &[&str]| {
        let lines = refused(&machine, &[&[plain], args].concat(), &[]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        for word in words {
            assert!(lines[0].contains(word), "{word} is missing: {lines:?}");
        }
    };
    wrong(
        &["--iface", "eth9"],
        &["--iface", "eth9", "lo (127.0.0.1)", "eth2 (fd00::7)"],
    );
    wrong(&["--iface", "eth1"], &["link-local", "eth0 (10.0.0.5)"]);
    wrong(
        &["--iface", "eth0", "--bind", "10.0.0.6:80"],
        &["10.0.0.6:80", "10.0.0.5"],
    );
    wrong(
        &["--mdns-iface", "eth9"],
        &["--mdns-iface", "none with an address"],
    );
}

#[test]
fn a_name_to_advertise_is_resolved_for_the_family_of_bind() {
    let machine = FakeMachine::with(&[("eth0", "10.0.0.5"), ("eth0", "fd00::5")]);
    let advertised = |bind: &str, advertise: &str| {
        let args = [
            "--insecure-plaintext",
            "--bind",
            bind,
            "--advertise",
            advertise,
        ];
        config_on(&machine, &args, &[]).peers.advertise.to_string()
    };
    assert_eq!(advertised("10.0.0.5:1", "both.example"), "10.0.0.9:0");
    assert_eq!(advertised("[::]:1", "both.example:80"), "[fd00::9]:80");
    assert_eq!(advertised("[fd00::5]:1", "six.example"), "[fd00::9]:0");
    assert_eq!(advertised("10.0.0.5:1", "10.0.0.7"), "10.0.0.7:0");
    let wrong = |bind: &str, advertise: &str, word: &str| {
        let args = [
            "--insecure-plaintext",
            "--bind",
            bind,
            "--advertise",
            advertise,
        ];
        let lines = refused(&machine, &args, &[]);
        assert!(lines[0].contains(word), "{lines:?}");
    };
    wrong("10.0.0.5:1", "six.example", "no IPv4 address");
    wrong("10.0.0.5:1", "nobody.example", "no such host");
    wrong(
        "10.0.0.5:1",
        "not a name",
        "neither an IP address nor a host name",
    );
}

#[test]
fn both_families_are_served_by_one_socket_so_either_is_advertised() {
    let machine = FakeMachine::with(&[("eth0", "10.0.0.5"), ("eth0", "fe80::1")]);
    let args = ["--insecure-plaintext", "--bind", "[::]:7000"];
    let peers = config_on(&machine, &args, &[]).peers;
    assert_eq!(peers.advertise, "10.0.0.5:7000".parse().unwrap());
    let only_six = FakeMachine::with(&[("eth0", "fd00::5")]);
    let lines = refused(
        &only_six,
        &["--insecure-plaintext", "--bind", "0.0.0.0:1"],
        &[],
    );
    assert!(lines[0].contains("set --advertise"), "{lines:?}");
}

#[test]
fn the_snapshot_is_in_the_data_directory_unless_it_is_given() {
    let plain = "--insecure-plaintext";
    let path = |args: &[&str]| {
        let args: Vec<&str> = [&[plain], args].concat();
        let config = config_on(&FakeMachine::default(), &args, &[]);
        config
            .process
            .snapshot
            .map(|path| path.display().to_string())
    };
    assert_eq!(path(&[]), None);
    assert_eq!(path(&["--data-dir", "/d"]).as_deref(), Some("/d/snapshot"));
    let both = ["--data-dir", "/d", "--snapshot", "/s/x"];
    assert_eq!(path(&both).as_deref(), Some("/s/x"));
    assert_eq!(path(&["--snapshot", "x"]).as_deref(), Some("x"));
}

#[test]
fn discovery_is_off_unless_it_has_a_name() {
    let machine = FakeMachine::with(&[("eth0", "10.0.0.5"), ("eth1", "10.0.1.5")]);
    let plain = "--insecure-plaintext";
    let found = |args: &[&str]| {
        let args: Vec<&str> = [&[plain], args].concat();
        config_on(&machine, &args, &[]).peers.discovery
    };
    assert_eq!(found(&[]), None);
    assert_eq!(found(&["--mdns-iface", "eth1"]), None);
    let named = found(&["--discover", "shop"]).unwrap();
    assert_eq!((named.name.as_str(), named.interface), ("shop", None));
    let on = found(&["--discover", "shop", "--iface", "eth0"]).unwrap();
    assert_eq!(on.interface.as_deref(), Some("eth0"));
    let on = found(&[
        "--discover",
        "shop",
        "--iface",
        "eth0",
        "--mdns-iface",
        "eth1",
    ])
    .unwrap();
    assert_eq!(on.interface.as_deref(), Some("eth1"));
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
