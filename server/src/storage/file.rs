//! One file: a header with a checksum, and a protobuf message.
//!
//! ```text
//! "MSTR", format version (u16), zero (u16), body bytes (u32), CRC-32 of body (u32), body
//! ```
//! All numbers big endian.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use prost::Message;

use super::{DiskError, FILE_BYTES_MAX, Loaded, StorageError, io_error};

/// Format version of the files.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"MSTR";
pub(super) const HEADER_BYTES: usize = 16;

/// A file that is replaced whole, mode 0600.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    path: PathBuf,
}

impl StoredFile {
    /// The file at a path. Nothing is touched yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces it: on return the new one is on the disk, and whatever goes wrong
    /// leaves the old one whole.
    ///
    /// # Errors
    /// What the system said; [`DiskError::TooLarge`].
    pub fn write<M: Message>(&self, message: &M) -> Result<(), StorageError> {
        let bytes = frame(message).map_err(|bytes| DiskError::TooLarge {
            path: self.path.clone(),
            bytes,
            most: FILE_BYTES_MAX,
        })?;
        self.write_bytes(&bytes)
    }

    /// [`StoredFile::write`] of bytes as they are, without version and checksum.
    ///
    /// # Errors
    /// What the system said.
    pub fn write_bytes(&self, bytes: &[u8]) -> Result<(), StorageError> {
        let temporary = self.beside("tmp");
        let written = self.replace(&temporary, bytes);
        if written.is_err()
            && let Err(error) = fs::remove_file(&temporary)
            && error.kind() != ErrorKind::NotFound
        {
            // The next write opens the same name again.
            tracing::debug!(path = %temporary.display(), %error, "temporary file stays");
        }
        written
    }

    /// Reads it. One that makes no sense is set aside as `NAME.bad`.
    ///
    /// # Errors
    /// What the system said, except that there is no such file.
    pub fn read<M: Message + Default>(&self) -> Result<Loaded<M>, StorageError> {
        let Some(bytes) = self.bytes()? else {
            return Ok(Loaded::Missing);
        };
        Ok(match unframe(&bytes) {
            Ok(message) => Loaded::Found(message),
            Err(why) => self.damaged(why),
        })
    }

    /// Its content, at most one byte more than any file of ours; `None` if there is
    /// no such file.
    ///
    /// # Errors
    /// What the system said.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &self.path)(error)),
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(HEADER_BYTES + FILE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(io_error("read", &self.path))?;
        Ok(Some(bytes))
    }

    /// Whether bytes begin as a file of ours does.
    #[must_use]
    pub fn is_ours(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Sets it aside because its content cannot be meant, and says so.
    pub fn damaged<M>(&self, why: String) -> Loaded<M> {
        let (path, bad) = (&self.path, self.beside("bad"));
        let kept = match fs::rename(path, &bad) {
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

    /// Copies it to `NAME.EXTENSION`.
    ///
    /// # Errors
    /// What the system said.
    pub fn copy_aside(&self, extension: &str) -> Result<PathBuf, StorageError> {
        let copy = self.beside(extension);
        fs::copy(&self.path, &copy).map_err(io_error("copy to", &copy))?;
        Ok(copy)
    }

    /// Makes the directory that it is in (mode 0700) if need be.
    ///
    /// # Errors
    /// What the system said.
    pub fn make_directory(&self) -> Result<(), StorageError> {
        let directory = self.directory();
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(io_error("create", directory))
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        }
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(extension);
        PathBuf::from(path)
    }

    fn replace(&self, temporary: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options
            .open(temporary)
            .map_err(io_error("create", temporary))?;
        file.write_all(bytes)
            .map_err(io_error("write", temporary))?;
        file.sync_all().map_err(io_error("sync", temporary))?;
        fs::rename(temporary, &self.path).map_err(io_error("replace", &self.path))?;
        let path = self.directory();
        let directory = File::open(path).map_err(io_error("open", path))?;
        directory.sync_all().map_err(io_error("sync", path))
    }
}

pub(super) fn frame(message: &impl Message) -> Result<Vec<u8>, usize> {
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

pub(super) fn unframe<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
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
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xFF;
        (crc >> 8)
            ^ (0..8).fold(index, |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
            })
    });
    !crc
}
