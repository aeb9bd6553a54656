//! Everything else on the API socket: single members, the node, reflection, health,
//! error details, bad requests, shutdown.

use std::path::Path;

use muster_proto::v1::{
    GetMemberRequest, SetLogFilterRequest, WatchEventsRequest, WatchMembersRequest,
};
use muster_tests::harness::wait::SOON;
use rustix::process::Signal;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::{cluster_of, daemon};

/// All services of the package, and those that clients expect beside them.
const SERVICES: [&str; 5] = [
    "muster.v1.EventService",
    "muster.v1.MembershipService",
    "muster.v1.NodeService",
    "muster.v1.ResolverService",
    "grpc.health.v1.Health",
];

#[tokio::test]
async fn one_member_is_found_by_name() {
    let cluster = cluster_of(2).start().await;
    let mut api = cluster.node(0).api().await;
    let request = GetMemberRequest {
        name: "node-1".to_owned(),
    };
    let answer = api.members.get_member(request).await.unwrap().into_inner();
    assert_eq!(answer.member.unwrap().name, "node-1");
    let position = answer.position.unwrap();
    assert_eq!(position.epoch.len(), 32, "{}", position.epoch);
}

#[tokio::test]
async fn errors_carry_a_code_a_reason_and_what_was_wrong() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let mut get = async |name: &str| {
        let request = GetMemberRequest {
            name: name.to_owned(),
        };
        api.members.get_member(request).await.unwrap_err()
    };
    let unknown = get("nobody").await;
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("nobody"), "{unknown:?}");
    has_error_info(&unknown);
    for bad in ["", "-x", "a b", "é", &"n".repeat(129)] {
        let status = get(bad).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{bad:?}: {status:?}");
        has_error_info(&status);
    }
}

fn has_error_info(status: &Status) {
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, muster_proto::ERROR_DOMAIN);
    assert!(!info.reason.is_empty());
}

#[tokio::test]
async fn an_oversized_request_is_refused_and_the_connection_lives() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let request = GetMemberRequest {
        name: "n".repeat(2 * 1024 * 1024),
    };
    let status = api.members.get_member(request).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status:?}"
    );
    assert_eq!(api.info().await.self_.unwrap().name, "one");
}

#[tokio::test]
async fn the_node_says_what_it_is() {
    let cluster = cluster_of(3).start().await;
    let node = cluster.node(1);
    let mut api = node.api().await;
    let info = api.info().await;
    assert_eq!(info.cluster, "test");
    assert_eq!(info.bind, node.addr().to_string());
    assert!(
        info.encrypted && info.warnings.is_empty(),
        "{:?}",
        info.warnings
    );
    assert_eq!(info.sockets, [node.socket().display().to_string()]);
    assert_eq!(info.capabilities, ["read", "events", "admin"]);
    assert!(!info.version.is_empty() && info.started_at.is_some());
    let me = info.self_.unwrap();
    assert!(me.self_ && me.name == "node-1");
}

#[tokio::test]
async fn metrics_are_open_metrics_under_our_names() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let request = muster_proto::v1::GetMetricsRequest {};
    let text = api
        .node
        .get_metrics(request)
        .await
        .unwrap()
        .into_inner()
        .text;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let ours = text.lines().filter(|line| !line.starts_with('#'));
    for line in ours {
        assert!(
            line.starts_with("muster_") || line.starts_with("process_"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_log_filter_changes_at_run_time_and_bad_ones_are_refused() {
    let node = daemon("one").ready().await;
    let mut api = node.api().await;
    let mut set = async |filter: &str| {
        api.node
            .set_log_filter(SetLogFilterRequest {
                filter: filter.to_owned(),
            })
            .await
    };
    let before = set("debug").await.unwrap().into_inner().previous;
    assert_eq!(set(&before).await.unwrap().into_inner().previous, "debug");
    for bad in ["musterd=loudly".to_owned(), "x".repeat(2_000)] {
        assert_eq!(
            set(&bad).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn every_service_is_listed_by_both_versions_of_reflection() {
    let node = daemon("one").ready().await;
    let channel = node.api().await.channel;
    for (version, mut names) in [
        ("v1", list_v1(&channel).await),
        ("v1alpha", list_v1alpha(&channel).await),
    ] {
        names.sort();
        for service in SERVICES {
            assert!(
                names.iter().any(|name| name == service),
                "{version} lists {names:?}"
            );
        }
    }
}

async fn list_v1(channel: &tonic::transport::Channel) -> Vec<String> {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let stream = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let answer = stream.into_inner().message().await.unwrap().unwrap();
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
        other => panic!("{other:?}"),
    }
}

async fn list_v1alpha(channel: &tonic::transport::Channel) -> Vec<String> {
    use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let stream = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let answer = stream.into_inner().message().await.unwrap().unwrap();
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn health_is_serving_for_the_daemon_and_for_each_service() {
    let node = daemon("one").ready().await;
    let mut health = HealthClient::new(node.api().await.channel);
    for service in ["", "muster.v1.MembershipService", "muster.v1.EventService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest {
        service: "no.such.Service".to_owned(),
    };
    assert_eq!(
        health.check(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn open_streams_end_themselves_when_the_daemon_stops() {
    let mut node = daemon("one").ready().await;
    let mut api = node.api().await;
    let mut members = api.watch_members(WatchMembersRequest::default()).await;
    let (mut events, _token) = api.watch_events(WatchEventsRequest::default()).await;
    node.signal(Signal::TERM);
    assert_eq!(node.wait_exit(SOON).await.code(), Some(0));
    let last = loop {
        match members.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended as if all was well"),
            Err(status) => break status,
        }
    };
    assert_eq!(last.code(), Code::Unavailable, "{last:?}");
    let last = events.try_next().await;
    assert_eq!(last.unwrap_err().code(), Code::Unavailable);
    assert!(
        !Path::new(&node.socket()).exists(),
        "the socket was left behind"
    );
}
