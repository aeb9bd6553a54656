//! Where the engine is, and whether one is wanted.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Settings of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether one is wanted.
    pub mode: Mode,
    /// Where it listens.
    pub host: Host,
    /// Where the host's root directory is mounted, if it was said.
    pub host_prefix: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            host: Host::Unix(PathBuf::from(SOCKET)),
            host_prefix: None,
        }
    }
}

/// Whether an engine is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// None is looked for.
    Off,
    /// Used when it is there; looked for quietly while it is not.
    Auto,
    /// The start fails without one.
    Required,
}

/// Where Docker listens unless it is told otherwise.
pub const SOCKET: &str = "/var/run/docker.sock";

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// Host (a name or an address) and port, without TLS.
    Tcp(String),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            "required" => Ok(Self::Required),
            _ => Err("it is none of them".to_owned()),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    /// `unix:///PATH` or `tcp://HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') && !path.contains('\0') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err("the path of the socket must begin with /".to_owned()),
            };
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err("it is neither unix:///PATH nor tcp://HOST:PORT".to_owned());
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let sound = |c: char| c.is_ascii_alphanumeric() || ".-_:[]%".contains(c);
        let (host, port) = address.rsplit_once(':').ok_or("the port is missing")?;
        if host.is_empty() || !host.chars().all(sound) {
            return Err("the host is neither a name nor an address".to_owned());
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err("an IPv6 address needs brackets".to_owned());
        }
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self::Tcp(address.to_owned())),
            Ok(_) | Err(_) => Err("the port is not a number from 1 to 65535".to_owned()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for text in [
            "unix:///run/docker.sock",
            "tcp://10.0.0.1:2375",
            "tcp://[::1]:2375",
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "/run/docker.sock",
            "unix://run/docker.sock",
            "tcp://10.0.0.1",
            "tcp://:2375",
            "tcp://::1:2375",
            "tcp://a b:1",
            "tcp://a:0",
            "http://a:1",
            "ssh://a:1",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }
}
