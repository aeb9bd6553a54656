//! Why a file cannot be read or written.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a file of ours is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It is larger than any file of its kind may be.
    #[error("{} would have {bytes} bytes, at most {most} are allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// The system said no.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl DiskError {
    /// What becomes of the system's word on a file.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// Whether the disk takes no writes now: full, over quota, or read-only.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
            ),
            Self::TooLarge { .. } => false,
        }
    }
}
