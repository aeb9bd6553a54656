use std::collections::BTreeMap;

use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use tonic::server::NamedService;

use super::super::peer::SocketKind;
use super::*;

/// Panics while it answers, or in the middle of its answer.
#[derive(Clone)]
struct Bomb;

impl NamedService for Bomb {
    const NAME: &'static str = "bomb.v1.Bomb";
}

struct BombBody;

impl HttpBody for BombBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        panic!("in the stream")
    }
}

impl Service<Request<Body>> for Bomb {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let late = request.uri().path().ends_with("/Late");
        Box::pin(async move {
            assert!(late, "in the call");
            Ok(Response::new(Body::new(BombBody)))
        })
    }
}

fn gate() -> Gate {
    let access = Access {
        daemon_uid: 1,
        allow: BTreeMap::new(),
    };
    let bounds = Bounds {
        calls: 1,
        message_bytes: 100,
    };
    let routes = Routes::default().add(Bomb);
    let stop = CancellationToken::new();
    Gate::new(routes, access, bounds, Metrics::default(), stop)
}

async fn status(gate: &mut Gate, path: &str, peer: Option<Peer>) -> Status {
    let mut request = Request::new(Body::default());
    *request.uri_mut() = path.parse().unwrap();
    request.extensions_mut().extend(
        peer.map(|peer| {
            let mut extensions = http::Extensions::new();
            extensions.insert(peer);
            extensions
        })
        .unwrap_or_default(),
    );
    let answer = gate.call(request).await.unwrap();
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return status;
    }
    let body = answer.into_body().collect().await.unwrap();
    Status::from_header_map(body.trailers().unwrap()).unwrap()
}

#[tokio::test]
async fn a_panic_costs_its_call_only_and_is_counted() {
    let mut gate = gate();
    for (path, panics) in [("/bomb.v1.Bomb/Now", 1), ("/bomb.v1.Bomb/Late", 2)] {
        let answered = status(&mut gate, path, None).await;
        assert_eq!(answered.code(), Code::Internal, "{path}");
        assert_eq!(gate.shared.metrics.panics.get(), panics);
        assert_eq!(gate.shared.metrics.calls_open.get(), 0, "its place is free");
    }
}

#[tokio::test]
async fn a_caller_without_credentials_may_do_nothing() {
    let path = "/muster.v1.MembershipService/GetMember";
    let mut gate = gate();
    let refused = status(&mut gate, path, None).await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    let (uid, gid, socket) = (9, 9, SocketKind::Child);
    let known = status(&mut gate, path, Some(Peer { uid, gid, socket })).await;
    assert_eq!(known.code(), Code::Unimplemented, "let through to nobody");
    let mut registry = Registry::default();
    gate.shared.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = "muster_grpc_refusals_total{reason=\"capability\"} 1";
    assert!(text.contains(line), "{text}");
}
