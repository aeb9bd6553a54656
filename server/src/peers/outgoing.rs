//! The calls of this node to its peers.

mod link;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use self::link::{Link, Sender};
use super::caller::sign;
use super::keys::Keys;
use super::load::{Counted, InFlight};
use super::metrics::Metrics;
use super::{Me, OUTGOING_MAX, PLACE_WAIT};
use crate::daemon::supervisor::Tasks;
use crate::gossip::rpc::Dialer;
use crate::hub::lock;

/// What a peer is called in requests: it goes by its address.
const AUTHORITY: &str = "peer";

/// How often one that waits for a place asks idle connections to go.
const PLACE_RETRY: Duration = Duration::from_millis(50);

/// Calls to one peer, for generated clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channel {
    pool: Arc<Pool>,
    to: SocketAddr,
    /// Calls fail rather than go in clear.
    sealed: bool,
}

/// The connections to peers.
#[derive(Debug)]
pub(super) struct Pool {
    me: Me,
    dialer: Dialer,
    keys: Keys,
    tasks: Tasks,
    metrics: Metrics,
    places: Arc<Semaphore>,
    /// Somebody waits for a place.
    crowd: Arc<Notify>,
    /// One per peer with a connection, or with one in the making.
    slots: Mutex<BTreeMap<SocketAddr, Arc<Slot>>>,
}

/// The connection to one peer.
#[derive(Debug, Default)]
struct Slot {
    /// Locked while it is made: others wait for it.
    state: AsyncMutex<State>,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Link>,
    /// When the last attempt failed, and why: whoever waited for it need not try again.
    failed: Option<(Instant, Status)>,
}

impl Channel {
    pub(super) fn new(pool: Arc<Pool>, to: SocketAddr) -> Self {
        let sealed = false;
        Self { pool, to, sealed }
    }

    /// The same for what others must not read: a call fails as FAILED_PRECONDITION, and
    /// nothing of it is sent, while there is no connection under a key.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (pool, to, sealed) = (Arc::clone(&self.pool), self.to, self.sealed);
        Box::pin(async move {
            let called = pool.call(to, sealed, request).await;
            if called.is_err() {
                pool.metrics.calls_failed.inc();
            }
            called
        })
    }
}

impl Pool {
    pub(super) fn new(me: Me, dialer: Dialer, keys: Keys, tasks: Tasks, metrics: Metrics) -> Self {
        Self {
            me,
            dialer,
            keys,
            tasks,
            metrics,
            places: Arc::new(Semaphore::new(OUTGOING_MAX)),
            crowd: Arc::default(),
            slots: Mutex::default(),
        }
    }

    async fn call(
        self: &Arc<Self>,
        to: SocketAddr,
        sealed: bool,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        self.metrics.calls_sent.inc();
        sign(&mut request, &self.me);
        address(&mut request);
        let (mut sender, call) = self.link(to, sealed).await?;
        let sent = match sender.try_send_request(request).await {
            Ok(response) => Ok((response, call)),
            Err(mut refused) => match refused.take_message() {
                // The connection closed before it took the call: on a new one, then.
                Some(request) => {
                    drop((sender, call));
                    let (mut sender, call) = self.link(to, sealed).await?;
                    let sent = sender.send_request(request).await;
                    sent.map(|response| (response, call))
                }
                None => Err(refused.into_error()),
            },
        };
        match sent {
            Ok((response, call)) => Ok(response.map(|body| Body::new(Counted::new(body, call)))),
            Err(error) => Err(Status::unavailable(format!(
                "the connection to {to} broke: {error}"
            ))),
        }
    }

    /// The connection to a peer, made if need be.
    async fn link(
        self: &Arc<Self>,
        to: SocketAddr,
        sealed: bool,
    ) -> Result<(Sender, InFlight), Status> {
        let began = Instant::now();
        let slot = Arc::clone(lock(&self.slots).entry(to).or_default());
        let mut state = slot.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| link.is_open()) {
            return fit(link, sealed);
        }
        if let Some((at, status)) = &state.failed
            && *at > began
        {
            return Err(status.clone());
        }
        let opened = match self.place().await {
            Ok(place) => Link::open(self, to, place).await,
            Err(status) => Err(status),
        };
        match opened {
            Ok(link) => {
                let entered = fit(&link, sealed);
                state.link = Some(link);
                state.failed = None;
                entered
            }
            Err(status) => {
                state.link = None;
                state.failed = Some((Instant::now(), status.clone()));
                drop(state);
                self.tidy(to, &slot);
                Err(status)
            }
        }
    }

    /// A place for a new connection, if need be that of an idle one.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let waiting = async {
            loop {
                let places = Arc::clone(&self.places);
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    return place;
                }
                self.crowd.notify_one();
                if let Ok(Ok(place)) = timeout(PLACE_RETRY, places.acquire_owned()).await {
                    return place;
                }
            }
        };
        timeout(PLACE_WAIT, waiting).await.map_err(|_elapsed| {
            self.metrics.crowded.inc();
            Status::unavailable(format!("all {OUTGOING_MAX} connections to peers are busy"))
        })
    }

    /// Forgets a slot without connection, unless somebody is about to use it.
    fn tidy(&self, to: SocketAddr, slot: &Arc<Slot>) {
        let mut slots = lock(&self.slots);
        let held = slots.get(&to).is_some_and(|held| Arc::ptr_eq(held, slot));
        let empty = slot
            .state
            .try_lock()
            .is_ok_and(|state| state.link.is_none());
        if held && empty {
            slots.remove(&to);
        }
    }

    /// Addresses that something is kept of.
    #[cfg(test)]
    pub(super) fn peers(&self) -> std::collections::BTreeSet<SocketAddr> {
        lock(&self.slots).keys().copied().collect()
    }

    /// A connection is closed or about to: the next call makes a new one.
    async fn forget(&self, to: SocketAddr, load: &super::load::Load) {
        let Some(slot) = lock(&self.slots).get(&to).cloned() else {
            return;
        };
        let mut state = slot.state.lock().await;
        if state.link.as_ref().is_some_and(|link| link.carries(load)) {
            state.link = None;
        }
        drop(state);
        self.tidy(to, &slot);
    }
}

/// Makes the URI of a request absolute, as HTTP/2 wants it.
/// A place on a connection, if what the call carries may travel there.
fn fit(link: &Link, sealed: bool) -> Result<(Sender, InFlight), Status> {
    if sealed && !link.is_sealed() {
        return Err(Status::failed_precondition(
            "it has no key in common with this node: peers are talked to in clear",
        ));
    }
    Ok(link.enter())
}

fn address(request: &mut Request<Body>) {
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static(AUTHORITY));
    parts
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}
