//! A scripted daemon on a real unix socket, on a runtime of its own, so that killing it
//! closes every connection at once, as kill -9 does.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt as _, stream};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use muster::{Client, SocketPath, pb};
use pb::event_service_server::{EventService, EventServiceServer};
use pb::membership_service_server::{MembershipService, MembershipServiceServer};
use pb::node_service_server::{NodeService, NodeServiceServer};
use pb::resolver_service_server::{ResolverService, ResolverServiceServer};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tower::Service as _;

type Answer<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// What one stream does: its messages, then silence or the end.
pub(crate) struct Script<M> {
    pub(crate) messages: Vec<Result<M, Status>>,
    pub(crate) hang: bool,
}

/// Scripts of the streams to come, one each, and what was asked for.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) members: VecDeque<Script<pb::WatchMembersResponse>>,
    pub(crate) events: VecDeque<Script<pb::WatchEventsResponse>>,
    pub(crate) resolve: VecDeque<Script<pb::ResolveRoleResponse>>,
    pub(crate) roles: VecDeque<Script<pb::WatchRolesResponse>>,
    pub(crate) info: pb::GetInfoResponse,
    pub(crate) not_serving: bool,
    pub(crate) member_requests: Vec<pb::WatchMembersRequest>,
    pub(crate) event_requests: Vec<pb::WatchEventsRequest>,
    pub(crate) resolve_requests: Vec<pb::ResolveRoleRequest>,
    pub(crate) sent: Vec<pb::SendEventRequest>,
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Daemon(Arc<Mutex<Plan>>);

pub(crate) struct Fake {
    directory: Arc<TempDir>,
    plan: Arc<Mutex<Plan>>,
    runtime: Option<Runtime>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(directory)
    }

    /// A new daemon on the socket of the one before.
    pub(crate) fn restart(mut self) -> Self {
        self.kill();
        Self::start_in(Arc::clone(&self.directory))
    }

    fn start_in(directory: Arc<TempDir>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let plan = Arc::new(Mutex::new(Plan::default()));
        let path = directory.path().join("api.sock");
        if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(&path).unwrap()
        };
        runtime.spawn(serve(listener, Daemon(Arc::clone(&plan))));
        Self {
            directory,
            plan,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn plan<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        change(&mut self.plan.lock().unwrap())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&SocketPath::parse(self.socket().to_str().unwrap()).unwrap())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
    }
}

impl<M> Script<M> {
    pub(crate) fn then_hang(messages: impl IntoIterator<Item = M>) -> Self {
        Self {
            messages: messages.into_iter().map(Ok).collect(),
            hang: true,
        }
    }

    pub(crate) fn then_end(messages: impl IntoIterator<Item = M>) -> Self {
        Self {
            hang: false,
            ..Self::then_hang(messages)
        }
    }

    pub(crate) fn then_fail(messages: impl IntoIterator<Item = M>, status: Status) -> Self {
        let mut script = Self::then_end(messages);
        script.messages.push(Err(status));
        script
    }
}

async fn serve(listener: UnixListener, daemon: Daemon) {
    let (reporter, health) = tonic_health::server::health_reporter();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (daemon, health, reporter) = (daemon.clone(), health.clone(), reporter.clone());
        let route = hyper::service::service_fn(move |request: hyper::Request<_>| {
            let (daemon, mut health, reporter) = (daemon.clone(), health.clone(), reporter.clone());
            async move {
                let request = request.map(|body: hyper::body::Incoming| Body::new(body));
                let path = request.uri().path().to_owned();
                match path.split('/').nth(1).unwrap_or_default() {
                    "muster.v1.MembershipService" => {
                        MembershipServiceServer::new(daemon).call(request).await
                    }
                    "muster.v1.EventService" => EventServiceServer::new(daemon).call(request).await,
                    "muster.v1.ResolverService" => {
                        ResolverServiceServer::new(daemon).call(request).await
                    }
                    "muster.v1.NodeService" => NodeServiceServer::new(daemon).call(request).await,
                    _ => {
                        let status = if daemon.0.lock().unwrap().not_serving {
                            ServingStatus::NotServing
                        } else {
                            ServingStatus::Serving
                        };
                        reporter.set_service_status("", status).await;
                        health.call(request).await
                    }
                }
            }
        });
        let http = http2::Builder::new(TokioExecutor::new());
        tokio::spawn(http.serve_connection(TokioIo::new(stream), route));
    }
}

