//! The keyring file: a JSON list of base64 keys, the first one primary, as serf writes
//! and reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use muster_proto::token::KeyBytes;
use zeroize::Zeroizing;

use super::KEYS_MAX;

/// Largest keyring file that is read, bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 10;

/// Why a keyring file cannot be used. Never shows what is in it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Others can read it.
    #[error("it can be read by other users (mode {mode:04o}): chmod 600 it")]
    Open {
        /// Its mode.
        mode: u32,
    },
    /// The system said no.
    #[error("cannot {what} it: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is longer than any ring.
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// It ends in the middle, or is no JSON.
    #[error("line {line}, column {column}: it is no JSON list of base64 keys ({why})")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1; 0 at the end of a line.
        column: usize,
        /// What JSON says, without the text.
        why: &'static str,
    },
    /// One of its keys is none.
    #[error("key {number}: {why}")]
    Key {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
    /// There is none.
    #[error("it holds no key")]
    Empty,
    /// More than a ring has.
    #[error("it holds {0} keys, at most {KEYS_MAX} are allowed")]
    TooMany(usize),
}

impl FileError {
    /// Whether there is simply no file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// Reads a keyring file: the keys in their order, each once.
///
/// # Errors
/// What is wrong with it; never what is in it.
pub fn read(path: &Path) -> Result<Vec<KeyBytes>, FileError> {
    let file = File::open(path).map_err(io_error("open"))?;
    let mode = file.metadata().map_err(io_error("look at"))?.permissions();
    let mode = mode.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Open { mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 10));
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error("read"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(FileError::TooLong);
    }
    parse(&bytes)
}

/// Reads the text of a keyring file.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<Vec<KeyBytes>, FileError> {
    let texts: Vec<Zeroizing<String>> = serde_json::from_slice::<Vec<String>>(bytes)
        .map_err(|error| FileError::Syntax {
            line: error.line(),
            column: error.column(),
            // The text of the error may repeat the key.
            why: match error.classify() {
                serde_json::error::Category::Eof => "it ends in the middle",
                serde_json::error::Category::Data => "an item is no text, or it is no list",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                    "the syntax is wrong"
                }
            },
        })?
        .into_iter()
        .map(Zeroizing::new)
        .collect();
    let mut keys: Vec<KeyBytes> = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let number = at + 1;
        let key = KeyBytes::parse(text).map_err(|error| FileError::Key {
            number,
            why: error.to_string(),
        })?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    match keys.len() {
        0 => Err(FileError::Empty),
        count if count > KEYS_MAX => Err(FileError::TooMany(count)),
        _ => Ok(keys),
    }
}

/// Replaces a keyring file, mode 0600: on return the new one is on the disk, and
/// whatever goes wrong leaves the old one whole. A file that is mounted by itself
/// cannot be replaced.
///
/// # Errors
/// [`FileError::Io`].
pub fn write(path: &Path, keys: &[&KeyBytes]) -> Result<(), FileError> {
    let temporary = temporary(path);
    let written = replace(path, &temporary, &text(keys));
    if written.is_err()
        && let Err(error) = fs::remove_file(&temporary)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %temporary.display(), %error, "a temporary keyring file stays");
    }
    written
}

/// As serf writes it: two spaces, a key a line.
fn text(keys: &[&KeyBytes]) -> Zeroizing<String> {
    let bytes = keys.len() * 64 + 16;
    let mut text = Zeroizing::new(String::with_capacity(bytes));
    text.push('[');
    for (at, key) in keys.iter().enumerate() {
        text.push_str(if at == 0 { "\n  \"" } else { ",\n  \"" });
        text.push_str(&key.to_text());
        text.push('"');
    }
    text.push_str("\n]");
    text
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

fn replace(path: &Path, temporary: &Path, text: &str) -> Result<(), FileError> {
    // One that was left behind may have any mode.
    match fs::remove_file(temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("replace the temporary file of")(error)),
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)
        .map_err(io_error("create the temporary file of"))?;
    file.write_all(text.as_bytes()).map_err(io_error("write"))?;
    file.sync_all().map_err(io_error("sync"))?;
    fs::rename(temporary, path).map_err(io_error("replace"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error("sync the directory of"))
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io { what, source }
}

#[cfg(test)]
mod tests;
