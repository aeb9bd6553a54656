//! All that the owner's engine says of a container.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_engine::Status as MemberStatus;
use muster_proto::peer as pb;
use pb::container_peer_service_client::ContainerPeerServiceClient;
use pb::container_peer_service_server::{ContainerPeerService, ContainerPeerServiceServer};
use tonic::{Code, Request, Response, Status};

use super::redact::redact;
use super::{Found, Metrics};
use crate::docker::{Docker, EngineStatus};
use crate::hub::Hub;
use crate::peers::{MESSAGE_BYTES_MAX, Peers};

/// Largest `inspect` that is passed on, bytes. A larger one is refused.
pub(crate) const INSPECT_BYTES_MAX: usize = 1 << 20;

/// How long the engine may take to inspect; a healthy one takes some milliseconds. After
/// that it is told what the engine said last.
pub(crate) const ENGINE_WAIT: Duration = Duration::from_secs(3);

/// Largest request between peers, bytes: an id.
const REQUEST_BYTES_MAX: usize = 1 << 10;

/// What an inspector is made of.
#[derive(Debug)]
pub struct InspectorParts {
    /// Who owns what.
    pub hub: Arc<Hub>,
    /// The way to the owners.
    pub peers: Peers,
    /// This node's engine.
    pub docker: Docker,
    /// Callers who may do everything are shown secrets.
    pub secrets: bool,
    /// What is counted.
    pub metrics: Metrics,
}

/// Asks owners, and answers as one. Clones share everything.
#[derive(Debug, Clone)]
pub struct Inspector(Arc<InspectorParts>);

/// What the owner says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The engine's own JSON.
    pub json: String,
    /// Secrets were hidden.
    pub redacted: bool,
    /// The engine is away or says nothing: this is what it said last, until then. Unix
    /// milliseconds.
    pub stale_since_unix_ms: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The owner has no such container any more.
    #[error("{0} has no such container any more")]
    Gone(String),
    /// The owner, or its engine, cannot be reached.
    #[error("{node}: {why}")]
    Unavailable {
        /// The owner.
        node: String,
        /// Why not.
        why: String,
    },
    /// The answer is too large.
    #[error("{0}: the answer has more than {INSPECT_BYTES_MAX} bytes")]
    TooLarge(String),
}

