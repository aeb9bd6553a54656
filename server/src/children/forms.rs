//! How ports, volumes and variables are written: the forms of `docker run`.

use std::cell::Cell;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Ports of one range; a longer one is refused.
const RANGE_PORTS_MAX: usize = 1_024;

/// Ports of one list, those of ranges counted; more are refused.
pub const PORTS_MAX: usize = 2_048;

/// A port of a container, and where it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// In the container, `80/tcp`.
    pub container: String,
    /// On the host; empty: any address.
    pub host_ip: String,
    /// On the host; empty: any free port.
    pub host_port: String,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Volume {
    /// A directory of the host, or a volume by name: `SOURCE:DESTINATION[:MODE]`.
    Bind {
        /// As it was written.
        text: String,
        /// In the container.
        destination: String,
    },
    /// A new volume at this path.
    Anonymous(String),
}

impl Volume {
    /// Where it is in the container.
    #[must_use]
    pub fn destination(&self) -> &str {
        match self {
            Self::Bind { destination, .. } | Self::Anonymous(destination) => destination,
        }
    }
}

/// Reads `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, ports or ranges of ports.
///
/// # Errors
/// What is wrong with it.
pub fn publish(text: &str) -> Result<Vec<Publish>, String> {
    let (ports, protocol) = protocol(text)?;
    let (ahead, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (ip, host) = match ahead.rsplit_once(':') {
        Some((ip, host)) => (ip, host),
        None => ("", ahead),
    };
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("{ip:?} in port {text:?} is no IP address"));
    }
    let container = range(container, text)?;
    let host = match host {
        "" => None,
        host => Some(range(host, text)?),
    };
    let one = container.clone().count() == 1;
    if let Some(host) = &host
        && host.clone().count() != container.clone().count()
    {
        if !one {
            return Err(format!("the ranges of port {text:?} differ in length"));
        }
        let port = container.start();
        return Ok(vec![Publish {
            container: format!("{port}/{protocol}"),
            host_ip: ip.to_owned(),
            // The engine takes a free one of these.
            host_port: format!("{}-{}", host.start(), host.end()),
        }]);
    }
    let shift = |port: u16| match &host {
        Some(host) => (u32::from(*host.start()) + u32::from(port - container.start())).to_string(),
        None => String::new(),
    };
    let publish = |port: u16| Publish {
        container: format!("{port}/{protocol}"),
        host_ip: ip.to_owned(),
        host_port: shift(port),
    };
    Ok(container.clone().map(publish).collect())
}

/// Reads `PORT[-PORT][/PROTOCOL]` into ports of a container, `80/tcp`.
///
/// # Errors
/// What is wrong with it.
pub fn expose(text: &str) -> Result<Vec<String>, String> {
    let (ports, protocol) = protocol(text)?;
    let ports = range(ports, text)?;
    Ok(ports.map(|port| format!("{port}/{protocol}")).collect())
}

/// Reads the items of one list with `read`, as long as they are [`PORTS_MAX`] ports in all.
pub fn bounded<T>(
    read: impl Fn(&str) -> Result<Vec<T>, String>,
) -> impl Fn(&str) -> Result<Vec<T>, String> {
    let count = Cell::new(0);
    move |text| {
        let ports = read(text)?;
        count.set(count.get() + ports.len());
        check_count(count.get())?;
        Ok(ports)
    }
}

/// # Errors
/// More than [`PORTS_MAX`].
pub fn check_count(ports: usize) -> Result<(), String> {
    match ports > PORTS_MAX {
        true => Err(format!("there are more than {PORTS_MAX} ports")),
        false => Ok(()),
    }
}

