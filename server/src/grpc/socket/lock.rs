//! The lock that keeps a second daemon away from a socket.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{SocketError, identity};

/// How often a lock file that somebody deletes meanwhile is opened anew.
const LOCK_ATTEMPTS: usize = 10;

/// The lock file beside a socket. A daemon holds its lock as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    pub(super) fn take(socket: &Path) -> Result<Self, SocketError> {
        let mut path = socket.to_owned().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..LOCK_ATTEMPTS {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600);
            let file = options
                .open(&path)
                .map_err(|error| SocketError::io("open lock file", &path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => {
                    return Err(SocketError::io("lock", &path, error));
                }
            }
            let lock = Self {
                path: path.clone(),
                file,
            };
            // A daemon that ends deletes the file: then this lock is of no use.
            if lock.is_in_place() {
                return Ok(lock);
            }
        }
        Err(SocketError::InUse {
            path: socket.to_owned(),
        })
    }

    pub(super) fn is_in_place(&self) -> bool {
        let held = self.file.metadata().map(|file| (file.dev(), file.ino()));
        held.is_ok_and(|held| identity(&self.path).is_ok_and(|there| held == there))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_in_place()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "lock file stays behind");
        }
    }
}
