//! Where keys come from, and what is said of them.

use super::*;

fn keys(config: &Config) -> Vec<String> {
    match &config.peers.security {
        Security::Sealed(keys) => keys.iter().map(|key| key.to_text().to_string()).collect(),
        Security::Plaintext => Vec::new(),
    }
}

#[test]
fn a_keyring_file_goes_before_the_key_that_it_began_with() {
    let (_first, key_file) = file(KEY);
    let (dir, ring) = file(&format!("[\"{OTHER_KEY}\", \"{KEY}\"]"));
    private(&key_file);
    private(&ring);
    let machine = FakeMachine::default();
    let of = |args: &[&str]| config_on(&machine, args, &[]);
    let alone = of(&["--keyring-file", &ring]);
    assert_eq!(keys(&alone), [OTHER_KEY, KEY]);
    assert!(alone.peers.keys_from_file);
    let both = of(&["--keyring-file", &ring, "--key-file", &key_file]);
    assert_eq!(keys(&both), [OTHER_KEY, KEY]);
    let missing = dir.path().join("missing").display().to_string();
    let begins = of(&["--keyring-file", &missing, "--key-file", &key_file]);
    assert_eq!(keys(&begins), [KEY]);
    assert!(!begins.peers.keys_from_file);
    assert_eq!(begins.peers.keyring_file, Some(missing.clone().into()));
    let lines = refused(&machine, &["--keyring-file", &missing], &[]);
    assert!(
        lines.len() == 1 && lines[0].contains("--key-file") && lines[0].contains(&missing),
        "{lines:?}"
    );
    let lines = mistakes(&["--keyring-file", &ring], &[]);
    assert!(lines[0].contains("a key or token was given"), "{lines:?}");
}

#[test]
fn a_bad_keyring_file_is_named_and_never_shown() {
    let (_dir, half) = file(&format!("[\"{KEY}\", \"ZmVkY2"));
    private(&half);
    let lines = refused(&FakeMachine::default(), &["--keyring-file", &half], &[]);
    assert!(
        lines[0].contains(&half) && lines[0].contains("line 1"),
        "{lines:?}"
    );
    assert!(!lines[0].contains("ZmVk"), "{lines:?}");
    let (_dir, open) = file(&format!("[\"{KEY}\"]"));
    let lines = refused(&FakeMachine::default(), &["--keyring-file", &open], &[]);
    assert!(lines[0].contains("chmod 600"), "{lines:?}");
}

#[test]
fn a_stage_of_encryption_needs_a_key_and_a_private_network() {
    let (_dir, key_file) = file(KEY);
    private(&key_file);
    let machine = FakeMachine::default();
    for (word, stage) in [
        ("receive", Stage::Receive),
        ("send", Stage::Send),
        ("on", Stage::On),
    ] {
        let args = ["--key-file", &key_file, "--encryption", word];
        assert_eq!(
            config_on(&machine, &args, &[]).peers.encryption,
            Some(stage)
        );
    }
    let lines = mistakes(&["--encryption", "send"], &[]);
    assert!(lines[0].contains("no key"), "{lines:?}");
    let lines = refused(
        &machine,
        &["--key-file", &key_file, "--encryption", "off"],
        &[],
    );
    assert!(lines[0].contains("receive"), "{lines:?}");
    let public = "203.0.113.9:7946";
    let args = [
        "--key-file",
        &key_file,
        "--advertise",
        public,
        "--encryption",
    ];
    let lines = refused(&machine, &[&args[..], &["send"]].concat(), &[]);
    assert!(
        lines[0].contains("public") && lines[0].contains("encryption"),
        "{lines:?}"
    );
    let config = config_on(&machine, &[&args[..], &["on"]].concat(), &[]);
    assert!(
        config.peers.public.is_some(),
        "and no stage will be set at run time"
    );
}

#[test]
fn without_a_key_the_way_to_one_is_told() {
    let lines = refused(&FakeMachine::default(), &[], &[]);
    assert_eq!(lines.len(), 1);
    for word in [
        "muster keygen",
        "muster token",
        "--key-file",
        "MUSTER_TOKEN",
        "--insecure-plaintext",
    ] {
        assert!(lines[0].contains(word), "{word}: {lines:?}");
    }
}

