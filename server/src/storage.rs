//! Files that outlive a restart: whole or not at all, checked on reading. Calls block
//! on the disk: never make them on the engine's thread.

mod error;
mod file;
pub mod serf;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use prost::Message;

pub use error::DiskError;
pub use file::{StoredFile, VERSION};

/// Largest file that is read or written, bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;

const LOCK: &str = "lock";

/// A data directory, locked as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: Option<File>,
}

/// What was found in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<M> {
    /// There is no file.
    Missing,
    /// As it was written.
    Found(M),
    /// It cannot be used, and was set aside.
    Damaged {
        /// What is wrong with it.
        why: String,
        /// Where it is now, unless it could not be moved.
        kept: Option<PathBuf>,
    },
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another daemon has it.
    #[error("data directory {} belongs to a running daemon{}", path.display(), owner(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, as it wrote itself.
        pid: Option<u32>,
    },
    /// A file of it cannot.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl StorageError {
    /// Whether the disk takes no writes now (full, over quota, or read-only): the
    /// daemon goes on in memory.
    #[must_use]
    pub fn disk_refuses(&self) -> bool {
        match self {
            Self::Disk(error) => error.is_refusal(),
            Self::Locked { .. } => false,
        }
    }
}

impl DataDir {
    /// Makes the directory (mode 0700) if need be, and locks it.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another daemon has it, or what the system said.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(io_error("create", path))?;
        warn_if_open_to_others(path);
        let lock = lock(path)?;
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> StoredFile {
        StoredFile::new(self.path.join(name))
    }

    /// [`StoredFile::write`] of a file in it.
    ///
    /// # Errors
    /// What the system said; [`DiskError::TooLarge`].
    pub fn write<M: Message>(&self, name: &str, message: &M) -> Result<(), StorageError> {
        self.file(name).write(message)
    }

    /// [`StoredFile::read`] of a file in it.
    ///
    /// # Errors
    /// What the system said, except that there is no such file.
    pub fn read<M: Message + Default>(&self, name: &str) -> Result<Loaded<M>, StorageError> {
        self.file(name).read()
    }

    /// [`StoredFile::damaged`] of a file in it.
    pub fn damaged<M>(&self, name: &str, why: String) -> Loaded<M> {
        self.file(name).damaged(why)
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // The lock goes with its file; the file stays, as removing it would race.
        self.lock.take();
    }
}

fn lock(dir: &Path) -> Result<Option<File>, StorageError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = match options.open(&path) {
        Ok(file) => file,
        // Nobody can write there, so two readers do no harm.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => return Ok(None),
        Err(error) => return Err(io_error("open", &path)(error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.take(16).read_to_string(&mut text);
            return Err(StorageError::Locked {
                path: dir.to_owned(),
                pid: read.ok().and_then(|_bytes| text.trim().parse().ok()),
            });
        }
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
    }
    // The number is only for the message to the next one: a full disk may refuse it.
    let noted = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(path = %path.display(), %error, "cannot note the process in the lock");
    }
    Ok(Some(file))
}

fn warn_if_open_to_others(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let mode = format!("{mode:04o}");
        tracing::warn!(path = %path.display(), mode, "data directory is open to other users");
    }
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let error = DiskError::io(what, path);
    move |source| error(source).into()
}

#[cfg(test)]
mod tests;
