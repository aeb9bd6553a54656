//! Where a role is served.

use muster_proto::v1::resolve_role_response::Event;
use muster_proto::v1::{
    EndpointSet, MemberFilter, ResolveRoleRequest, ResolveRoleResponse, RoleSummary,
    SelectionPolicy, WatchRolesRequest,
};
use muster_tests::harness::api::Watch;
use muster_tests::harness::wait::{DETECTION, SOON};
use muster_tests::harness::{Api, Cluster};
use tonic::Code;

use crate::{cluster_of, daemon};

/// Three daemons that serve role web, the first being the oldest.
async fn web() -> Cluster {
    cluster_of(3)
        .staggered()
        .each(|n, builder| builder.role(&format!("web=10.0.0.{}:80", n + 1)))
        .start()
        .await
}

fn role(role: &str) -> ResolveRoleRequest {
    ResolveRoleRequest {
        role: role.to_owned(),
        ..Default::default()
    }
}

/// The next set; heartbeats are passed over.
async fn next_set(watch: &mut Watch<ResolveRoleResponse>) -> EndpointSet {
    loop {
        let message = watch.next().await;
        assert!(message.position.is_some());
        if let Some(Event::Set(set)) = message.event {
            assert!(!message.etag.is_empty(), "a set without an etag");
            return set;
        }
    }
}

/// The answer of a call with `once`.
async fn once(api: &mut Api, mut request: ResolveRoleRequest) -> EndpointSet {
    request.once = true;
    let mut watch = api.resolve(request).await;
    let set = next_set(&mut watch).await;
    assert!(
        watch.try_next().await.unwrap().is_none(),
        "more than one message for `once`"
    );
    set
}

fn members(set: &EndpointSet) -> Vec<&str> {
    set.endpoints
        .iter()
        .map(|endpoint| endpoint.member.as_str())
        .collect()
}

#[tokio::test]
async fn a_role_resolves_oldest_first_on_every_daemon() {
    let cluster = web().await;
    for node in cluster.nodes() {
        let set = once(&mut node.api().await, role("web")).await;
        assert_eq!(members(&set), ["node-0", "node-1", "node-2"]);
        assert!(set.role_known && !set.degraded && set.total == 3);
        let first = &set.endpoints[0];
        assert_eq!((first.address.as_str(), first.port), ("10.0.0.1", 80));
        assert!(set.endpoints.is_sorted_by_key(|endpoint| {
            let since = endpoint.since.expect("no start time");
            (since.seconds, since.nanos)
        }));
    }
}

#[tokio::test]
async fn a_resolution_follows_the_death_and_the_return_of_the_oldest() {
    let mut cluster = web().await;
    let mut api = cluster.node(1).api().await;
    let mut watch = api.resolve(role("web")).await;
    assert_eq!(
        members(&next_set(&mut watch).await),
        ["node-0", "node-1", "node-2"]
    );
    cluster.node_mut(0).kill().await;
    follow(&mut watch, &["node-1", "node-2"]).await;
    // A restart loses seniority.
    cluster.node_mut(0).restart().await;
    follow(&mut watch, &["node-1", "node-2", "node-0"]).await;
}

/// Reads sets until one has these members in this order.
async fn follow(watch: &mut Watch<ResolveRoleResponse>, expected: &[&str]) {
    let reading = async { while members(&next_set(watch).await) != expected {} };
    tokio::time::timeout(DETECTION, reading)
        .await
        .unwrap_or_else(|_elapsed| panic!("the set never became {expected:?}"));
}