fn play<M: Send + 'static>(script: Option<Script<M>>) -> Result<Response<Answer<M>>, Status> {
    let script = script.ok_or_else(|| Status::unavailable("no script is left"))?;
    let messages = stream::iter(script.messages);
    Ok(Response::new(if script.hang {
        Box::pin(messages.chain(stream::pending()))
    } else {
        Box::pin(messages)
    }))
}

#[tonic::async_trait]
impl MembershipService for Daemon {
    async fn watch_members(
        &self,
        request: Request<pb::WatchMembersRequest>,
    ) -> Result<Response<Answer<pb::WatchMembersResponse>>, Status> {
        let mut plan = self.0.lock().unwrap();
        plan.member_requests.push(request.into_inner());
        play(plan.members.pop_front())
    }

    async fn get_member(
        &self,
        request: Request<pb::GetMemberRequest>,
    ) -> Result<Response<pb::GetMemberResponse>, Status> {
        let name = request.into_inner().name;
        Err(Status::not_found(format!("no member is named {name}")))
    }
}

#[tonic::async_trait]
impl EventService for Daemon {
    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Answer<pb::WatchEventsResponse>>, Status> {
        let mut plan = self.0.lock().unwrap();
        plan.event_requests.push(request.into_inner());
        play(plan.events.pop_front())
    }

