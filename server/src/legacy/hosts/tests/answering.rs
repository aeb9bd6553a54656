//! Which roles get lines, and with whose address.

use super::*;

#[test]
fn the_oldest_alive_member_answers() {
    let at = |name: &str, started: u64, ip: &str, status: Status| {
        let mut member = with_status(member(name, started, &["web"]), status);
        member.roles[0].service_ip = ip.parse().unwrap();
        Arc::new(member)
    };
    let failed = at("a", 1, "10.0.0.1", Status::Failed);
    let suspect = at("c", 2, "10.0.0.3", Status::Suspect);
    let alive = at("b", 2, "::ffff:10.0.0.2", Status::Alive);
    let young = at("d", 9, "10.0.0.4", Status::Alive);
    let all = [failed, young.clone(), suspect.clone(), alive];
    assert_eq!(answers(&all), wanted(&[("web", "10.0.0.2")]));
    assert_eq!(answers(&[young, suspect]), wanted(&[("web", "10.0.0.3")]));
    let mut sick = member("s", 1, &["web"]);
    sick.roles[0].healthy = false;
    assert_eq!(answers(&[Arc::new(sick)]), Answers::new());
    let nowhere = at("e", 1, "0.0.0.0", Status::Alive);
    assert_eq!(answers(&[nowhere]), Answers::new());
    assert_eq!(answers(&[]), Answers::new());
}

#[test]
fn only_names_of_hosts_get_lines() {
    for name in ["web", "web-1", "a.b.c", "1a", "WEB", "x1.2x"] {
        assert!(is_host_name(name), "{name}");
    }
    for name in [
        "",
        "a_b",
        "1",
        "10.0.0.1",
        "a.1",
        "0x7f",
        "a..b",
        "-a",
        "a-",
        "a.-b",
        "a b",
        "a\nb",
        "#a",
        "localhost",
        "LocalHost",
        "x.localhost",
        "no_role",
    ] {
        assert!(!is_host_name(name), "{name}");
    }
    assert!(!is_host_name(&"a".repeat(64)));
    let roles = ["web", "Web", "a_b", "localhost"];
    let members = [Arc::new(member("n", 1, &roles))];
    assert_eq!(answers(&members), wanted(&[("Web", "127.0.0.1")]));
    let many: Vec<String> = (0..=ROLES_MAX).map(|n| format!("r{n:04}")).collect();
    let mut member = member("n", 1, &[]);
    let role = |name: &String| Role {
        name: name.clone(),
        service_ip: "10.0.0.1".parse().unwrap(),
        service_port: 1,
        since_unix_ms: 1,
        container: None,
        healthy: true,
    };
    member.roles = many.iter().map(role).collect();
    let answers = answers(&[Arc::new(member)]);
    assert_eq!(answers.len(), ROLES_MAX);
    assert!(!answers.contains_key(&many[ROLES_MAX]));
}