#[test]
fn keys_come_from_a_file_the_first_one_seals() {
    let (_dir, path) = file(&format!("# ring\n{KEY}\n\n{OTHER_KEY}\n{KEY}\n"));
    let config = config_on(&FakeMachine::default(), &["--key-file", &path], &[]);
    let Security::Sealed(keys) = &config.peers.security else {
        panic!("plaintext");
    };
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0].as_bytes(), b"0123456789abcdef0123456789abcdef");
    assert!(
        config.warnings[0].contains("can be read by other users"),
        "{:?}",
        config.warnings
    );
    assert!(
        !format!("{config:?}").contains("0123456789abcdef"),
        "{config:?}"
    );
    private(&path);
    let config = config_on(&FakeMachine::default(), &["--key-file", &path], &[]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn bad_keys_are_told_without_showing_them() {
    for (text, why) in [
        ("c2hvcnQ=", "5 bytes"),
        ("no base64!", "not base64"),
        ("\n# none\n", "holds no key"),
    ] {
        let (_dir, path) = file(text);
        let text = refused(&FakeMachine::default(), &["--key-file", &path], &[]).join("\n");
        assert!(text.contains(why) && !text.contains("c2hvcnQ"), "{text}");
    }
    let lines = refused(&FakeMachine::default(), &["--key-file", "/no/such"], &[]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("cannot open it"), "{lines:?}");
}

pub(super) fn token(cluster: &str, seeds: &[&str]) -> String {
    let token = muster_proto::token::Token {
        cluster: cluster.to_owned(),
        key: muster_proto::token::KeyBytes::parse(KEY).unwrap(),
        seeds: seeds.iter().map(|seed| (*seed).to_owned()).collect(),
    };
    token.encode().unwrap().to_string()
}

#[test]
fn a_token_brings_cluster_key_and_seeds() {
    let line = token("prod", &["10.0.0.1:7946", "seed"]);
    let machine = FakeMachine::default();
    let config = config_on(
        &machine,
        &["--join", "seed", "--join", "x"],
        &[("MUSTER_TOKEN", &line)],
    );
    assert_eq!(config.node.cluster, "prod");
    assert_eq!(config.peers.join, ["seed", "x", "10.0.0.1:7946"]);
    assert!(matches!(&config.peers.security, Security::Sealed(keys) if keys.len() == 1));
    let (_dir, path) = file(&format!("{line}\n"));
    let config = config_on(
        &machine,
        &["--token-file", &path],
        &[("MUSTER_TOKEN", "garbage")],
    );
    assert_eq!(config.node.cluster, "prod");
}

#[test]
fn tokens_that_do_not_fit_are_refused_unseen() {
    let line = token("prod", &[]);
    let machine = FakeMachine::default();
    let cut = &line[..line.len() - 3];
    let lines = refused(&machine, &[], &[("MUSTER_TOKEN", cut)]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("damaged") && !lines[0].contains(cut),
        "{lines:?}"
    );
    let lines = refused(&machine, &["--cluster", "dev"], &[("MUSTER_TOKEN", &line)]);
    assert!(
        lines[0].contains("the token is of cluster \"prod\""),
        "{lines:?}"
    );
    let lines = refused(
        &machine,
        &["--insecure-plaintext"],
        &[("MUSTER_TOKEN", &line)],
    );
    assert!(
        lines[0].contains("a key or token was given as well"),
        "{lines:?}"
    );
    let (_dir, path) = file(KEY);
    let lines = refused(&machine, &["--key-file", &path], &[("MUSTER_TOKEN", &line)]);
    assert!(lines[0].contains("a token was given as well"), "{lines:?}");
    let env = [("MUSTER_TOKEN", line.as_str()), ("MUSTER_TOKEN_FILE", "/x")];
    assert!(refused(&machine, &[], &env)[0].contains("MUSTER_TOKEN was given"));
}
