//! Rings as messages between daemons, and as the file of a data directory.

use muster_engine::Stage;
use muster_engine::crypto::KeyId;
use muster_proto::peer as pb;
use muster_proto::token::KeyBytes;
use zeroize::Zeroizing;

use super::KEYS_MAX;
use super::ring::{Entry, Primary, REMOVED_MAX, Register, Ring, State};

/// Keys of one message, removed ones included: what no node has is refused.
const MESSAGE_KEYS_MAX: usize = KEYS_MAX + REMOVED_MAX;

/// Why a message is no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// More than any node has.
    #[error("it has {0} keys, at most {MESSAGE_KEYS_MAX} are allowed")]
    TooMany(usize),
    /// One of its keys makes no sense.
    #[error("key {id:08x}: {why}")]
    Key {
        /// As it calls itself.
        id: u32,
        /// What is wrong with it.
        why: String,
    },
    /// A stage that is not known.
    #[error("stage {0} is not known")]
    Stage(u32),
}

/// A stage as a number.
#[must_use]
pub(super) const fn stage_number(stage: Stage) -> u32 {
    match stage {
        Stage::Receive => 1,
        Stage::Send => 2,
        Stage::On => 3,
    }
}

/// The stage of a number.
///
/// # Errors
/// [`MessageError::Stage`].
pub(super) fn stage_of(number: u32) -> Result<Stage, MessageError> {
    let found = Stage::ALL
        .into_iter()
        .find(|stage| stage_number(*stage) == number);
    found.ok_or(MessageError::Stage(number))
}

/// A key id as a number.
#[must_use]
pub(super) fn id_number(id: KeyId) -> u32 {
    u32::from_be_bytes(id.to_bytes())
}

/// The key id of a number.
#[must_use]
pub(super) fn id_of(number: u32) -> KeyId {
    KeyId::from_bytes(number.to_be_bytes())
}

impl Ring {
    /// As a message, secrets and all.
    #[must_use]
    pub fn to_message(&self) -> pb::KeyState {
        let entry = |(id, entry): (&KeyId, &Entry)| match &entry.state {
            State::Installed {
                secret,
                retire_at_unix_ms,
            } => pb::KeyEntry {
                id: id_number(*id),
                stamp: entry.stamp,
                secret: secret.as_bytes().to_vec().into(),
                removed: false,
                retire_at_unix_ms: retire_at_unix_ms.unwrap_or(0),
            },
            State::Removed => pb::KeyEntry {
                id: id_number(*id),
                stamp: entry.stamp,
                removed: true,
                ..pb::KeyEntry::default()
            },
        };
        pb::KeyState {
            keys: self.entries.iter().map(entry).collect(),
            primary: self.primary.as_ref().map(|register| pb::PrimaryKey {
                id: id_number(register.value.id),
                stamp: register.stamp,
                secret: register.value.secret.as_bytes().to_vec().into(),
            }),
            stage: self.stage.map(|register| pb::EncryptionStage {
                stage: stage_number(register.value),
                stamp: register.stamp,
            }),
        }
    }

    /// Reads a message of anybody.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_message(message: pb::KeyState) -> Result<Self, MessageError> {
        let count = message.keys.len();
        if count > MESSAGE_KEYS_MAX {
            return Err(MessageError::TooMany(count));
        }
        let mut ring = Self::default();
        for key in message.keys {
            let (id, stamp) = (key.id, key.stamp);
            let state = if key.removed {
                State::Removed
            } else {
                State::Installed {
                    secret: secret_of(id, &key.secret)?,
                    retire_at_unix_ms: (key.retire_at_unix_ms > 0).then_some(key.retire_at_unix_ms),
                }
            };
            ring.entries.insert(id_of(id), Entry { stamp, state });
        }
        ring.primary = match message.primary {
            Some(primary) => Some(Register {
                stamp: primary.stamp,
                value: Primary {
                    id: id_of(primary.id),
                    secret: secret_of(primary.id, &primary.secret)?,
                },
            }),
            None => None,
        };
        ring.stage = match message.stage {
            Some(stage) => Some(Register {
                stamp: stage.stamp,
                value: stage_of(stage.stage)?,
            }),
            None => None,
        };
        if ring.primary.is_none() {
            ring.primary = ring.latest();
        }
        Ok(ring)
    }
}

/// The bytes of a key, which must be those of its id.
fn secret_of(id: u32, bytes: &[u8]) -> Result<KeyBytes, MessageError> {
    let bad = |why: String| MessageError::Key { id, why };
    let secret = KeyBytes::new(Zeroizing::new(bytes.to_vec()));
    let secret = secret.map_err(|error| bad(error.to_string()))?;
    let made = Ring::id_of(&secret).map_err(|error| bad(error.to_string()))?;
    if made != id_of(id) {
        return Err(bad("its bytes have another id".to_owned()));
    }
    Ok(secret)
}
