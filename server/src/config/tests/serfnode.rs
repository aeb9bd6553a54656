//! serfnode's variables and its serfnode.yml.

use std::io::Write as _;

use super::*;

fn yml(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// With this serfnode.yml.
fn with(text: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let file = yml(text);
    let flag = format!("--serfnode-yml={}", file.path().display());
    let args = [&["--insecure-plaintext", &flag], args].concat();
    match load_on(&FakeMachine::default(), &args, env) {
        Ok(Request::Run(config)) => Ok(*config),
        Ok(Request::Print(text)) => panic!("{text}"),
        Err(problems) => {
            let path = file.path().display().to_string();
            let line = |problem: &Problem| problem.to_string().replace(&path, "FILE");
            Err(problems.0.iter().map(line).collect())
        }
    }
}

const YML: &str = "serfnode:\n  role: web\n  serf_ip: 10.0.0.1\n  serf_port: 7950\n  \
                   service_port: 80\nchildren:\n- a: {image: x}\n";

#[test]
fn the_file_gives_settings_and_children() {
    let config = with(YML, &[], &[]).unwrap();
    let role = &config.node.roles[0];
    assert_eq!((role.name.as_str(), role.service_port), ("web", 80));
    assert_eq!(config.peers.bind.to_string(), "0.0.0.0:7950");
    assert_eq!(
        config.peers.advertise_at(config.peers.bind).to_string(),
        "10.0.0.1:7950"
    );
    assert!(config.children.asked);
    assert_eq!(config.children.children.len(), 1);
    assert_eq!(config.children.stop_timeout, Duration::from_secs(8));
}

#[test]
fn variables_are_stronger_than_the_file_and_weaker_than_ours() {
    let env = [
        ("ROLE", "db"),
        ("SERVICE_PORT", "5432"),
        ("MUSTER_ROLE_PORT", "1"),
        ("APP_VOLUMES", "[/v]"),
        ("APP_PORTS", ""),
        ("DOCKER_RUN", "nginx"),
    ];
    let config = with(YML, &["--bind=0.0.0.0:9"], &env).unwrap();
    let role = &config.node.roles[0];
    assert_eq!((role.name.as_str(), role.service_port), ("db", 1));
    assert_eq!(config.peers.bind.port(), 9);
    assert_eq!(config.children.children[0].volumes.len(), 1);
    assert_eq!(config.children.run.unwrap().child.image, "nginx");
}

#[test]
fn outside_of_legacy_mode_bare_variables_are_nothing() {
    let env = [("ROLE", "db"), ("SERF_PORT", "x"), ("DOCKER_RUN", "--bad")];
    let config = config_on(&FakeMachine::default(), &["--insecure-plaintext"], &env);
    assert!(config.node.roles.is_empty());
    assert!(!config.children.asked);
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = "serfnode: {serf_ip: nowhere!}\nchildren:\n- a: {imago: x}\n";
    let env = [
        ("SERF_PORT", "many"),
        ("APP_PORTS", "[x]"),
        ("ROLE", "tcp://10.0.0.1:80"),
    ];
    let problems = with(text, &[], &env).unwrap_err();
    let expected = [
        "environment APP_PORTS: ",
        "file FILE: line 3: child \"a\" has no key \"imago\"; did you mean image?",
        "file FILE: line 3: child \"a\" has no image",
        "environment SERF_PORT \"0.0.0.0:many\": ",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}\n{expected}");
    }
    let problems = with("serfnode: {serf_ip: 'nowhere!'}\n", &[], &[]).unwrap_err();
    assert!(
        problems[0].starts_with("file FILE serfnode.serf_ip \"nowhere!\": "),
        "{problems:?}"
    );
    let links = with("", &[], &[("ROLE", "tcp://10.0.0.1:80")]).unwrap();
    assert!(
        links
            .warnings
            .iter()
            .any(|warning| warning.contains("service link"))
    );
}

#[test]
fn children_need_an_engine_and_find_that_of_serfnode() {
    let config = with(YML, &[], &[]).unwrap();
    assert_eq!(
        config.docker.host.to_string(),
        "unix:///host/run/docker.sock"
    );
    let problems = with(YML, &["--docker=off"], &[]).unwrap_err();
    assert!(
        problems[0].starts_with("flag --docker \"off\": it is off, but"),
        "{problems:?}"
    );
    assert!(with("", &["--docker=off"], &[]).is_ok());
}

#[test]
fn a_reload_takes_the_children_of_the_file() {
    let before = with(YML, &[], &[]).unwrap();
    let after = with("children:\n- b: {image: y}\n", &[], &[]).unwrap();
    let merged = before.with_live(&after);
    assert_eq!(merged.children, after.children);
    assert_eq!(merged.node.roles, before.node.roles);
}
