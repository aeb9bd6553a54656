//! Watching roles: the same answer is not told twice.

use muster::{RoleUpdate, RolesUpdate, pb};
use pb::resolve_role_response::Event;

use crate::fake::{Fake, Script};

pub(crate) fn set(etag: &str, members: &[&str]) -> pb::ResolveRoleResponse {
    let endpoints = members.iter().map(|member| pb::Endpoint {
        member: (*member).into(),
        address: "127.0.0.1".into(),
        port: 8080,
        status: pb::MemberStatus::Alive.into(),
        ..pb::Endpoint::default()
    });
    pb::ResolveRoleResponse {
        position: None,
        etag: etag.into(),
        event: Some(Event::Set(pb::EndpointSet {
            role: "web".into(),
            role_known: !members.is_empty(),
            endpoints: endpoints.collect(),
            total: u32::try_from(members.len()).unwrap(),
            degraded: false,
        })),
    }
}

fn heartbeat(etag: &str) -> pb::ResolveRoleResponse {
    pb::ResolveRoleResponse {
        position: None,
        etag: etag.into(),
        event: Some(Event::Heartbeat(pb::ResolveHeartbeat {})),
    }
}

fn request() -> pb::ResolveRoleRequest {
    pb::ResolveRoleRequest {
        role: "web".into(),
        ..pb::ResolveRoleRequest::default()
    }
}

#[tokio::test]
async fn an_equal_set_is_not_repeated_after_a_break() {
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.resolve
            .push_back(Script::then_end([set("e1", &["a"]), heartbeat("e1")]));
        plan.resolve
            .push_back(Script::then_hang([set("e1", &["a"]), set("e2", &["b"])]));
    });
    let mut watch = fake.client().watch_role(request());
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(match watch.next().await.unwrap() {
            RoleUpdate::Set(set) => set.endpoints[0].member.clone(),
            RoleUpdate::Disconnected(_) => "gone".into(),
            RoleUpdate::Reconnected => "back".into(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["a", "gone", "back", "b"]);
}

#[tokio::test]
async fn resolving_once_asks_for_one_message() {
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.resolve
            .push_back(Script::then_hang([set("e1", &["a", "b"])]))
    });
    let found = fake.client().resolve(request()).await.unwrap();
    assert_eq!(found.endpoints.len(), 2);
    assert!(fake.plan(|plan| plan.resolve_requests[0].once));
}

#[tokio::test]
async fn the_list_of_roles_is_told_when_it_changes() {
    let list = |roles: &[&str], heartbeat| pb::WatchRolesResponse {
        position: None,
        roles: roles
            .iter()
            .map(|role| pb::RoleSummary {
                role: (*role).into(),
                ..pb::RoleSummary::default()
            })
            .collect(),
        heartbeat,
    };
    let fake = Fake::start();
    fake.plan(|plan| {
        plan.roles
            .push_back(Script::then_end([list(&["a"], false), list(&[], true)]));
        plan.roles
            .push_back(Script::then_hang([list(&["a"], false), list(&[], false)]));
    });
    let mut watch = fake.client().watch_roles();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(match watch.next().await.unwrap() {
            RolesUpdate::Roles(roles) => roles.len().to_string(),
            RolesUpdate::Disconnected(_) => "gone".into(),
            RolesUpdate::Reconnected => "back".into(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["1", "gone", "back", "0"]);
}