/// Reads `[SOURCE:]DESTINATION[:MODE]`.
///
/// # Errors
/// What is wrong with it.
pub fn volume(text: &str) -> Result<Volume, String> {
    let mut parts = text.split(':');
    let (first, second, mode) = (parts.next(), parts.next(), parts.next());
    if parts.next().is_some() {
        return Err(format!("volume {text:?} has too many colons"));
    }
    let absolute = |path: &str| match path.starts_with('/') {
        true => Ok(path.to_owned()),
        false => Err(format!("{path:?} in volume {text:?} is no absolute path")),
    };
    let (source, destination) = match (first.unwrap_or(""), second) {
        (destination, None) => return Ok(Volume::Anonymous(absolute(destination)?)),
        (source, Some(destination)) => (source, destination),
    };
    if !source.starts_with('/') && !is_name(source) {
        return Err(format!(
            "{source:?} in volume {text:?} is neither an absolute path nor a name of a volume"
        ));
    }
    let known = |word: &str| {
        matches!(
            word,
            "ro" | "rw"
                | "z"
                | "Z"
                | "nocopy"
                | "shared"
                | "slave"
                | "private"
                | "rshared"
                | "rslave"
                | "rprivate"
                | "consistent"
                | "cached"
                | "delegated"
        )
    };
    if let Some(mode) = mode
        && !mode.split(',').all(known)
    {
        return Err(format!("{mode:?} in volume {text:?} is no mode"));
    }
    Ok(Volume::Bind {
        text: text.to_owned(),
        destination: absolute(destination)?,
    })
}

/// Reads `NAME=VALUE`; without `=`, the value is that of the daemon's own variable.
///
/// # Errors
/// If there is no name.
pub fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() || name.contains('\0') {
        return Err(format!("{text:?} is no NAME=VALUE"));
    }
    Ok((name.to_owned(), value))
}

/// Whether the engine takes it as the name of a container or volume.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let mut rest = bytes.peekable();
    let more = rest.peek().is_some();
    first && more && rest.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn protocol(text: &str) -> Result<(&str, &str), String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match protocol {
        "tcp" | "udp" | "sctp" => Ok((ports, protocol)),
        other => Err(format!(
            "{other:?} in port {text:?} is no protocol; allowed: tcp, udp, sctp"
        )),
    }
}

fn range(text: &str, whole: &str) -> Result<RangeInclusive<u16>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(format!(
            "{text:?} in port {whole:?} is no port from 1 to 65535"
        )),
    };
    let range = port(from)?..=port(to)?;
    match range.clone().count() {
        0 => Err(format!("the range of port {whole:?} is empty")),
        1..=RANGE_PORTS_MAX => Ok(range),
        _ => Err(format!(
            "the range of port {whole:?} has more than {RANGE_PORTS_MAX} ports"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let all = publish(text).unwrap();
        let one = |p: &Publish| format!("{}|{}|{}", p.host_ip, p.host_port, p.container);
        all.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        assert_eq!(shown("80"), "||80/tcp");
        assert_eq!(shown("8000:80/udp"), "|8000|80/udp");
        assert_eq!(shown("127.0.0.1:8000:80"), "127.0.0.1|8000|80/tcp");
        assert_eq!(shown("127.0.0.1::80"), "127.0.0.1||80/tcp");
        assert_eq!(shown("[::1]:8000:80"), "::1|8000|80/tcp");
        assert_eq!(shown("8000-8001:80-81"), "|8000|80/tcp |8001|81/tcp");
        assert_eq!(shown("8000-8009:80"), "|8000-8009|80/tcp");
        for wrong in [
            "", "0", "x:80", "80:", "70000", "80/icmp", "1-2:3-5", "9-8", "x:1:2", "1-9999",
        ] {
            assert!(publish(wrong).is_err(), "{wrong}");
        }
        assert_eq!(expose("53/udp").unwrap(), ["53/udp"]);
        assert_eq!(expose("1-2").unwrap(), ["1/tcp", "2/tcp"]);
    }

    #[test]
    fn volumes_are_read_as_docker_reads_them() {
        assert_eq!(
            volume("/data").unwrap(),
            Volume::Anonymous("/data".to_owned())
        );
        for right in ["/a:/b", "name:/b:ro", "/a:/b:ro,z"] {
            let read = volume(right).unwrap();
            assert_eq!(read.destination(), "/b", "{right}");
        }
        for wrong in [
            "data",
            "./a:/b",
            "/a:b",
            "/a:/b:no",
            "/a:/b:ro:x",
            ":/b",
            "",
        ] {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_and_variables() {
        assert!(is_name("web-1.a_b") && !is_name("w") && !is_name("-web") && !is_name("a b"));
        assert_eq!(
            variable("A=b=c").unwrap(),
            ("A".to_owned(), Some("b=c".to_owned()))
        );
        assert_eq!(variable("A").unwrap(), ("A".to_owned(), None));
        assert!(variable("=b").is_err());
    }
}
