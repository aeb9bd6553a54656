//! Errors that name the path and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::MAX_PATH;

/// Why a socket cannot be had, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path does not fit into a socket address.
    #[error(
        "socket path {path} needs {length} bytes, but a unix socket path has at most {MAX_PATH}: \
         choose a shorter one"
    )]
    TooLong {
        /// The configured path.
        path: PathBuf,
        /// Bytes that it needs, or that the name needs under which it is made.
        length: usize,
    },
    /// The path names no file.
    #[error("socket path {path} does not end in a file name")]
    NoName {
        /// The configured path.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error(
        "another daemon is running on socket {path}: stop it, or choose another path with --socket"
    )]
    InUse {
        /// The configured path.
        path: PathBuf,
    },
    /// Something that is no socket is there, and is not deleted.
    #[error("{path} exists and is not a socket: remove it, or choose another path with --socket")]
    NotASocket {
        /// The configured path.
        path: PathBuf,
    },
    /// The daemon's user may not do what is needed there.
    #[error(
        "cannot {action} {path} as uid {uid}: make the directory writable for it, run the daemon \
         as another user, or choose another path with --socket"
    )]
    Permission {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The effective user of the daemon.
        uid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The file system refused for another reason.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No such group.
    #[error("there is no group {name} in {file}: create it, or give its number")]
    UnknownGroup {
        /// The name that was looked for.
        name: String,
        /// Where.
        file: PathBuf,
    },
}

impl SocketError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let refused = [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
        ];
        if refused.contains(&source.kind()) {
            let uid = rustix::process::geteuid().as_raw();
            return Self::Permission {
                action,
                path,
                uid,
                source,
            };
        }
        Self::Io {
            action,
            path,
            source,
        }
    }
}
