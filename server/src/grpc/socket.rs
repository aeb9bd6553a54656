//! Unix sockets that are bound safely: never over a live daemon or a foreign
//! file, with the right mode from the first moment, and again if they vanish.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::peer::SocketKind;

/// Octets that the kernel takes as the path of a socket (`sun_path` less its NUL).
pub const MAX_PATH: usize = 107;

/// Mode of a socket unless configured: its owner and its group may connect.
pub const DEFAULT_MODE: u32 = 0o660;

/// Mode of a directory that is created for a socket.
const DIRECTORY_MODE: u32 = 0o750;

/// Random octets in the name that a socket has before it is in place.
const TEMPORARY_NAME: usize = 4;

/// How often a lock file that somebody deletes meanwhile is opened anew.
const LOCK_ATTEMPTS: usize = 10;

/// A socket to listen on.
#[derive(Debug, Clone)]
pub struct SocketConfig {
    /// Where its file is to be, at most [`MAX_PATH`] octets.
    pub path: PathBuf,
    /// Which socket it is.
    pub kind: SocketKind,
    /// Permission bits of the file; whoever may write to it may connect.
    pub mode: u32,
    /// Group of the file, if it shall not be the daemon's.
    pub group: Option<u32>,
}

impl SocketConfig {
    /// A socket with [`DEFAULT_MODE`] and the daemon's own group.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, kind: SocketKind) -> Self {
        Self {
            path: path.into(),
            kind,
            mode: DEFAULT_MODE,
            group: None,
        }
    }
}

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
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
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

/// The number of a group that is given by number or by its name in `/etc/group`.
///
/// # Errors
/// If the file cannot be read or does not have the name.
pub fn group_id(group: &str) -> Result<u32, SocketError> {
    group_id_in(Path::new("/etc/group"), group)
}

fn group_id_in(file: &Path, group: &str) -> Result<u32, SocketError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(file).map_err(|error| SocketError::io("read", file, error))?;
    let numbers = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let number = fields
            .next()
            .filter(|name| *name == group)
            .and_then(|_| fields.nth(1))?;
        number.parse().ok()
    });
    let unknown = || SocketError::UnknownGroup {
        name: group.to_owned(),
        file: file.to_owned(),
    };
    numbers.into_iter().next().ok_or_else(unknown)
}

/// A bound socket. While it lives no other daemon gets the path; when it is
/// dropped the file goes, if it is still the one that was bound.
#[derive(Debug)]
pub struct Listener {
    config: SocketConfig,
    bound: Bound,
    lock: Lock,
}

impl Listener {
    /// Binds the socket: creates its directory if there is none, replaces a file
    /// that a dead daemon has left. Needs a tokio runtime.
    ///
    /// # Errors
    /// If a daemon listens there, if the path is too long or taken by something
    /// that is no socket, or if the file system refuses.
    pub fn bind(config: SocketConfig) -> Result<Self, SocketError> {
        let directory = check_path(&config.path)?;
        create_directory(directory, config.group)?;
        let lock = Lock::take(&config.path)?;
        let bound = Bound::create(&config, directory)?;
        Ok(Self {
            config,
            bound,
            lock,
        })
    }

    /// What it was bound with.
    #[must_use]
    pub fn config(&self) -> &SocketConfig {
        &self.config
    }

    /// The next connection. Cancel-safe.
    ///
    /// # Errors
    /// As `accept(2)`; the listener can be used further.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.bound.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Creates the socket again if its file was deleted or replaced; answers
    /// whether it was. Connections that are open live on.
    ///
    /// # Errors
    /// As [`Listener::bind`]; the listener can be used further.
    pub fn restore(&mut self) -> Result<bool, SocketError> {
        if self.bound.is_in_place(&self.config.path) {
            return Ok(false);
        }
        let directory = check_path(&self.config.path)?;
        create_directory(directory, self.config.group)?;
        if !self.lock.is_in_place() {
            self.lock = Lock::take(&self.config.path)?;
        }
        self.bound = Bound::create(&self.config, directory)?;
        Ok(true)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.bound.is_in_place(&self.config.path)
            && let Err(error) = fs::remove_file(&self.config.path)
        {
            tracing::debug!(path = %self.config.path.display(), %error, "socket stays behind");
        }
    }
}

/// The file of the socket and who accepts from it.
#[derive(Debug)]
struct Bound {
    listener: UnixListener,
    /// Device and inode. The kernel does not give the inode to another file
    /// while the socket is open.
    file: (u64, u64),
}

impl Bound {
    fn create(config: &SocketConfig, directory: &Path) -> Result<Self, SocketError> {
        let path = &config.path;
        check_free(path)?;
        let failed = |error| SocketError::io("create socket", path, error);
        let (listener, temporary) = tempfile::Builder::new()
            .prefix(".")
            .rand_bytes(TEMPORARY_NAME)
            .make_in(directory, |name| StdListener::bind(name))
            .map_err(failed)?
            .into_parts();
        std::os::unix::fs::chown(&temporary, None, config.group)
            .map_err(|error| SocketError::io("change the group of", path, error))?;
        fs::set_permissions(&temporary, Permissions::from_mode(config.mode)).map_err(failed)?;
        let file = identity(&temporary).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        temporary
            .persist(path)
            .map_err(|error| failed(error.error))?;
        Ok(Self { listener, file })
    }

    fn is_in_place(&self, path: &Path) -> bool {
        identity(path).is_ok_and(|file| file == self.file)
    }
}

/// The lock file beside a socket. A daemon holds its lock as long as it lives.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, SocketError> {
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

    fn is_in_place(&self) -> bool {
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

/// The directory of a path that can be bound.
fn check_path(path: &Path) -> Result<&Path, SocketError> {
    let (Some(directory), Some(_)) = (path.parent(), path.file_name()) else {
        return Err(SocketError::NoName {
            path: path.to_owned(),
        });
    };
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let temporary = directory.as_os_str().len() + "/.".len() + TEMPORARY_NAME;
    let length = path.as_os_str().len().max(temporary);
    if length > MAX_PATH {
        return Err(SocketError::TooLong {
            path: path.to_owned(),
            length,
        });
    }
    Ok(directory)
}

fn create_directory(directory: &Path, group: Option<u32>) -> Result<(), SocketError> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(|error| SocketError::io("create directory", directory, error))?;
    // Who may connect must also get as far as the socket.
    std::os::unix::fs::chown(directory, None, group)
        .map_err(|error| SocketError::io("change the group of", directory, error))
}

/// Whether the path may be bound over: nothing is there, or a dead socket.
fn check_free(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => {
            return Err(SocketError::NotASocket {
                path: path.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketError::io("look at", path, error)),
    }
    // The lock says nothing if its file was deleted, or of other programs.
    let probe = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match probe() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, or its queue is full.
        Ok(()) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(SocketError::io("replace socket", path, error)),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests;
