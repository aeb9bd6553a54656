//! Datagrams as they are on the wire.
//!
//! ```text
//! 0        1       2        6            14          22         28           30
//! | version | suite | key id | instance LE | counter LE | random 6 | cluster 2 | body | tag 16 |
//!                            |<-------------- nonce 24 ----------------------->|
//! ```
//! Suite 1 is XChaCha20-Poly1305 over the body; the 30 bytes in front and the
//! cluster name are authenticated with it. Suite 0 is the same framing in clear,
//! without a tag; its key id field holds four more bytes of the cluster's hash.

use bytes::{BufMut as _, Bytes, BytesMut};
use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

use super::key::{Key, KeyId};
use super::keyring::Keyring;
use super::replay::Replay;
use crate::time::Time;

/// The one framing that is known.
pub const VERSION: u8 = 1;

/// Largest datagram that UDP over IPv4 carries, bytes.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

const SUITE_PLAIN: u8 = 0;
const SUITE_SEALED: u8 = 1;
const HEADER: usize = 30;
const NONCE: std::ops::Range<usize> = 6..HEADER;
const TAG: usize = 16;

/// An opened datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Instance of the sender.
    pub instance: u64,
    /// The sender's number of the datagram.
    pub counter: u64,
    /// It came sealed.
    pub sealed: bool,
    /// What it carries.
    pub body: Bytes,
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than the framing.
    #[error("it is cut short")]
    Truncated,
    /// Longer than the limit.
    #[error("it is longer than allowed")]
    Oversized,
    /// A framing that is not known.
    #[error("its version is {0}, only 1 is known")]
    Version(u8),
    /// A way of sealing that is not known.
    #[error("its suite is {0}, only 0 and 1 are known")]
    Suite(u8),
    /// It came in clear, this node takes only what is sealed.
    #[error("it is not sealed, and this node has a key")]
    PlaintextRefused,
    /// It came sealed, this node has no key.
    #[error("it is sealed, and this node has no key")]
    SealedRefused,
    /// Sealed under a key that this node does not have.
    #[error("its key {0} is not known here")]
    UnknownKey(KeyId),
    /// Meant for another cluster.
    #[error("it belongs to another cluster")]
    OtherCluster,
    /// Damaged, or made by somebody without the key.
    #[error("its seal is broken")]
    Forged,
    /// This node's own datagram came back.
    #[error("it is one of this node's own")]
    Reflected,
    /// Seen before, or too old to know.
    #[error("it was seen before or is too old")]
    Replayed,
}

impl OpenError {
    /// The word for it in counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Oversized => "oversized",
            Self::Version(_) => "version",
            Self::Suite(_) => "suite",
            Self::PlaintextRefused => "plaintext_refused",
            Self::SealedRefused => "sealed_refused",
            Self::UnknownKey(_) => "unknown_key",
            Self::OtherCluster => "other_cluster",
            Self::Forged => "forged",
            Self::Reflected => "reflected",
            Self::Replayed => "replayed",
        }
    }
}

/// Seals and opens the datagrams of one node.
#[derive(Debug)]
pub struct Sealer {
    cluster: String,
    /// Start of the SHA-256 of the cluster name: 2 bytes for the nonce, 4 for
    /// the key id field of suite 0.
    cluster_hash: [u8; 6],
    keyring: Option<Keyring>,
    instance: u64,
    counter: u64,
    limit: usize,
    replay: Replay,
}

impl Sealer {
    /// Bytes that sealing adds, at most.
    pub const OVERHEAD: usize = HEADER + TAG;

    /// For the node `instance` of a cluster; without keys it talks in clear, with
    /// them as the stage of the ring says.
    #[must_use]
    pub fn new(cluster: &str, keyring: Option<Keyring>, instance: u64) -> Self {
        let digest = Sha256::digest(cluster.as_bytes());
        let mut cluster_hash = [0; 6];
        cluster_hash.copy_from_slice(&digest[..6]);
        Self {
            cluster: cluster.to_owned(),
            cluster_hash,
            keyring,
            instance,
            counter: 0,
            limit: DATAGRAM_BYTES_MAX,
            replay: Replay::default(),
        }
    }

