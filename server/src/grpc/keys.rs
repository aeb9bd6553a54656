//! KeyService.

use std::time::Duration;

use bytes::Bytes;
use muster_engine::Stage;
use muster_engine::crypto::KeyId;
use muster_proto::token::KeyBytes;
use muster_proto::v1 as pb;
use muster_proto::v1::key_service_server::KeyService;
use rand::TryRng as _;
use rand::rngs::SysRng;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::convert;
use super::status::{invalid, key_not_found, precondition};
use crate::keys::{KeyReport, Keys, KeysError, OVERLAP_MAX, RingError};

/// Bytes of a key that the daemon makes.
const NEW_KEY_BYTES: usize = 32;

/// How long a replaced key is accepted when the caller does not say.
const OVERLAP: Duration = Duration::from_secs(86_400);

/// The service.
#[derive(Debug)]
pub(crate) struct KeyCalls(pub(crate) Keys);

#[tonic::async_trait]
impl KeyService for KeyCalls {
    async fn list_keys(
        &self,
        _request: Request<pb::ListKeysRequest>,
    ) -> Result<Response<pb::ListKeysResponse>, Status> {
        let report = report(self.0.list().await.map_err(refusal)?);
        Ok(Response::new(pb::ListKeysResponse { report }))
    }

    async fn install_key(
        &self,
        request: Request<pb::InstallKeyRequest>,
    ) -> Result<Response<pb::InstallKeyResponse>, Status> {
        let pb::InstallKeyRequest { key, local } = request.into_inner();
        let key = secret(key)?;
        let installed = match local {
            true => self.0.install_locally(key).await,
            false => self.0.install(key).await,
        };
        let (id, installed) = installed.map_err(refusal)?;
        Ok(Response::new(pb::InstallKeyResponse {
            id: id.to_string(),
            report: report(installed),
        }))
    }

    async fn use_key(
        &self,
        request: Request<pb::UseKeyRequest>,
    ) -> Result<Response<pb::UseKeyResponse>, Status> {
        let pb::UseKeyRequest { id, force } = request.into_inner();
        let used = self.0.use_key(key_id(&id)?, force).await;
        let report = report(used.map_err(refusal)?);
        Ok(Response::new(pb::UseKeyResponse { report }))
    }

    async fn remove_key(
        &self,
        request: Request<pb::RemoveKeyRequest>,
    ) -> Result<Response<pb::RemoveKeyResponse>, Status> {
        let pb::RemoveKeyRequest { id, force } = request.into_inner();
        let removed = self.0.remove(key_id(&id)?, force).await;
        let report = report(removed.map_err(refusal)?);
        Ok(Response::new(pb::RemoveKeyResponse { report }))
    }

    async fn rotate_key(
        &self,
        request: Request<pb::RotateKeyRequest>,
    ) -> Result<Response<pb::RotateKeyResponse>, Status> {
        let pb::RotateKeyRequest { key, overlap } = request.into_inner();
        let overlap = match overlap {
            None => OVERLAP,
            Some(overlap) => Duration::try_from(overlap)
                .ok()
                .filter(|overlap| *overlap <= OVERLAP_MAX)
                .ok_or_else(|| invalid("BAD_OVERLAP", "overlap", "0 to 30 days are allowed"))?,
        };
        let key = if key.is_empty() {
            generate()?
        } else {
            secret(key)?
        };
        let rotated = self.0.rotate(key, overlap).await.map_err(refusal)?;
        let retire_time = rotated.retire_at_unix_ms;
        Ok(Response::new(pb::RotateKeyResponse {
            id: rotated.id.to_string(),
            retired_id: rotated.retired.to_string(),
            retire_time: (retire_time > 0).then(|| convert::timestamp(retire_time)),
            report: report(rotated.report),
        }))
    }

    async fn set_encryption(
        &self,
        request: Request<pb::SetEncryptionRequest>,
    ) -> Result<Response<pb::SetEncryptionResponse>, Status> {
        let request = request.into_inner();
        let stage = match request.stage() {
            pb::EncryptionStage::Receive => Stage::Receive,
            pb::EncryptionStage::Send => Stage::Send,
            pb::EncryptionStage::On => Stage::On,
            pb::EncryptionStage::Unspecified => {
                return Err(invalid("BAD_STAGE", "stage", "receive, send or on"));
            }
        };
        let set = self.0.set_stage(stage, request.force).await;
        let report = report(set.map_err(refusal)?);
        Ok(Response::new(pb::SetEncryptionResponse { report }))
    }
}

/// The text is never repeated, nor are the bytes.
fn secret(key: Bytes) -> Result<KeyBytes, Status> {
    let bytes = Zeroizing::new(key.to_vec());
    KeyBytes::new(bytes).map_err(|error| invalid("BAD_KEY", "key", error))
}

fn generate() -> Result<KeyBytes, Status> {
    let mut bytes = Zeroizing::new(vec![0; NEW_KEY_BYTES]);
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        precondition(
            "NO_RANDOMNESS",
            format!("the system has no random bytes: {error}"),
        )
    })?;
    KeyBytes::new(bytes).map_err(|error| invalid("BAD_KEY", "key", error))
}

fn key_id(text: &str) -> Result<KeyId, Status> {
    text.parse()
        .map_err(|error| invalid("BAD_KEY_ID", "id", error))
}

fn report(report: KeyReport) -> Option<pb::KeyReport> {
    let ids = |ids: Vec<KeyId>| ids.iter().map(KeyId::to_string).collect();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let keys = report.keys.into_iter().map(|key| pb::KeySummary {
        id: key.id.to_string(),
        members: number(key.members),
        primary_members: number(key.primary_members),
        retire_time: key.retire_at_unix_ms.map(convert::timestamp),
    });
    let members = report.members.into_iter().map(|member| pb::KeyMember {
        member: member.member,
        ok: member.error.is_none(),
        error: member.error.unwrap_or_default(),
        keys: ids(member.keys),
        primary: member.primary.map(|id| id.to_string()).unwrap_or_default(),
        stage: stage(member.stage).into(),
    });
    Some(pb::KeyReport {
        keys: keys.collect(),
        members: members.collect(),
    })
}

fn stage(stage: Option<Stage>) -> pb::EncryptionStage {
    match stage {
        None => pb::EncryptionStage::Unspecified,
        Some(Stage::Receive) => pb::EncryptionStage::Receive,
        Some(Stage::Send) => pb::EncryptionStage::Send,
        Some(Stage::On) => pb::EncryptionStage::On,
    }
}

fn refusal(error: KeysError) -> Status {
    let text = error.to_string();
    match error {
        KeysError::Ring(RingError::Unknown(id)) => key_not_found(&id.to_string()),
        KeysError::Ring(RingError::Primary(_)) => precondition("KEY_PRIMARY", text),
        KeysError::Ring(RingError::Last(_)) => precondition("KEY_LAST", text),
        KeysError::Ring(RingError::Full) => precondition("KEYRING_FULL", text),
        KeysError::Ring(RingError::Empty) => precondition("NO_KEY", text),
        KeysError::Ring(RingError::Bad(_)) => invalid("BAD_KEY", "key", text),
        KeysError::NotReady { .. } => precondition("MEMBER_NOT_READY", text),
        KeysError::Refused(_) => precondition("REFUSED", text),
        KeysError::Engine(error) => error.into(),
    }
}
