use std::time::Duration;

use pb::membership_service_client::MembershipServiceClient;
use pb::node_service_client::NodeServiceClient;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt as _;

use super::super::*;
use super::harness::{ROOT, Served, next, reason, serve, serve_with};
use crate::hub::testing::member;

const CHILD: Peer = Peer {
    uid: 0,
    gid: 0,
    socket: SocketKind::Child,
};

const OTHER: Peer = Peer {
    uid: 1_000,
    gid: 1_000,
    socket: SocketKind::Api,
};

async fn leave(served: &Served, peer: Peer) -> Result<(), tonic::Status> {
    let mut client = NodeServiceClient::new(served.channel(peer));
    client
        .leave(pb::LeaveRequest { stay: true })
        .await
        .map(|_answer| ())
}

#[tokio::test(start_paused = true)]
async fn what_the_socket_and_the_uid_do_not_allow_is_refused() {
    let served = serve().await;
    served.put([member("a", 1, &[])]);
    for peer in [CHILD, OTHER] {
        let refused = leave(&served, peer).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(reason(&refused), "CAPABILITY_MISSING");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.metadata["capability"], "admin");
        let mut members = MembershipServiceClient::new(served.channel(peer));
        let name = "a".to_owned();
        members
            .get_member(pb::GetMemberRequest { name })
            .await
            .unwrap();
        let mut node = NodeServiceClient::new(served.channel(peer));
        let info = node.get_info(pb::GetInfoRequest {}).await.unwrap();
        assert_eq!(info.into_inner().capabilities, ["read", "events"]);
    }
    leave(&served, ROOT).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_are_bounded_and_come_free_again() {
    let served = serve_with(2).await;
    let mut client = served.members();
    let mut open = Vec::new();
    for _ in 0..2 {
        let ask = pb::WatchMembersRequest::default();
        let mut stream = client.watch_members(ask).await.unwrap().into_inner();
        next(&mut stream).await;
        open.push(stream);
    }
    assert_eq!(served.metrics.calls_open.get(), 2);
    let ask = pb::WatchMembersRequest::default();
    let refused = client.watch_members(ask.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "TOO_MANY_STREAMS");
    assert!(refused.get_details_retry_info().is_some());
    open.pop();
    let free = async {
        while served.metrics.calls_open.get() != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), free)
        .await
        .unwrap();
    let mut stream = client.watch_members(ask).await.unwrap().into_inner();
    next(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_daemon_drains() {
    let served = serve().await;
    let mut members = served.members();
    let ask = pb::WatchMembersRequest::default();
    let mut watch = members
        .watch_members(ask.clone())
        .await
        .unwrap()
        .into_inner();
    next(&mut watch).await;
    let events = tokio_stream::pending();
    let mut sending = served
        .events()
        .send_event(events)
        .await
        .unwrap()
        .into_inner();
    let mut health = HealthClient::new(served.channel(ROOT));
    let service = String::new();
    let check = HealthCheckRequest { service };
    let mut health = health.watch(check).await.unwrap().into_inner();
    next(&mut health).await;
    served.stop.cancel();
    let ended = loop {
        if let Err(ended) = watch.message().await {
            break ended;
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(reason(&ended), "SHUTTING_DOWN");
    assert_eq!(
        sending.message().await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(
        health.message().await.unwrap_err().code(),
        Code::Unavailable
    );
    let refused = members.watch_members(ask).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn health_tells_of_every_service_and_of_the_drain() {
    let served = serve().await;
    let mut client = HealthClient::new(served.channel(CHILD));
    for serving in [ServingStatus::Serving, ServingStatus::NotServing] {
        for service in ["", "muster.v1.MembershipService", "muster.v1.EventService"] {
            let service = service.to_owned();
            let answer = client.check(HealthCheckRequest { service }).await.unwrap();
            let HealthCheckResponse { status } = answer.into_inner();
            assert_eq!(status, i32::from(serving));
        }
        served.health.set_serving(false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn reflection_lists_every_service_in_both_versions() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient as V1;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient as Alpha;

    let served = serve().await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asks = tokio_stream::once(ask);
    let mut client = V1::new(served.channel(CHILD));
    let mut answers = client
        .server_reflection_info(asks)
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        next(&mut answers).await.message_response
    else {
        panic!("no list");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for name in [
        "grpc.health.v1.Health",
        "muster.v1.EventService",
        "muster.v1.MembershipService",
        "muster.v1.NodeService",
        "muster.v1.ResolverService",
    ] {
        assert!(
            names.iter().any(|listed| listed == name),
            "{name} in {names:?}"
        );
    }
    let mut client = Alpha::new(served.channel(CHILD));
    let asks = tokio_stream::empty();
    client.server_reflection_info(asks).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unknown_methods_and_services_are_unimplemented() {
    let served = serve().await;
    for path in [
        "/muster.v1.EventService/Nothing",
        "/nobody.v1.Nothing/Nothing",
    ] {
        let mut grpc = tonic::client::Grpc::new(served.channel(ROOT));
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<pb::GetInfoRequest, pb::GetInfoResponse>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let request = tonic::Request::new(pb::GetInfoRequest {});
        let answer = grpc.unary(request, path, codec).await;
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(reason(&refused), "UNIMPLEMENTED");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_took_nothing_for_long_is_told_so() {
    let served = serve().await;
    let ask = pb::WatchEventsRequest::default();
    let mut stream = served
        .events()
        .watch_events(ask)
        .await
        .unwrap()
        .into_inner();
    next(&mut stream).await;
    // More than all windows between the two hold.
    let of = crate::hub::testing::origin("a", 1);
    for n in 1..=100 {
        let event = crate::hub::testing::event(&of, n, "e", &[0; 60_000]);
        served.hub.push_events(vec![event]);
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(limits::STALLED_AFTER + Duration::from_secs(1)).await;
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a word"),
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended.code(), Code::ResourceExhausted);
    assert_eq!(reason(&ended), "CONSUMER_STALLED");
    assert_eq!(served.metrics.stalled.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_refused_with_a_reason() {
    use bytes::{BufMut as _, Bytes, BytesMut};
    use http_body_util::Full;

    let served = serve().await;
    let call = async |path: &'static str, message: &[u8]| {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).unwrap());
        framed.put_slice(message);
        let mut request = http::Request::new(Full::<Bytes>::new(framed.freeze()));
        *request.uri_mut() = http::Uri::from_static(path);
        request.extensions_mut().insert(ROOT);
        let answer = tower::Service::call(&mut served.gate.clone(), request)
            .await
            .unwrap();
        tonic::Status::from_header_map(answer.headers()).unwrap()
    };
    let large = vec![0; super::harness::PAYLOAD_MAX + limits::DECODE_SLACK_BYTES + 1];
    for path in [
        "/muster.v1.MembershipService/WatchMembers",
        "/muster.v1.MembershipService/GetMember",
        "/muster.v1.ResolverService/ResolveRole",
        "/muster.v1.NodeService/Join",
    ] {
        let refused = call(path, b"\xff\xff\xff").await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}");
        assert_eq!(reason(&refused), "UNDECODABLE");
        let refused = call(path, &large).await;
        assert_eq!(refused.code(), Code::ResourceExhausted, "{path}");
        assert_eq!(reason(&refused), "MESSAGE_TOO_LARGE");
    }
    let nothing = http::Request::builder()
        .uri("/muster.v1.EventService/WatchEvents")
        .extension(ROOT)
        .body(Full::<Bytes>::default());
    let answer = tower::Service::call(&mut served.gate.clone(), nothing.unwrap())
        .await
        .unwrap();
    let refused = tonic::Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(reason(&refused), "MESSAGE_MISSING");
}

#[tokio::test(start_paused = true)]
async fn errors_of_libraries_have_a_reason_too() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

    let served = serve().await;
    let mut client = HealthClient::new(served.channel(CHILD));
    let service = "nobody".to_owned();
    let refused = client.check(HealthCheckRequest { service }).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(reason(&refused), "NOT_FOUND");
    // In the trailers of a stream that began well.
    let mut client = ServerReflectionClient::new(served.channel(CHILD));
    let nothing = tonic_reflection::pb::v1::ServerReflectionRequest::default();
    let asks = tokio_stream::once(nothing);
    let answers = client.server_reflection_info(asks).await.unwrap();
    let refused = answers.into_inner().message().await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_ARGUMENT");
}

/// A request whose caller waits so long and no longer.
fn within<M>(message: M, timeout: &'static str) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    let timeout = timeout.parse().unwrap();
    request.metadata_mut().insert("grpc-timeout", timeout);
    request
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_callers_end_their_calls() {
    let served = serve().await;
    let start = tokio::time::Instant::now();
    let ask = pb::WatchEventsRequest::default();
    let stream = served.events().watch_events(within(ask, "3S")).await;
    let mut stream = stream.unwrap().into_inner();
    next(&mut stream).await;
    let ended = stream.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&ended), "DEADLINE_EXCEEDED");
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(served.metrics.calls_open.get(), 0, "its place is free");
    // The engine does not answer this one. Not by a client: it has a clock of its own.
    let addresses = vec!["silent:1".to_owned()];
    let join = http::Request::builder()
        .uri("/muster.v1.NodeService/Join")
        .header("grpc-timeout", "2000m")
        .extension(ROOT)
        .body(http_body_util::Full::new(frames::framed(
            &pb::JoinRequest { addresses },
        )));
    let answer = tower::Service::call(&mut served.gate.clone(), join.unwrap());
    let ended = tonic::Status::from_header_map(answer.await.unwrap().headers()).unwrap();
    assert_eq!(reason(&ended), "DEADLINE_EXCEEDED");
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(served.metrics.deadlines.get(), 2);
    let ask = within(pb::GetInfoRequest {}, "soon");
    let refused = served.node().get_info(ask).await.unwrap_err();
    assert_eq!(reason(&refused), "BAD_TIMEOUT");
}