#[tokio::test]
async fn policies_limits_and_filters_shape_the_answer() {
    let cluster = web().await;
    let mut api = cluster.node(0).api().await;
    let oldest = ResolveRoleRequest {
        policy: SelectionPolicy::Oldest.into(),
        ..role("web")
    };
    assert_eq!(members(&once(&mut api, oldest).await), ["node-0"]);
    let limited = once(
        &mut api,
        ResolveRoleRequest {
            limit: 2,
            ..role("web")
        },
    )
    .await;
    assert_eq!(
        (members(&limited), limited.total),
        (vec!["node-0", "node-1"], 3)
    );
    let only = MemberFilter {
        names: vec!["node-2".to_owned()],
        ..Default::default()
    };
    let filtered = ResolveRoleRequest {
        filter: Some(only),
        ..role("web")
    };
    assert_eq!(members(&once(&mut api, filtered).await), ["node-2"]);

    let random = ResolveRoleRequest {
        policy: SelectionPolicy::Random.into(),
        client_key: "me".to_owned(),
        ..role("web")
    };
    let shuffled = once(&mut api, random.clone()).await;
    assert_eq!(once(&mut api, random).await.endpoints, shuffled.endpoints);
    let robin = ResolveRoleRequest {
        policy: SelectionPolicy::RoundRobin.into(),
        ..role("web")
    };
    let first = once(&mut api, robin.clone()).await.endpoints[0]
        .member
        .clone();
    assert_ne!(once(&mut api, robin).await.endpoints[0].member, first);
}

#[tokio::test]
async fn an_unknown_role_is_an_empty_answer_and_an_abandoned_one_is_known() {
    let mut cluster = cluster_of(2)
        .each(|n, builder| if n == 1 { builder.role("db") } else { builder })
        .start()
        .await;
    let mut api = cluster.node(0).api().await;
    let unknown = once(&mut api, role("nobody")).await;
    assert!(!unknown.role_known && unknown.endpoints.is_empty());

    let mut watch = api.resolve(role("db")).await;
    assert_eq!(members(&next_set(&mut watch).await), ["node-1"]);
    cluster.node_mut(1).kill().await;
    follow(&mut watch, &[]).await;
    let dead = once(&mut api, role("db")).await;
    assert!(dead.role_known && dead.endpoints.is_empty());
}

#[tokio::test]
async fn resolutions_that_make_no_sense_are_refused() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let roles = MemberFilter {
        roles: vec!["web".to_owned()],
        ..Default::default()
    };
    let requests = [
        role(""),
        role("-web"),
        role(&"r".repeat(64)),
        ResolveRoleRequest {
            filter: Some(roles),
            ..role("web")
        },
        ResolveRoleRequest {
            client_key: "k".repeat(257),
            ..role("web")
        },
    ];
    for request in requests {
        let status = match api.resolver.resolve_role(request.clone()).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        };
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{request:?}: {status:?}"
        );
    }
}

#[tokio::test]
async fn the_list_of_roles_counts_and_follows() {
    let mut cluster = web().await;
    let mut api = cluster.node(0).api().await;
    let request = WatchRolesRequest::default();
    let stream = api
        .resolver
        .watch_roles(request)
        .await
        .unwrap()
        .into_inner();
    let mut watch = Watch::new("WatchRoles", stream);
    let expected = |alive, failed, oldest: &str| RoleSummary {
        role: "web".to_owned(),
        alive,
        suspect: 0,
        failed,
        oldest_member: oldest.to_owned(),
    };
    assert_eq!(watch.next().await.roles, [expected(3, 0, "node-0")]);
    cluster.node_mut(2).kill().await;
    let reading = async {
        loop {
            let message = watch.next().await;
            if !message.heartbeat && message.roles == [expected(2, 1, "node-0")] {
                break;
            }
        }
    };
    tokio::time::timeout(DETECTION, reading)
        .await
        .expect("the counts never changed");
}

#[tokio::test]
async fn service_address_defaults_come_from_the_flags() {
    let node = daemon("one")
        .role("web")
        .role("db=10.9.9.9:5432")
        .arg("--service-ip")
        .arg("10.1.2.3")
        .arg("--service-port")
        .arg("8080")
        .ready()
        .await;
    let mut api = node.api().await;
    tokio::time::timeout(SOON, async {
        let web = once(&mut api, role("web")).await;
        assert_eq!(
            (web.endpoints[0].address.as_str(), web.endpoints[0].port),
            ("10.1.2.3", 8080)
        );
        let db = once(&mut api, role("db")).await;
        assert_eq!(
            (db.endpoints[0].address.as_str(), db.endpoints[0].port),
            ("10.9.9.9", 5432)
        );
    })
    .await
    .expect("no answer");
}
