//! Where the daemon's socket is, and what to tell people when it cannot be opened.

use std::env;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Longest path that the kernel takes for a unix socket, in bytes.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// Socket of a daemon that runs as a system service.
pub(crate) const SYSTEM_SOCKET: &str = "/run/muster/api.sock";

/// Path of a daemon's API socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPath(PathBuf);

/// Why a socket cannot be used. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The text is no socket path.
    #[error("{text:?} is no socket: expected /path, unix:/path or unix:///path")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// The kernel would cut it.
    #[error(
        "the socket path {path} has {bytes} bytes, the system allows {SOCKET_PATH_BYTES_MAX}: use a shorter one",
        path = path.display()
    )]
    TooLong {
        /// What was given.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Connecting failed.
    #[error("{text}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What happened and what to do.
        text: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl SocketPath {
    /// Reads `/path`, `unix:/path`, `unix:///path` or a relative path.
    ///
    /// # Errors
    /// [`SocketError::Syntax`] or [`SocketError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, SocketError> {
        let syntax = || SocketError::Syntax {
            text: text.to_owned(),
        };
        let path = match text.split_once(':') {
            Some(("unix", rest)) => match rest.strip_prefix("//") {
                // The part between // and / would be a host.
                Some(path) if path.starts_with('/') => path,
                Some(_) => return Err(syntax()),
                None => rest,
            },
            Some((scheme, _)) if !scheme.contains('/') && text.contains("://") => {
                return Err(syntax());
            }
            Some(_) | None => text,
        };
        if path.is_empty() || path.contains('\0') {
            return Err(syntax());
        }
        if path.len() > SOCKET_PATH_BYTES_MAX {
            return Err(SocketError::TooLong {
                path: path.into(),
                bytes: path.len(),
            });
        }
        Ok(Self(path.into()))
    }

    /// The socket to use when none is named: `MUSTER_SOCKET`, else
    /// `/run/muster/api.sock` if it exists, else `$XDG_RUNTIME_DIR/muster/api.sock`.
    ///
    /// # Errors
    /// When `MUSTER_SOCKET` is no socket path.
    pub fn discover() -> Result<Self, SocketError> {
        Self::discover_in(|name| env::var(name).ok(), Path::new(SYSTEM_SOCKET))
    }

    fn discover_in(
        variable: impl Fn(&str) -> Option<String>,
        system: &Path,
    ) -> Result<Self, SocketError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(text) = set("MUSTER_SOCKET") {
            return Self::parse(&text);
        }
        // A socket that may not even be looked at does exist: opening it gives the better error.
        let system_exists = match system.symlink_metadata() {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        };
        match set("XDG_RUNTIME_DIR") {
            Some(directory) if !system_exists => Self::parse(&format!(
                "{}/muster/api.sock",
                directory.trim_end_matches('/')
            )),
            Some(_) | None => Ok(Self(system.to_path_buf())),
        }
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl SocketError {
    /// Explains a failed connect.
    pub(crate) fn connect(path: &Path, source: io::Error) -> Self {
        let shown = path.display();
        let text = match source.kind() {
            io::ErrorKind::NotFound => format!(
                "no daemon listens on {shown}: is musterd running? Start it, or name its socket with --socket or MUSTER_SOCKET"
            ),
            io::ErrorKind::PermissionDenied => permission_text(path),
            io::ErrorKind::ConnectionRefused => format!(
                "nobody listens on {shown} any more: the daemon that made this socket is gone. Start musterd again; it replaces the socket"
            ),
            _ => format!("cannot connect to {shown}: {source}"),
        };
        Self::Connect {
            path: path.to_path_buf(),
            text,
            source,
        }
    }
}

/// Names the nearest path that can be looked at, its owner, and the group to join.
fn permission_text(path: &Path) -> String {
    let shown = path.display();
    let seen = path
        .ancestors()
        .filter(|part| !part.as_os_str().is_empty())
        .find_map(|part| Some((part, part.metadata().ok()?)));
    let Some((part, metadata)) = seen else {
        return format!("permission denied on {shown}");
    };
    let user = entry_name("/etc/passwd", metadata.uid());
    let group = entry_name("/etc/group", metadata.gid());
    let what = if part == path {
        format!("{shown} belongs")
    } else {
        format!("{shown} lies in {}, which belongs", part.display())
    };
    let advice = if metadata.mode() & 0o060 != 0 && metadata.gid() != 0 {
        format!("join the group (sudo usermod -aG {group} $USER, then log in again) or use sudo")
    } else {
        format!("run this as {user}, for example with sudo")
    };
    format!("permission denied: {what} to user {user} and group {group}; {advice}")
}

/// The name for a number in a passwd-like file, or the number.
fn entry_name(file: &str, id: u32) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let wanted = id.to_string();
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == wanted).then(|| name.to_owned())
        })
        .unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_usual_spellings_are_taken() {
        for (text, path) in [
            ("/run/m/a.sock", "/run/m/a.sock"),
            ("unix:/run/m/a.sock", "/run/m/a.sock"),
            ("unix:///run/m/a.sock", "/run/m/a.sock"),
            ("unix:a.sock", "a.sock"),
            ("./a.sock", "./a.sock"),
            ("/odd:name/a.sock", "/odd:name/a.sock"),
        ] {
            assert_eq!(SocketPath::parse(text).unwrap().as_path(), Path::new(path));
        }
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        for text in [
            "",
            "unix:",
            "unix://host/a.sock",
            "http://localhost:80",
            "/a\0b",
        ] {
            let error = SocketPath::parse(text).unwrap_err();
            assert!(
                matches!(error, SocketError::Syntax { .. }),
                "{text}: {error}"
            );
        }
        let long = format!("/{}", "x".repeat(SOCKET_PATH_BYTES_MAX));
        let error = SocketPath::parse(&long).unwrap_err().to_string();
        assert!(error.contains("use a shorter one"), "{error}");
    }

    #[test]
    fn the_environment_then_the_system_then_the_user() {
        let directory = tempfile::tempdir().unwrap();
        let system = directory.path().join("api.sock");
        let find = |variables: &[(&str, &str)]| {
            let get = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            SocketPath::discover_in(get, &system).unwrap().to_string()
        };
        let system_text = system.display().to_string();
        assert_eq!(find(&[]), system_text);
        assert_eq!(
            find(&[("XDG_RUNTIME_DIR", "/run/user/7/")]),
            "/run/user/7/muster/api.sock"
        );
        assert_eq!(
            find(&[("XDG_RUNTIME_DIR", ""), ("MUSTER_SOCKET", "")]),
            system_text
        );
        std::fs::write(&system, "").unwrap();
        assert_eq!(find(&[("XDG_RUNTIME_DIR", "/run/user/7")]), system_text);
        assert_eq!(find(&[("MUSTER_SOCKET", "unix:///x.sock")]), "/x.sock");
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = |path: &Path, kind: io::ErrorKind| {
            SocketError::connect(path, io::Error::from(kind)).to_string()
        };
        let gone = text(Path::new("/run/x.sock"), io::ErrorKind::NotFound);
        assert!(gone.starts_with("no daemon listens on /run/x.sock: is musterd running?"));
        let stale = text(Path::new("/run/x.sock"), io::ErrorKind::ConnectionRefused);
        assert!(stale.contains("the daemon that made this socket is gone"));
        let denied = text(Path::new("/etc/passwd"), io::ErrorKind::PermissionDenied);
        assert!(
            denied.contains("/etc/passwd belongs to user root and group root"),
            "{denied}"
        );
        let hidden = text(
            Path::new("/etc/nowhere/a.sock"),
            io::ErrorKind::PermissionDenied,
        );
        assert!(hidden.contains("lies in /etc, which belongs"), "{hidden}");
    }
}