    /// Opens nothing longer than `bytes`; at most [`DATAGRAM_BYTES_MAX`].
    #[must_use]
    pub fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes.min(DATAGRAM_BYTES_MAX);
        self
    }

    /// Goes on with other keys, or without any. What it remembers of senders stays.
    pub fn set_keyring(&mut self, keyring: Option<Keyring>) {
        self.keyring = keyring;
    }

    /// Seals a body into a datagram. `random` makes the nonce unique even where
    /// two processes wrongly share an instance; 48 bits of it are used.
    #[must_use]
    pub fn seal(&mut self, random: u64, body: &[u8]) -> Bytes {
        self.counter += 1;
        let mut datagram = BytesMut::with_capacity(Self::OVERHEAD + body.len());
        datagram.put_u8(VERSION);
        let key = self.keyring.as_ref().and_then(Keyring::sealing);
        match key {
            Some(key) => {
                datagram.put_u8(SUITE_SEALED);
                datagram.put_slice(&key.id().to_bytes());
            }
            None => {
                datagram.put_u8(SUITE_PLAIN);
                datagram.put_slice(&self.cluster_hash[2..]);
            }
        }
        datagram.put_u64_le(self.instance);
        datagram.put_u64_le(self.counter);
        datagram.put_slice(&random.to_le_bytes()[..6]);
        datagram.put_slice(&self.cluster_hash[..2]);
        datagram.put_slice(body);
        if let Some(key) = key {
            let (header, sealed) = datagram.split_at_mut(HEADER);
            let tag = cipher(key)
                .encrypt_inout_detached(&nonce_of(header), &self.associated(header), sealed.into())
                .expect("a datagram is far below the cipher's 256 GiB");
            datagram.put_slice(&tag);
        }
        datagram.freeze()
    }

    /// Opens a datagram, once.
    ///
    /// # Errors
    /// Why it must be dropped. Nothing was changed by it then.
    pub fn open(&mut self, now: Time, datagram: &[u8]) -> Result<Opened, OpenError> {
        if datagram.len() > self.limit {
            return Err(OpenError::Oversized);
        }
        let version = *datagram.first().ok_or(OpenError::Truncated)?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let suite = *datagram.get(1).ok_or(OpenError::Truncated)?;
        if !matches!(suite, SUITE_PLAIN | SUITE_SEALED) {
            return Err(OpenError::Suite(suite));
        }
        let (header, rest) = datagram
            .split_at_checked(HEADER)
            .ok_or(OpenError::Truncated)?;
        let body = match (suite, &self.keyring) {
            (SUITE_PLAIN, Some(keyring)) if !keyring.stage().accepts_plaintext() => {
                return Err(OpenError::PlaintextRefused);
            }
            (SUITE_PLAIN, _) => self.open_plain(header, rest)?,
            (_, None) => return Err(OpenError::SealedRefused),
            (_, Some(keyring)) => self.open_sealed(keyring, header, rest)?,
        };
        let instance = u64_at(header, 6);
        let counter = u64_at(header, 14);
        if instance == self.instance {
            return Err(OpenError::Reflected);
        }
        if !self.replay.admit(now, instance, counter) {
            return Err(OpenError::Replayed);
        }
        Ok(Opened {
            instance,
            counter,
            sealed: suite == SUITE_SEALED,
            body,
        })
    }

    /// Senders that the replay window remembers.
    #[must_use]
    pub fn senders(&self) -> usize {
        self.replay.len()
    }

    fn open_plain(&self, header: &[u8], body: &[u8]) -> Result<Bytes, OpenError> {
        if header[2..6] != self.cluster_hash[2..] || header[28..] != self.cluster_hash[..2] {
            return Err(OpenError::OtherCluster);
        }
        Ok(Bytes::copy_from_slice(body))
    }

    fn open_sealed(
        &self,
        keyring: &Keyring,
        header: &[u8],
        rest: &[u8],
    ) -> Result<Bytes, OpenError> {
        let (sealed, tag) = rest.split_last_chunk::<TAG>().ok_or(OpenError::Truncated)?;
        let id = KeyId::from_bytes([header[2], header[3], header[4], header[5]]);
        let key = keyring.get(id).ok_or(OpenError::UnknownKey(id))?;
        if header[28..] != self.cluster_hash[..2] {
            return Err(OpenError::OtherCluster);
        }
        let mut body = sealed.to_vec();
        cipher(key)
            .decrypt_inout_detached(
                &nonce_of(header),
                &self.associated(header),
                body.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_opaque| OpenError::Forged)?;
        Ok(Bytes::from(body))
    }

    fn associated(&self, header: &[u8]) -> Vec<u8> {
        [header, self.cluster.as_bytes()].concat()
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.datagram_key().into())
}

fn nonce_of(header: &[u8]) -> XNonce {
    let mut nonce = XNonce::default();
    nonce.copy_from_slice(&header[NONCE]);
    nonce
}

fn u64_at(header: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
