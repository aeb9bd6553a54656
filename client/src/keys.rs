//! The keys of the cluster.

use std::time::Duration;

use bytes::Bytes;
use tonic::Status;
use tonic::transport::Channel;

use crate::client::{ANSWER_BYTES_MAX, Client};
use crate::error::Error;
use crate::pb;
use crate::pb::key_service_client::KeyServiceClient;

impl Client {
    /// Which member holds which key.
    ///
    /// # Errors
    /// The daemon cannot be reached, or the caller has no admin capability. Members that
    /// do not answer are in the report.
    pub async fn list_keys(&self) -> Result<pb::KeyReport, Error> {
        let answer = self.keys().list_keys(pb::ListKeysRequest {}).await;
        let answer = of("ListKeys", answer)?;
        report("ListKeys", answer.report)
    }

    /// Gives a key (16, 24 or 32 bytes) to every member, or with `local` to this daemon
    /// only. Its id, and who has it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `FAILED_PRECONDITION`.
    pub async fn install_key(
        &self,
        key: impl Into<Bytes>,
        local: bool,
    ) -> Result<(String, pb::KeyReport), Error> {
        let key = key.into();
        let request = pb::InstallKeyRequest { key, local };
        let answer = of("InstallKey", self.keys().install_key(request).await)?;
        Ok((answer.id, report("InstallKey", answer.report)?))
    }

    /// Seals with a key everywhere; `force` although members do not hold it.
    ///
    /// # Errors
    /// `NOT_FOUND`, `FAILED_PRECONDITION` naming the first member that does not hold it.
    pub async fn use_key(&self, id: &str, force: bool) -> Result<pb::KeyReport, Error> {
        let id = id.to_owned();
        let request = pb::UseKeyRequest { id, force };
        let answer = of("UseKey", self.keys().use_key(request).await)?;
        report("UseKey", answer.report)
    }

    /// Takes a key away everywhere; `force` although members do not answer.
    ///
    /// # Errors
    /// `NOT_FOUND`, `FAILED_PRECONDITION` for the last key and for one that seals.
    pub async fn remove_key(&self, id: &str, force: bool) -> Result<pb::KeyReport, Error> {
        let id = id.to_owned();
        let request = pb::RemoveKeyRequest { id, force };
        let answer = of("RemoveKey", self.keys().remove_key(request).await)?;
        report("RemoveKey", answer.report)
    }

    /// Replaces the key that seals by this one, or by one that the daemon makes; the
    /// old one is removed after `overlap` (the daemon's default if `None`).
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` naming the first member that did not take the new key.
    pub async fn rotate_key(
        &self,
        key: Option<Bytes>,
        overlap: Option<Duration>,
    ) -> Result<pb::RotateKeyResponse, Error> {
        let overlap = overlap.map(prost_types::Duration::try_from).transpose();
        let overlap =
            overlap.map_err(|_beyond| Error::protocol("RotateKey", "the overlap is too long"))?;
        let key = key.unwrap_or_default();
        let request = pb::RotateKeyRequest { key, overlap };
        of("RotateKey", self.keys().rotate_key(request).await)
    }

    /// Goes one stage on or back between plaintext and encryption, everywhere; `force`
    /// although members are not ready.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` naming the first member that is not ready.
    pub async fn set_encryption(
        &self,
        stage: pb::EncryptionStage,
        force: bool,
    ) -> Result<pb::KeyReport, Error> {
        let stage = stage.into();
        let request = pb::SetEncryptionRequest { stage, force };
        let answer = of("SetEncryption", self.keys().set_encryption(request).await)?;
        report("SetEncryption", answer.report)
    }

    fn keys(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

fn of<T>(call: &'static str, answer: Result<tonic::Response<T>, Status>) -> Result<T, Error> {
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(Error::of_call(call, status)),
    }
}

fn report(call: &'static str, report: Option<pb::KeyReport>) -> Result<pb::KeyReport, Error> {
    report.ok_or_else(|| Error::protocol(call, "an answer without a report"))
}
