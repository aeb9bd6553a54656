//! Files that outlive a restart: whole or not at all, checked on reading.
//!
//! ```text
//! "MSTR", format version (u16), zero (u16), body bytes (u32), CRC-32 of body (u32), body
//! ```
//! All numbers big endian; the body is a protobuf message. Calls block on the disk:
//! never make them on the engine's thread.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use prost::Message;

/// Format version of the files.
pub const VERSION: u16 = 1;

/// Largest file that is read or written, bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 4] = *b"MSTR";
const HEADER_BYTES: usize = 16;
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
    /// The message is larger than any file may be.
    #[error("{} would have {bytes} bytes, at most {FILE_BYTES_MAX} are allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        bytes: usize,
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

impl StorageError {
    /// Whether the disk takes no writes now (full, over quota, or read-only): the
    /// daemon goes on in memory.
    #[must_use]
    pub fn disk_refuses(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
            ),
            Self::Locked { .. } | Self::TooLarge { .. } => false,
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

    /// Replaces a file: on return the new one is on the disk, and whatever goes
    /// wrong leaves the old one whole.
    ///
    /// # Errors
    /// What the system said; [`StorageError::TooLarge`].
    pub fn write<M: Message>(&self, name: &str, message: &M) -> Result<(), StorageError> {
        let path = self.path.join(name);
        let bytes = frame(message).map_err(|bytes| StorageError::TooLarge {
            path: path.clone(),
            bytes,
        })?;
        replace_file(&path, &bytes)
    }

    /// Reads a file. One that makes no sense is set aside as `NAME.bad`.
    ///
    /// # Errors
    /// What the system said, except that there is no such file.
    pub fn read<M: Message + Default>(&self, name: &str) -> Result<Loaded<M>, StorageError> {
        let path = self.path.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::Missing),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(HEADER_BYTES + FILE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(io_error("read", &path))?;
        Ok(match unframe(&bytes) {
            Ok(message) => Loaded::Found(message),
            Err(why) => self.damaged(name, why),
        })
    }

    /// Sets a file aside whose content cannot be meant, and says so.
    pub fn damaged<M>(&self, name: &str, why: String) -> Loaded<M> {
        let path = self.path.join(name);
        let bad = self.path.join(format!("{name}.bad"));
        let kept = match fs::rename(&path, &bad) {
            Ok(()) => Some(bad),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot set the damaged file aside");
                None
            }
        };
        tracing::warn!(
            path = %path.display(),
            kept = kept.as_ref().map(|kept| kept.display().to_string()),
            why,
            "stored file is damaged: starting as if it were new"
        );
        Loaded::Damaged { why, kept }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // The lock goes with its file; the file stays, as removing it would race.
        self.lock.take();
    }
}

/// Replaces a file of any name, mode 0600: on return the new one is on the disk, and
/// whatever goes wrong leaves the old one whole. `PATH.tmp` is used on the way.
///
/// # Errors
/// What the system said.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let written = replace(&temporary, path, bytes);
    if written.is_err()
        && let Err(error) = fs::remove_file(&temporary)
        && error.kind() != ErrorKind::NotFound
    {
        // The next write opens the same name again.
        tracing::debug!(path = %temporary.display(), %error, "temporary file stays");
    }
    written
}

fn replace(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options
        .open(temporary)
        .map_err(io_error("create", temporary))?;
    file.write_all(bytes)
        .map_err(io_error("write", temporary))?;
    file.sync_all().map_err(io_error("sync", temporary))?;
    fs::rename(temporary, path).map_err(io_error("replace", path))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let handle = File::open(directory).map_err(io_error("open", directory))?;
    handle.sync_all().map_err(io_error("sync", directory))
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

fn frame(message: &impl Message) -> Result<Vec<u8>, usize> {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= FILE_BYTES_MAX);
    let length = length.ok_or(body.len())?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&crc32(&body).to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn unframe<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("it has only {} bytes", bytes.len()));
    };
    let [m0, m1, m2, m3, v0, v1, _, _, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err("it is no file of Muster".to_owned());
    }
    let version = u16::from_be_bytes([v0, v1]);
    if version != VERSION {
        return Err(format!(
            "it has format version {version}, this daemon knows {VERSION}"
        ));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    if u32::try_from(body.len()) != Ok(length) {
        return Err(format!("it has {} of {length} bytes", body.len()));
    }
    if crc32(body) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Err("its checksum does not match".to_owned());
    }
    M::decode(body).map_err(|error| format!("it cannot be decoded: {error}"))
}

/// CRC-32 as in zlib (reflected 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xFF;
        (crc >> 8)
            ^ (0..8).fold(index, |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
            })
    });
    !crc
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Io { what, path, source }
}

#[cfg(test)]
mod tests;
