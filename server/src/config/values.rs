//! Values of single settings, read from text.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use muster_engine::name;

use crate::gossip::resolve::Seed;
use crate::grpc::Capability;
use crate::telemetry::log::LogFormat;

/// Longest path of a unix socket, bytes: `sun_path` less its final zero.
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest tag key, bytes.
pub(super) const TAG_KEY_BYTES_MAX: usize = 128;

/// Longest name of a network interface, bytes: `IFNAMSIZ` less its final zero.
const INTERFACE_BYTES_MAX: usize = 15;

/// Longest log filter, bytes.
pub(super) const LOG_FILTER_BYTES_MAX: usize = 4_096;

/// Patience of the profile wan, times that of a local network.
const WAN_PATIENCE: u32 = 3;

/// A role before the defaults for its service are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleSpec {
    /// Its name.
    pub(super) name: String,
    /// Its service, if it says so itself.
    pub(super) service: Option<SocketAddr>,
}

type Read<T> = Result<T, String>;

/// A member or cluster name.
pub(super) fn member_name(text: &str) -> Read<String> {
    name::check_name(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// `IP:PORT`.
pub(super) fn address(text: &str) -> Read<SocketAddr> {
    text.parse().map_err(|_error| {
        if text.parse::<IpAddr>().is_ok() {
            "the port is missing".to_owned()
        } else {
            "it is not IP:PORT".to_owned()
        }
    })
}

/// What peers are to be told, before a name is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Advertise {
    /// An address; port 0 is the bound port.
    Addr(SocketAddr),
    /// A host name and a port.
    Name {
        /// The host.
        host: String,
        /// Its port; 0 is the bound port.
        port: u16,
    },
}

/// `IP`, `IP:PORT`, `NAME` or `NAME:PORT`.
pub(super) fn advertise(text: &str) -> Read<Advertise> {
    if let Ok(addr) = text.parse() {
        return Ok(Advertise::Addr(addr));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse() {
        return Ok(Advertise::Addr(SocketAddr::new(ip, 0)));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, text)) => (host, port(text)?),
        None => (text, 0),
    };
    match host.parse::<Seed>() {
        Ok(Seed::Name { host, .. }) => Ok(Advertise::Name { host, port }),
        Ok(Seed::Addr(_) | Seed::Srv(_)) | Err(_) => {
            Err("it is neither an IP address nor a host name".to_owned())
        }
    }
}

/// The name of a network interface.
pub(super) fn interface(text: &str) -> Read<String> {
    let sound = |c: char| !c.is_whitespace() && c != '/' && !c.is_control();
    if text.is_empty() || text.len() > INTERFACE_BYTES_MAX || !text.chars().all(sound) {
        return Err("it is no name of an interface".to_owned());
    }
    Ok(text.to_owned())
}

/// An IP address.
pub(super) fn ip(text: &str) -> Read<IpAddr> {
    text.parse()
        .map_err(|_error| "it is not an IP address".to_owned())
}

/// A port, 0 for none.
pub(super) fn port(text: &str) -> Read<u16> {
    text.parse().map_err(|_error| "it is not a port".to_owned())
}

/// A path.
pub(super) fn path(text: &str) -> Read<PathBuf> {
    if text.is_empty() || text.contains('\0') {
        return Err("it is not a path".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// The path of a unix socket.
pub(super) fn socket_path(text: &str) -> Read<PathBuf> {
    if text.len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!("it has {} bytes", text.len()));
    }
    path(text)
}

/// An octal file mode that leaves the owner reading and writing.
pub(super) fn mode(text: &str) -> Read<u32> {
    let octal = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(octal, 8).map_err(|_error| "it is not octal".to_owned())?;
    if mode > 0o777 || mode & 0o600 != 0o600 {
        return Err("it is out of range".to_owned());
    }
    Ok(mode)
}

/// `text` or `json`.
pub(super) fn log_format(text: &str) -> Read<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is neither".to_owned()),
    }
}

/// A profile: how many times the usual patience a suspected member is given.
pub(super) fn profile(text: &str) -> Read<u32> {
    match text {
        "lan" | "local" => Ok(1),
        "wan" => Ok(WAN_PATIENCE),
        _ => Err("it is none of them".to_owned()),
    }
}

