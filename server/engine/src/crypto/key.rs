//! One key of a cluster and what is derived from it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Salt of every derivation: separates Muster from other users of the same bytes.
const SALT: &[u8] = b"muster";

/// Purposes. Distinct, so that no derived value says anything about another.
const INFO_ID: &[u8] = b"muster 1 key id";
const INFO_DATAGRAM: &[u8] = b"muster 1 datagram";
const INFO_PIPE: &[u8] = b"muster 1 pipe";

/// Public name of a key: derived from it, says nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// The id with these bytes, as read from the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Its bytes, as written to the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u32::from_str_radix(text, 16) {
            Ok(id) if digits => Ok(Self(id.to_be_bytes())),
            Ok(_) | Err(_) => Err(KeyError::Id),
        }
    }
}

/// Why bytes are no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 16, 24 or 32 bytes.
    #[error("a key has 16, 24 or 32 bytes, not {0}")]
    Length(usize),
    /// Not a key id.
    #[error("a key id has 8 hexadecimal digits")]
    Id,
}

/// A key of the cluster. Its secrets are wiped when the last clone goes, and
/// `Debug` shows only the id.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    secrets: Arc<Secrets>,
}

struct Secrets {
    /// HKDF's extracted key: the source of later derivations.
    root: Zeroizing<[u8; 32]>,
    datagram: Zeroizing<[u8; 32]>,
}

impl Key {
    /// The key made of 16, 24 or 32 bytes, as memberlist and serf take them.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if !matches!(bytes.len(), 16 | 24 | 32) {
            return Err(KeyError::Length(bytes.len()));
        }
        let (extracted, _) = Hkdf::<Sha256>::extract(Some(SALT), bytes);
        let root = Zeroizing::new(<[u8; 32]>::from(extracted));
        let mut id = [0; 4];
        derive(&root, &[INFO_ID], &mut id);
        let mut datagram = Zeroizing::new([0; 32]);
        derive(&root, &[INFO_DATAGRAM], &mut *datagram);
        Ok(Self {
            id: KeyId(id),
            secrets: Arc::new(Secrets { root, datagram }),
        })
    }

    /// Its public name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The pre-shared key of Noise for pipes within a cluster.
    #[must_use]
    pub fn psk(&self, cluster: &str) -> Zeroizing<[u8; 32]> {
        let mut psk = Zeroizing::new([0; 32]);
        let info = [INFO_PIPE, b"\0", cluster.as_bytes()];
        derive(&self.secrets.root, &info, &mut *psk);
        psk
    }

    /// The key under which datagrams are sealed.
    pub(crate) fn datagram_key(&self) -> &[u8; 32] {
        &self.secrets.datagram
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

fn derive(root: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    Hkdf::<Sha256>::from_prk(root)
        .expect("32 bytes are one SHA-256 output")
        .expand_multi_info(info, out)
        .expect("at most 32 bytes are taken, HKDF gives 8,160");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_three_lengths_only() {
        for length in 0..=64 {
            let made = Key::new(&vec![7; length]);
            if matches!(length, 16 | 24 | 32) {
                assert!(made.is_ok(), "{length}");
            } else {
                assert_eq!(made.err(), Some(KeyError::Length(length)));
            }
        }
    }

    #[test]
    fn derived_values_differ_by_purpose_key_and_cluster() {
        let key = Key::new(&[1; 32]).unwrap();
        let other = Key::new(&[2; 32]).unwrap();
        assert_ne!(key.id(), other.id());
        assert_ne!(key.datagram_key(), other.datagram_key());
        assert_ne!(key.psk("a"), key.psk("b"));
        assert_ne!(key.psk("a"), other.psk("a"));
        assert_ne!(*key.psk(""), *key.datagram_key());
        assert_eq!(key.psk("a"), Key::new(&[1; 32]).unwrap().psk("a"));
    }

    #[test]
    fn debug_shows_only_the_id() {
        let key = Key::new(&[0xab; 16]).unwrap();
        assert_eq!(format!("{key:?}"), format!("Key({})", key.id()));
    }

    #[test]
    fn ids_round_trip_as_text() {
        let id = Key::new(&[3; 24]).unwrap().id();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(KeyId([0, 0, 0, 0x1f]).to_string(), "0000001f");
        for bad in ["", "1", "0000001g", "000000001", "+000001f", "0x00001f"] {
            assert_eq!(bad.parse::<KeyId>(), Err(KeyError::Id), "{bad:?}");
        }
    }
}
