//! What this node answers to the keys of others, and how it asks them.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muster_engine::Member;
use muster_engine::crypto::KeyId;
use muster_proto::peer as pb;
use pb::key_peer_service_client::KeyPeerServiceClient;
use pb::key_peer_service_server::{KeyPeerService, KeyPeerServiceServer};
use tonic::{Request, Response, Status};

use super::exchange::KeyNet;
use super::{Keys, KeysError};
use crate::peers::{Peers, Under};

/// Largest ring between peers, bytes: all keys and removed ones fit many times.
pub(super) const RING_BYTES_MAX: usize = 16 << 10;

/// The service between peers.
#[derive(Debug, Clone)]
pub struct KeyPeer(Keys);

impl KeyPeer {
    /// For these keys.
    pub(super) fn of(keys: &Keys) -> Self {
        Self(keys.clone())
    }
}

impl Keys {
    /// The service by which others reach the keys of this node.
    #[must_use]
    pub fn service(&self) -> KeyPeerServiceServer<KeyPeer> {
        let server = KeyPeerServiceServer::new(KeyPeer::of(self));
        server.max_decoding_message_size(RING_BYTES_MAX)
    }
}

impl KeyNet for Peers {
    fn exchange(
        &self,
        member: Arc<Member>,
        request: pb::ExchangeRequest,
    ) -> BoxFuture<'static, Result<pb::ExchangeResponse, String>> {
        let client = KeyPeerServiceClient::new(self.channel(member.addr).sealed());
        let mut client = client.max_decoding_message_size(RING_BYTES_MAX);
        async move {
            let answer = client.exchange(request).await;
            let answer = answer.map_err(|status| status.message().to_owned())?;
            Ok(answer.into_inner())
        }
        .boxed()
    }

    fn close_key(&self, key: Option<KeyId>) {
        Self::close_key(self, key);
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
