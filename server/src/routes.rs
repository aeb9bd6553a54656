//! Which gRPC service answers a path.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;
use tower::util::BoxCloneSyncService;

type Routed = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// An answer on its way.
pub(crate) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Services by name.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    services: BTreeMap<&'static str, Routed>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.services.keys()).finish()
    }
}

impl Routes {
    /// Adds a service under its name.
    pub(crate) fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let routed = BoxCloneSyncService::new(service);
        self.services.insert(S::NAME, routed);
        self
    }

    /// Names of all services.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.services.keys().copied()
    }

    /// Hands a call to its service; `missing` says so of a name that has none.
    /// Generated servers are always ready.
    pub(crate) fn call(&self, request: Request<Body>, missing: fn(&str) -> Status) -> Answering {
        let path = request.uri().path().trim_start_matches('/');
        let name = path.split('/').next().unwrap_or_default();
        match self.services.get(name) {
            Some(service) => Box::pin(service.clone().call(request)),
            None => {
                let answer = missing(name).into_http();
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}
