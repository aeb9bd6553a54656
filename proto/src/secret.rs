//! `Debug` of messages that carry secrets: shows that there is one, never which.

use std::fmt;

use crate::peer::{KeyEntry, PrimaryKey};
use crate::v1::{InstallKeyRequest, RotateKeyRequest};

impl fmt::Debug for InstallKeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstallKeyRequest")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RotateKeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateKeyRequest")
            .field("overlap", &self.overlap)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("id", &format_args!("{:08x}", self.id))
            .field("stamp", &self.stamp)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PrimaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrimaryKey")
            .field("id", &format_args!("{:08x}", self.id))
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_a_secret() {
        let key = vec![0xab; 32];
        let entry = KeyEntry {
            id: 1,
            secret: key.clone().into(),
            ..KeyEntry::default()
        };
        let primary = PrimaryKey {
            secret: key.clone().into(),
            ..PrimaryKey::default()
        };
        let install = InstallKeyRequest {
            key: key.clone().into(),
            local: true,
        };
        let rotate = RotateKeyRequest {
            key: key.into(),
            overlap: None,
        };
        for text in [
            format!("{entry:?}"),
            format!("{primary:?}"),
            format!("{install:?}"),
            format!("{rotate:?}"),
        ] {
            assert!(!text.contains("171") && !text.contains("ab"), "{text}");
        }
    }
}
