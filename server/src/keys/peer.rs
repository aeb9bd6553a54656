//! What this node answers to the keys of others, and how it asks them.

use muster_engine::crypto::KeyId;
use muster_proto::peer as pb;
use pb::key_peer_service_server::KeyPeerService;
use tonic::{Request, Response, Status};

use super::{Keys, KeysError};

/// The service between peers.
#[derive(Debug, Clone)]
pub struct KeyPeer(Keys);

/// The key of the connection that a request came by; an extension of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Under(pub Option<KeyId>);

impl Keys {
    /// The service by which others reach the keys of this node.
    #[must_use]
    pub fn service(&self) -> KeyPeer {
        KeyPeer(self.clone())
    }
}

#[tonic::async_trait]
impl KeyPeerService for KeyPeer {
    async fn exchange(
        &self,
        request: Request<pb::ExchangeRequest>,
    ) -> Result<Response<pb::ExchangeResponse>, Status> {
        let Self(keys) = self;
        let under = request.extensions().get::<Under>().copied();
        if !matches!(under, Some(Under(Some(_)))) {
            // Whoever is in the network could read the keys, or bring others.
            keys.shared.metrics.refused_plaintext.inc();
            return Err(Status::failed_precondition(
                "keys are not talked of in clear: install one on both sides first",
            ));
        }
        let (mine, request) = (keys.clone(), request.into_inner());
        let answer = keys.detached(async move { mine.answer(request).await });
        match answer.await {
            Ok(answer) => Ok(Response::new(answer)),
            Err(error @ KeysError::Refused(_)) => Err(Status::invalid_argument(error.to_string())),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}