impl Inspector {
    /// Made of these.
    #[must_use]
    pub fn new(parts: InspectorParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The service by which others inspect containers of this node.
    #[must_use]
    pub fn service(&self) -> ContainerPeerServiceServer<ContainerPeer> {
        let server = ContainerPeerServiceServer::new(ContainerPeer(self.clone()));
        server.max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    /// Asks the owner of a container. With `secrets` the caller may see them; whether it
    /// does is the owner's decision.
    ///
    /// # Errors
    /// See [`InspectError`].
    pub async fn inspect(&self, found: &Found, secrets: bool) -> Result<Inspection, InspectError> {
        let Self(parts) = self;
        parts.metrics.inspected.inc();
        let container = &found.container;
        let node = container.node.to_string();
        if container.is_local {
            return self.own(&node, &container.summary.id, secrets).await;
        }
        let unavailable = |why: &str| InspectError::Unavailable {
            node: node.clone(),
            why: why.to_owned(),
        };
        let member = parts.hub.member(&container.node);
        let member = member.ok_or_else(|| unavailable("it is gone"))?.value;
        if matches!(member.status, MemberStatus::Failed | MemberStatus::Left) {
            return Err(unavailable(&format!("the node has {}", member.status)));
        }
        let channel = parts.peers.channel(member.addr);
        let request = pb::InspectRequest {
            id: container.summary.id.to_string(),
            secrets,
        };
        let mut answer = Err(Status::failed_precondition(""));
        if secrets {
            // In clear anybody in the network could read them.
            let mut sealed = ContainerPeerServiceClient::new(channel.clone().sealed())
                .max_decoding_message_size(MESSAGE_BYTES_MAX);
            answer = sealed.inspect(request.clone()).await;
        }
        if answer
            .as_ref()
            .is_err_and(|e| e.code() == Code::FailedPrecondition)
        {
            let mut client = ContainerPeerServiceClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX);
            let request = pb::InspectRequest {
                secrets: false,
                ..request
            };
            answer = client.inspect(request).await;
        }
        told(&node, answer)
    }

    /// Of this node's own engine: as it is now, or, of an engine that is away or says
    /// nothing, as it was last.
    async fn own(&self, node: &str, id: &str, secrets: bool) -> Result<Inspection, InspectError> {
        let Self(parts) = self;
        let state = Arc::clone(&parts.docker.state().borrow());
        // Nothing else than an id of ours is asked of the engine.
        let Some(known) = state.containers.get(id) else {
            return Err(InspectError::Gone(node.to_owned()));
        };
        let unavailable = |why: String| InspectError::Unavailable {
            node: node.to_owned(),
            why,
        };
        let (json, stale_since_unix_ms) = match &state.engine {
            EngineStatus::Away { since, .. } => (known.inspect.clone(), Some(unix_ms(*since))),
            EngineStatus::Off | EngineStatus::Unknown { .. } | EngineStatus::Live { .. } => {
                let asked = tokio::time::timeout(ENGINE_WAIT, parts.docker.inspect(id)).await;
                match asked {
                    Ok(Ok(inspected)) => (inspected.json, None),
                    Ok(Err(error)) if error.is_missing() => {
                        return Err(InspectError::Gone(node.to_owned()));
                    }
                    // Before it counts as away.
                    Ok(Err(_)) | Err(_) => {
                        let since = unix_ms(parts.docker.right_at());
                        (known.inspect.clone(), Some(since))
                    }
                }
            }
        };
        if json.get().len() > INSPECT_BYTES_MAX {
            return Err(InspectError::TooLarge(node.to_owned()));
        }
        let redacted = !(secrets && parts.secrets);
        let json = match redacted {
            true => redact(json.get())
                .map_err(|error| unavailable(format!("the engine's answer is odd: {error}")))?,
            false => json.get().to_owned(),
        };
        Ok(Inspection {
            json,
            redacted,
            stale_since_unix_ms,
        })
    }
}

/// At least 1: 0 is not stale.
fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn told(
    node: &str,
    answer: Result<Response<pb::InspectResponse>, Status>,
) -> Result<Inspection, InspectError> {
    let node = node.to_owned();
    let answer = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            let code = status.code();
            if code == Code::NotFound {
                return Err(InspectError::Gone(node));
            }
            if matches!(code, Code::ResourceExhausted | Code::OutOfRange) {
                return Err(InspectError::TooLarge(node));
            }
            let why = match code == Code::Unimplemented {
                true => "its version cannot inspect",
                false => status.message(),
            };
            let why = why.to_owned();
            return Err(InspectError::Unavailable { node, why });
        }
    };
    let since = answer.stale_since_unix_ms;
    let json = String::from_utf8(answer.json.to_vec());
    Ok(Inspection {
        json: json.map_err(|_e| InspectError::Unavailable {
            node,
            why: "its answer is no text".to_owned(),
        })?,
        redacted: answer.redacted,
        stale_since_unix_ms: (since > 0).then_some(since),
    })
}

/// The service between peers.
#[derive(Debug, Clone)]
pub struct ContainerPeer(Inspector);

#[tonic::async_trait]
impl ContainerPeerService for ContainerPeer {
    async fn inspect(
        &self,
        request: Request<pb::InspectRequest>,
    ) -> Result<Response<pb::InspectResponse>, Status> {
        let Self(inspector) = self;
        inspector.0.metrics.inspected_for_peers.inc();
        let request = request.into_inner();
        let own = inspector.own("it", &request.id, request.secrets).await;
        let inspection = own.map_err(|error| match &error {
            InspectError::Gone(_) => Status::not_found(error.to_string()),
            InspectError::TooLarge(_) => Status::resource_exhausted(error.to_string()),
            InspectError::Unavailable { why, .. } => Status::unavailable(why.clone()),
        })?;
        Ok(Response::new(pb::InspectResponse {
            json: inspection.json.into(),
            redacted: inspection.redacted,
            stale_since_unix_ms: inspection.stale_since_unix_ms.unwrap_or(0),
        }))
    }
}

#[cfg(test)]
mod tests;
