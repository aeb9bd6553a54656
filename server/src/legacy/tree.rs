//! Files in directories that others can write to as well.
//!
//! Everything goes through descriptors of directories, one component of a path at a time
//! and never through a link, so that whatever a container plants, nothing outside is
//! touched. A file is made beside its place and renamed into it: readers see the old one
//! or the new one, whole.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rand::Rng as _;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::storage::DiskError;

/// Prefix of what is not in its place yet.
const TEMPORARY: &str = ".muster-";

/// Tries to get past something in the way; who puts things there faster makes the write
/// fail.
const TRIES_MAX: usize = 8;

/// Left-overs that one look at a directory removes; the rest waits for the next start.
const SWEEP_MAX: usize = 4_096;

/// Largest file that is written, bytes; a larger one is an error.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// Mode of files: children need not be root.
const FILE_MODE: u32 = 0o644;

/// Mode of directories.
const DIR_MODE: u32 = 0o755;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory, held open: it stays the same one, whatever becomes of its name.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was there already, byte for byte.
    Unchanged,
    /// It is there now.
    Changed,
}

/// Why a file is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// What would be a path is no single name.
    #[error("{name:?} cannot be the name of a file")]
    Name {
        /// The name.
        name: String,
    },
    /// See [`FILE_BYTES_MAX`]; or the system said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Dir {
    /// Opens a directory, made if need be. Links on the way to it are followed: the path
    /// is the operator's.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let error = |what| io_error(what, path);
        std::fs::create_dir_all(path).map_err(error("make directory"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty());
        Ok(Self {
            fd: fd.map_err(io::Error::from).map_err(error("open"))?,
            path: path.to_owned(),
        })
    }

    /// Where it was when it was opened, for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor, for what this module does not do. Use single names and no links.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A directory below, `a/b/c`, made if need be. Whatever else has its name is removed.
    ///
    /// # Errors
    /// [`TreeError`]; also if somebody keeps putting something else there.
    pub fn dir(&self, below: &str) -> Result<Self, TreeError> {
        let mut names = below.split('/');
        let first = names.next().unwrap_or_default();
        let mut at = self.child(first)?;
        for name in names {
            at = at.child(name)?;
        }
        Ok(at)
    }

    /// Gives a file this content. Where it has it already, it is not touched; something
    /// else of that name (a link, a pipe, a directory, a file with a second name) is
    /// replaced and never opened for writing.
    ///
    /// # Errors
    /// [`TreeError`]; then the file is as it was.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<Written, TreeError> {
        check(name)?;
        let path = self.path.join(name);
        if bytes.len() > FILE_BYTES_MAX {
            let (bytes, most) = (bytes.len(), FILE_BYTES_MAX);
            return Err(DiskError::TooLarge { path, bytes, most }.into());
        }
        if self.holds(name, bytes) {
            return Ok(Written::Unchanged);
        }
        let (temporary, mut file) = self.temporary().map_err(io_error("write", &path))?;
        let filled = file.write_all(bytes);
        let filled = filled.and_then(|()| Ok(fs::fchmod(&file, Mode::from(FILE_MODE))?));
        let published = filled.and_then(|()| Ok(self.publish(&temporary, name)?));
        if let Err(source) = published {
            self.discard(&temporary);
            return Err(io_error("write", &path)(source));
        }
        Ok(Written::Changed)
    }

    /// Removes a file, or an empty directory; without error if there is none.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn remove(&self, name: &str) -> Result<(), TreeError> {
        check(name)?;
        match self.unlink(name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(io_error("remove", &self.path.join(name))(source.into())),
        }
    }

    /// Names in it, at most `most` of them, in no order.
    ///
    /// # Errors
    /// What the system said.
    pub fn names(&self, most: usize) -> Result<Vec<String>, TreeError> {
        let list = || -> rustix::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::Dir::read_from(&self.fd)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name != "." && name != ".." {
                    names.push(name);
                }
                if names.len() >= most {
                    break;
                }
            }
            Ok(names)
        };
        list().map_err(|source| io_error("list", &self.path)(source.into()))
    }

    /// Removes what a run that was killed left in this directory.
    ///
    /// # Errors
    /// What the system said to listing it.
    pub fn sweep(&self) -> Result<(), TreeError> {
        for name in self.names(SWEEP_MAX)? {
            if name.starts_with(TEMPORARY) {
                self.discard(&name);
            }
        }
        Ok(())
    }

    /// A directory right below.
    fn child(&self, name: &str) -> Result<Self, TreeError> {
        check(name)?;
        let path = self.path.join(name);
        for _ in 0..TRIES_MAX {
            let outcome = match self.open_child(name) {
                Ok(fd) => return Ok(Self { fd, path }),
                Err(Errno::NOENT) => self.make_child(name),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                    fs::unlinkat(&self.fd, name, AtFlags::empty())
                }
                Err(errno) => Err(errno),
            };
            match outcome {
                Ok(()) | Err(Errno::NOENT | Errno::EXIST | Errno::ISDIR) => {}
                Err(errno) => return Err(io_error("open", &path)(errno.into())),
            }
        }
        Err(io_error("open", &path)(Errno::EXIST.into()))
    }

    fn open_child(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        match fs::openat2(&self.fd, name, DIRECTORY, Mode::empty(), BENEATH) {
            // An old kernel, or a filter of system calls that does not know it. For a
            // single name that is no link the plain call is as safe.
            Err(Errno::NOSYS | Errno::PERM) => fs::openat(&self.fd, name, DIRECTORY, Mode::empty()),
            opened => opened,
        }
    }

    fn make_child(&self, name: &str) -> rustix::io::Result<()> {
        fs::mkdirat(&self.fd, name, Mode::from(DIR_MODE))?;
        // Whatever the umask says.
        fs::fchmod(self.open_child(name)?, Mode::from(DIR_MODE))
    }

    /// Whether a file is ours and has this content. One of another size is not read.
    fn holds(&self, name: &str, bytes: &[u8]) -> bool {
        let Ok(stat) = fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        if !is_plain(&stat, bytes.len()) {
            return false;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = fs::openat(&self.fd, name, flags, Mode::empty()) else {
            return false;
        };
        // It may be another one by now.
        if !fs::fstat(&fd).is_ok_and(|stat| is_plain(&stat, bytes.len())) {
            return false;
        }
        let mut found = Vec::with_capacity(bytes.len() + 1);
        let limit = u64::try_from(bytes.len()).unwrap_or(u64::MAX) + 1;
        let read = File::from(fd).take(limit).read_to_end(&mut found);
        read.is_ok() && found == bytes
    }

    /// A new file beside the others.
    fn temporary(&self) -> io::Result<(String, File)> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..TRIES_MAX {
            let name = format!("{TEMPORARY}{:016x}", rand::rng().next_u64());
            match fs::openat(&self.fd, &*name, flags, Mode::from(0o600)) {
                Ok(fd) => return Ok((name, File::from(fd))),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Moves a new file to its place. A directory there changes places with it and is
    /// left behind if it is not empty.
    fn publish(&self, temporary: &str, name: &str) -> rustix::io::Result<()> {
        match fs::renameat(&self.fd, temporary, &self.fd, name) {
            Err(Errno::ISDIR) => {
                let swap = RenameFlags::EXCHANGE;
                fs::renameat_with(&self.fd, temporary, &self.fd, name, swap)?;
                tracing::warn!(directory = ?self.path, name, "a directory was in the place of a file");
                self.discard(temporary);
                Ok(())
            }
            renamed => renamed,
        }
    }

    fn discard(&self, name: &str) {
        if let Err(errno) = self.unlink(name)
            && errno != Errno::NOENT
        {
            tracing::warn!(directory = ?self.path, name, error = %errno, "a temporary file stays");
        }
    }

    fn unlink(&self, name: &str) -> rustix::io::Result<()> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR),
            done => done,
        }
    }
}

/// A file as [`Dir::write`] leaves it, of so many bytes.
fn is_plain(stat: &fs::Stat, bytes: usize) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
        && stat.st_mode & 0o7777 == FILE_MODE
        && stat.st_nlink == 1
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && u64::try_from(stat.st_size).ok() == u64::try_from(bytes).ok()
}

/// Only single names: no way up, no way down.
fn check(name: &str) -> Result<(), TreeError> {
    let bad = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    if bad {
        let name = name.to_owned();
        return Err(TreeError::Name { name });
    }
    Ok(())
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TreeError + use<> {
    let error = DiskError::io(what, path);
    move |source| error(source).into()
}

#[cfg(test)]
mod tests;