    /// Refuses names that start with `bad`, hangs up at `die`, takes the rest.
    async fn send_event(
        &self,
        request: Request<Streaming<pb::SendEventRequest>>,
    ) -> Result<Response<Answer<pb::SendEventResponse>>, Status> {
        let plan = Arc::clone(&self.0);
        let answers = request.into_inner().flat_map(move |request| {
            let answers = match request {
                Ok(request) if request.name == "die" => vec![Err(Status::unavailable("dying"))],
                Ok(request) => receipts(&plan, request),
                Err(status) => vec![Err(status)],
            };
            stream::iter(answers)
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

fn receipts(
    plan: &Mutex<Plan>,
    request: pb::SendEventRequest,
) -> Vec<Result<pb::SendEventResponse, Status>> {
    use pb::send_event_response::Receipt;
    let answer = |receipt| {
        Ok(pb::SendEventResponse {
            sequence: request.sequence,
            receipt: Some(receipt),
        })
    };
    if request.name.starts_with("bad") {
        return vec![answer(Receipt::Rejected(pb::EventRejected {
            reason: pb::EventRejectReason::InvalidName.into(),
            message: format!("{:?} is no event name", request.name),
            ..pb::EventRejected::default()
        }))];
    }
    let id = Some(pb::EventId {
        origin: "n1".into(),
        boot: 7,
        sequence: request.sequence,
    });
    let mut all = vec![answer(Receipt::Accepted(pb::EventAccepted {
        id: id.clone(),
        lamport_time: request.sequence,
    }))];
    if request.receipt() == pb::ReceiptLevel::Replicated {
        let id = id.clone();
        all.push(answer(Receipt::Replicated(pb::EventReplicated { id })));
    }
    if request.receipt() == pb::ReceiptLevel::Delivered {
        let member = "n2".to_owned();
        let delivered = pb::EventDelivered {
            id: id.clone(),
            member,
        };
        all.push(answer(Receipt::Delivered(delivered)));
        // Whether there is a second target depends on the name.
        let silent = Vec::from_iter((request.name == "half").then(|| "n3".to_owned()));
        all.push(answer(Receipt::Delivery(pb::EventDelivery {
            id,
            expected: u32::try_from(1 + silent.len()).unwrap(),
            delivered: 1,
            silent,
        })));
    }
    plan.lock().unwrap().sent.push(request);
    all
}

#[tonic::async_trait]
impl ResolverService for Daemon {
    async fn resolve_role(
        &self,
        request: Request<pb::ResolveRoleRequest>,
    ) -> Result<Response<Answer<pb::ResolveRoleResponse>>, Status> {
        let mut plan = self.0.lock().unwrap();
        plan.resolve_requests.push(request.into_inner());
        play(plan.resolve.pop_front())
    }

    async fn watch_roles(
        &self,
        _request: Request<pb::WatchRolesRequest>,
    ) -> Result<Response<Answer<pb::WatchRolesResponse>>, Status> {
        play(self.0.lock().unwrap().roles.pop_front())
    }
}

#[tonic::async_trait]
impl NodeService for Daemon {
    async fn get_info(
        &self,
        _request: Request<pb::GetInfoRequest>,
    ) -> Result<Response<pb::GetInfoResponse>, Status> {
        Ok(Response::new(self.0.lock().unwrap().info.clone()))
    }

    async fn get_metrics(
        &self,
        _request: Request<pb::GetMetricsRequest>,
    ) -> Result<Response<pb::GetMetricsResponse>, Status> {
        Ok(Response::new(pb::GetMetricsResponse {
            text: "muster_members 1\n# EOF\n".into(),
        }))
    }

    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinResponse>, Status> {
        let addresses = request.into_inner().addresses;
        if addresses.iter().all(|address| address.starts_with("dead")) {
            return Err(Status::unavailable("nobody answered: dead: timed out"));
        }
        let results = addresses.into_iter().map(|address| pb::JoinResult {
            ok: !address.starts_with("dead"),
            error: if address.starts_with("dead") {
                "timed out".into()
            } else {
                String::new()
            },
            member: if address.starts_with("dead") {
                String::new()
            } else {
                "n2".into()
            },
            address,
        });
        let results: Vec<_> = results.collect();
        let joined = results.iter().filter(|result| result.ok).count();
        Ok(Response::new(pb::JoinResponse {
            joined: u32::try_from(joined).unwrap(),
            results,
        }))
    }

    async fn leave(
        &self,
        _request: Request<pb::LeaveRequest>,
    ) -> Result<Response<pb::LeaveResponse>, Status> {
        Ok(Response::new(pb::LeaveResponse {}))
    }

    async fn force_leave(
        &self,
        request: Request<pb::ForceLeaveRequest>,
    ) -> Result<Response<pb::ForceLeaveResponse>, Status> {
        match request.into_inner().name.as_str() {
            "n1" => Err(Status::failed_precondition("n1 is alive")),
            "n2" => Ok(Response::new(pb::ForceLeaveResponse {
                member: Some(pb::Member {
                    name: "n2".into(),
                    status: pb::MemberStatus::Left.into(),
                    ..pb::Member::default()
                }),
            })),
            name => Err(Status::not_found(format!("no member is named {name}"))),
        }
    }

    async fn update_tags(
        &self,
        request: Request<pb::UpdateTagsRequest>,
    ) -> Result<Response<pb::UpdateTagsResponse>, Status> {
        let request = request.into_inner();
        let mut plan = self.0.lock().unwrap();
        plan.tags.extend(request.set);
        plan.tags.retain(|key, _| !request.remove.contains(key));
        Ok(Response::new(pb::UpdateTagsResponse {
            self_: Some(pb::Member {
                tags: plan.tags.clone(),
                ..pb::Member::default()
            }),
        }))
    }

    async fn get_round_trip(
        &self,
        request: Request<pb::GetRoundTripRequest>,
    ) -> Result<Response<pb::GetRoundTripResponse>, Status> {
        let pb::GetRoundTripRequest { member, other } = request.into_inner();
        if member == "far" {
            return Err(Status::failed_precondition("far tells none"));
        }
        Ok(Response::new(pb::GetRoundTripResponse {
            round_trip: Some(prost_types::Duration {
                seconds: 0,
                nanos: 610_400,
            }),
            member,
            other: if other.is_empty() { "me".into() } else { other },
            ..pb::GetRoundTripResponse::default()
        }))
    }

    async fn set_log_filter(
        &self,
        request: Request<pb::SetLogFilterRequest>,
    ) -> Result<Response<pb::SetLogFilterResponse>, Status> {
        if request.into_inner().filter.contains('!') {
            return Err(Status::invalid_argument("this is no filter"));
        }
        Ok(Response::new(pb::SetLogFilterResponse {
            previous: "info".into(),
        }))
    }
}
