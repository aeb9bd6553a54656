//! Secrets that came as a value, where a setting takes a file: files in memory, which
//! have no name that others could open.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use zeroize::Zeroizing;

/// Secrets that are kept, with their files: a reload finds the same file again, so that
/// many of them cost nothing.
static KEPT: Mutex<Vec<(Zeroizing<String>, File)>> = Mutex::new(Vec::new());

/// The path of a file in memory that holds a secret, for this process only.
///
/// # Errors
/// If the system gives none.
pub fn file(secret: &str) -> io::Result<PathBuf> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, file)) = kept.iter().find(|(known, _)| known.as_str() == secret) {
        return Ok(path(file));
    }
    let file = open(secret)?;
    let path = path(&file);
    kept.push((Zeroizing::new(secret.to_owned()), file));
    Ok(path)
}

/// A file in memory that holds a secret, read from its begin.
///
/// # Errors
/// If the system gives none.
pub fn open(secret: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("secret", MemfdFlags::CLOEXEC)?);
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    file.write_all(secret.as_bytes())?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_read_again_and_again_and_kept_once() {
        let path = file("a secret of this test").unwrap();
        for _ in 0..2 {
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, "a secret of this test");
        }
        assert_eq!(file("a secret of this test").unwrap(), path);
        assert_ne!(file("another one").unwrap(), path);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