/// A log filter that the log will take.
pub(super) fn log_filter(text: &str) -> Read<String> {
    if text.len() > LOG_FILTER_BYTES_MAX {
        return Err(format!(
            "it has {} bytes, at most {LOG_FILTER_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    crate::telemetry::parse_filter(text)?;
    Ok(text.to_owned())
}

/// `KEY=VALUE`.
pub(super) fn tag(text: &str) -> Read<(String, String)> {
    let (key, value) = text.split_once('=').ok_or("there is no '='")?;
    if key.is_empty() || key.len() > TAG_KEY_BYTES_MAX {
        return Err(format!("the key has {} bytes", key.len()));
    }
    if text.contains('\0') {
        return Err("it holds a NUL".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `ROLE[=IP:PORT]`.
pub(super) fn role(text: &str) -> Read<RoleSpec> {
    let (role, service) = match text.split_once('=') {
        Some((role, service)) => (role, Some(address(service)?)),
        None => (text, None),
    };
    name::check_role(role).map_err(|error| error.to_string())?;
    if service.is_some_and(|service| service.ip().is_unspecified()) {
        return Err("clients cannot reach that address".to_owned());
    }
    Ok(RoleSpec {
        name: role.to_owned(),
        service,
    })
}

/// `UID=CAPS`.
pub(super) fn allow(text: &str) -> Read<(u32, BTreeSet<Capability>)> {
    let (uid, capabilities) = text.split_once('=').ok_or("there is no '='")?;
    let uid = uid
        .parse()
        .map_err(|_error| "the user is not a number".to_owned())?;
    let capability = |word: &str| word.trim().parse::<Capability>().map_err(|e| e.to_string());
    // A comma gets here from flags and files only: elsewhere it ends an item.
    let words = capabilities.split(['+', ',']);
    let capabilities: Read<BTreeSet<_>> = words.map(capability).collect();
    Ok((uid, capabilities?))
}

/// An address to join, checked for shape only: names are resolved on every try.
pub(super) fn join(text: &str) -> Read<String> {
    match text.parse::<Seed>() {
        Ok(_seed) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(address("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        assert_eq!(address("10.0.0.1"), Err("the port is missing".to_owned()));
        assert!(address("localhost:7946").is_err());
    }

    #[test]
    fn what_is_advertised() {
        let addr = |text: &str| Ok(Advertise::Addr(text.parse().unwrap()));
        let name = |host: &str, port| {
            let host = host.to_owned();
            Ok(Advertise::Name { host, port })
        };
        for (text, expected) in [
            ("10.0.0.1:7946", addr("10.0.0.1:7946")),
            ("10.0.0.1", addr("10.0.0.1:0")),
            ("fd00::1", addr("[fd00::1]:0")),
            ("[fd00::1]", addr("[fd00::1]:0")),
            ("[fd00::1]:0", addr("[fd00::1]:0")),
            ("db.example.com", name("db.example.com", 0)),
            ("db:7000", name("db", 7000)),
        ] {
            assert_eq!(advertise(text), expected, "{text}");
        }
        for text in [
            "",
            ":1",
            "a b",
            "a:b",
            "1.2.3",
            "_a._tcp.example.com",
            "[::1",
            "http://a",
        ] {
            assert!(advertise(text).is_err(), "{text:?}");
        }
        for text in ["", "a/b", "a b", "0123456789abcdef"] {
            assert!(interface(text).is_err(), "{text:?}");
        }
        assert_eq!(interface("br-0a1b"), Ok("br-0a1b".to_owned()));
    }

    #[test]
    fn roles() {
        let web = role("web=10.0.0.1:80").unwrap();
        assert_eq!(
            (web.name.as_str(), web.service),
            ("web", "10.0.0.1:80".parse().ok())
        );
        assert_eq!(role("db").unwrap().service, None);
        for text in ["", "=1.1.1.1:80", "-a", "a=b", "a=", "a=0.0.0.0:80", "a b"] {
            assert!(role(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn capabilities() {
        use Capability::{Admin, Events, Read};
        assert_eq!(
            allow("1000=read+events"),
            Ok((1000, BTreeSet::from([Read, Events])))
        );
        assert_eq!(allow("7=read,events"), allow("7=read+events"));
        assert_eq!(allow("0=admin"), Ok((0, BTreeSet::from([Admin]))));
        for text in ["1000", "alice=read", "1=", "1=write", "-1=read"] {
            assert!(allow(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn seeds() {
        for text in [
            "10.0.0.1",
            "10.0.0.1:7946",
            "[::1]:7946",
            "::1",
            "seed",
            "seed.example.com.:80",
            "_muster._tcp.example.com",
        ] {
            assert_eq!(join(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            ":80",
            "a b",
            "a:0",
            "a:65536",
            "a:b:c",
            "0.0.0.0",
            "1.2.3",
            "_muster._tcp.example.com:80",
            "http://a",
            &"x".repeat(256),
        ] {
            assert!(join(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn modes_and_tags() {
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(mode("0o600"), Ok(0o600));
        for text in ["0060", "1777", "9", ""] {
            assert!(mode(text).is_err(), "{text:?}");
        }
        assert_eq!(tag("zone=a=b"), Ok(("zone".to_owned(), "a=b".to_owned())));
        for text in ["zone", "=a", "k=\0"] {
            assert!(tag(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _read = (address(&text), role(&text), allow(&text), join(&text), mode(&text));
            let _read = (tag(&text), socket_path(&text), log_filter(&text), member_name(&text));
        }
    }
}
