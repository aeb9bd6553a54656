//! Makes and opens a FIFO in a directory that containers can write to as well: whatever
//! they plant there, nothing outside of it is opened or changed.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Name of the FIFO in its directory, as serfnode called it.
pub(super) const NAME: &str = "parent";

/// What stood in its place and could not be removed is moved here.
const ASIDE: &str = ".parent.in-the-way";

/// Everybody may write: children run as any user. (Reading comes with it: who opens a
/// FIFO to read and write never waits.)
const FIFO_MODE: u32 = 0o666;

const DIRECTORY_MODE: u32 = 0o755;

/// Times that a FIFO is tried to be made while somebody else puts other things there.
const TRIES_MAX: usize = 8;

/// Device and inode. Not given to another file while this one is open.
pub(super) type FileId = (u64, u64);

/// A FIFO, open to read and write, so that it never ends and writers never wait for a
/// reader.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) id: FileId,
    pub(super) how: How,
}

/// How it came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It was there.
    Found,
    /// Nothing was there.
    Made,
    /// Something else was there.
    InsteadOf(&'static str),
}

/// Why there is no FIFO.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipeError {
    /// The path of the directory leaves the root.
    #[error("{0:?} is no path below the root")]
    Outside(std::path::PathBuf),
    /// The directory cannot be opened or made.
    #[error("cannot open the directory {name:?}")]
    Directory {
        /// Part of its path.
        name: String,
        /// Why; a symbolic link in its place is `ENOTDIR` or `ELOOP`.
        #[source]
        error: Errno,
    },
    /// A system call failed.
    #[error("cannot {what}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        error: Errno,
    },
    /// Somebody else is faster each time.
    #[error("something else is put in its place again and again")]
    Contested,
}

/// Looks after the FIFO below `directory` below `root`: `None` if it is still the one
/// that is known, otherwise it is opened, and made first if need be.
pub(super) fn check(
    root: BorrowedFd<'_>,
    directory: &Path,
    known: Option<FileId>,
) -> Result<Option<Opened>, PipeError> {
    let directory = open_directory(root, directory)?;
    place(directory.as_fd(), known)
}

/// Opens a directory below another without following a symbolic link, makes what is
/// missing.
fn open_directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, PipeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |name: &str, error| PipeError::Directory {
        name: name.to_owned(),
        error,
    };
    let mut open =
        rustix::fs::openat(root, ".", flags, Mode::empty()).map_err(|error| failed(".", error))?;
    for component in path.components() {
        let Component::Normal(name) = component else {
            return Err(PipeError::Outside(path.to_owned()));
        };
        let shown = name.to_string_lossy();
        let next = match rustix::fs::openat(&open, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => make_directory(open.as_fd(), name, flags),
            opened => opened,
        };
        open = next.map_err(|error| failed(&shown, error))?;
    }
    Ok(open)
}

fn make_directory(
    parent: BorrowedFd<'_>,
    name: &std::ffi::OsStr,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(DIRECTORY_MODE);
    match rustix::fs::mkdirat(parent, name, mode) {
        Ok(()) => {
            let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            // The umask took away what children need.
            rustix::fs::chmod(through_proc(made.as_fd()), mode)?;
            Ok(made)
        }
        Err(Errno::EXIST) => rustix::fs::openat(parent, name, flags, Mode::empty()),
        Err(error) => Err(error),
    }
}

fn place(directory: BorrowedFd<'_>, known: Option<FileId>) -> Result<Option<Opened>, PipeError> {
    let failed = |what| move |error| PipeError::Failed { what, error };
    let mut how = How::Found;
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..TRIES_MAX {
        let there = match rustix::fs::openat(directory, NAME, look, Mode::empty()) {
            Ok(there) => there,
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(FIFO_MODE);
                match rustix::fs::mkfifoat(directory, NAME, mode) {
                    Ok(()) if how == How::Found => how = How::Made,
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(failed("make it")(error)),
                }
                continue;
            }
            Err(error) => return Err(failed("look at it")(error)),
        };
        let stat = rustix::fs::fstat(&there).map_err(failed("look at it"))?;
        let (kind, id) = (
            FileType::from_raw_mode(stat.st_mode),
            (stat.st_dev, stat.st_ino),
        );
        if kind == FileType::Fifo && known == Some(id) {
            return Ok(None);
        }
        // One with other names is somebody else's.
        if kind == FileType::Fifo
            && stat.st_nlink == 1
            && let Some(file) = open(there.as_fd(), stat.st_mode).map_err(failed("open it"))?
        {
            return Ok(Some(Opened { file, id, how }));
        }
        how = How::InsteadOf(kind_name(kind));
        clear(directory, kind).map_err(failed("remove what is in its place"))?;
    }
    Err(PipeError::Contested)
}

/// Opens what was looked at, and nothing that was put there since. `None` if everybody
/// cannot be let in.
fn open(there: BorrowedFd<'_>, mode: u32) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = rustix::fs::open(through_proc(there), flags, Mode::empty());
    let file = match open {
        Ok(file) => file,
        Err(Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(error),
    };
    if mode & 0o7777 != FIFO_MODE
        && rustix::fs::fchmod(&file, Mode::from_raw_mode(FIFO_MODE)).is_err()
    {
        return Ok(None);
    }
    Ok(Some(File::from(file)))
}

/// The same FIFO, open to read only: it ends when the last writer is gone.
pub(super) fn reading_end(file: BorrowedFd<'_>) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(through_proc(file), flags, Mode::empty()).map(File::from)
}

fn through_proc(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Removes what is in the way, or moves it aside: a directory with things in it.
fn clear(directory: BorrowedFd<'_>, kind: FileType) -> Result<(), Errno> {
    let flags = if kind == FileType::Directory {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    match rustix::fs::unlinkat(directory, NAME, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            rustix::fs::renameat(directory, NAME, directory, ASIDE)
        }
        // It became something else just now: the next round sees it.
        Err(Errno::ISDIR | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error),
    }
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO of somebody else",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}

#[cfg(test)]
mod tests;
