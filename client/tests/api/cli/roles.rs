//! `muster resolve`, `roles` and `watch role`.

use muster::pb;

use super::with;
use crate::fake::{Fake, Script};
use crate::roles::set;

#[test]
fn watching_and_resolving_roles() {
    let fake = Fake::start();
    fake.plan(|plan| {
        let sets = || Script::then_hang([set("e1", &["a"]), set("e2", &[])]);
        plan.resolve
            .extend([sets(), sets(), sets(), sets(), sets()]);
        plan.roles
            .push_back(Script::then_end([pb::WatchRolesResponse {
                position: None,
                roles: vec![pb::RoleSummary {
                    role: "web".into(),
                    alive: 2,
                    oldest_member: "a".into(),
                    ..pb::RoleSummary::default()
                }],
                heartbeat: false,
            }]));
    });
    let ran = with(&fake, &["resolve", "web", "--format", "json"]);
    let object = ran.json();
    assert_eq!(object["role"], "web");
    let endpoint = &object["endpoints"][0];
    assert_eq!(endpoint["member"], "a");
    assert_eq!(endpoint["address"], "127.0.0.1");
    assert_eq!(endpoint["port"], 8080);
    let ran = with(
        &fake,
        &["resolve", "web", "--policy", "random", "--client-key", "k"],
    );
    assert!(
        ran.out.contains("a       127.0.0.1:8080  alive"),
        "{}",
        ran.out
    );
    assert_eq!(
        fake.plan(|plan| plan.resolve_requests[1].policy()),
        pb::SelectionPolicy::Random
    );
    with(&fake, &["resolve", "web", "--nearest", "--near", "b"]);
    let asked = fake.plan(|plan| plan.resolve_requests[2].clone());
    assert_eq!(asked.policy(), pb::SelectionPolicy::Nearest);
    assert_eq!(asked.near, "b");
    let ran = with(&fake, &["watch", "role", "web", "--timeout", "200ms"]);
    assert_eq!(ran.out, "web: a 127.0.0.1:8080\nweb: no member serves it\n");
    let ran = with(
        &fake,
        &[
            "watch",
            "role",
            "web",
            "--timeout",
            "200ms",
            "--format",
            "json",
        ],
    );
    assert_eq!(ran.lines()[0]["type"], "set");
    assert_eq!(ran.lines()[0]["endpoints"][0]["port"], 8080);
    let ran = with(&fake, &["roles"]);
    assert_eq!(
        ran.out,
        "ROLE  ALIVE  SUSPECT  FAILED  OLDEST\nweb   2      0        0       a\n"
    );
}
