//! How peers are named: IP, IP:PORT, [IPv6]:PORT, NAME, NAME:PORT or an SRV name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Port of peers unless told otherwise: serf's.
pub const DEFAULT_PORT: u16 = 7946;

/// Longest DNS name, bytes.
const NAME_BYTES_MAX: usize = 253;

/// Longest label of a DNS name, bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A peer as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seed {
    /// An address.
    Addr(SocketAddr),
    /// A name with A and AAAA records, and the port there.
    Name {
        /// DNS name.
        host: String,
        /// Port.
        port: u16,
    },
    /// `_service._tcp.name`: SRV records say hosts and ports.
    Srv(String),
}

/// Why a text names no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// Neither an address nor a host name.
    #[error("it is neither an IP address nor a host name")]
    BadHost,
    /// After the colon.
    #[error("{0:?} is no port from 1 to 65535")]
    BadPort(String),
    /// An SRV record has a port of its own.
    #[error("an SRV name takes no port")]
    PortOnSrv,
    /// 0.0.0.0 or `[::]`.
    #[error("it is the unspecified address, which nobody can be reached at")]
    Unspecified,
}

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        if text.is_empty() {
            return Err(SeedError::Empty);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return addr(ip, DEFAULT_PORT);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return bracketed(rest);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (text, None),
        };
        if let Ok(ip) = host.parse::<IpAddr>() {
            return addr(ip, port.unwrap_or(DEFAULT_PORT));
        }
        check_host(host)?;
        let host = host.to_owned();
        match (is_srv(&host), port) {
            (true, None) => Ok(Self::Srv(host)),
            (true, Some(_)) => Err(SeedError::PortOnSrv),
            (false, port) => Ok(Self::Name {
                host,
                port: port.unwrap_or(DEFAULT_PORT),
            }),
        }
    }
}

/// What follows a `[`.
fn bracketed(rest: &str) -> Result<Seed, SeedError> {
    let (ip, port) = rest.split_once(']').ok_or(SeedError::BadHost)?;
    let Ok(ip) = ip.parse::<Ipv6Addr>() else {
        return Err(SeedError::BadHost);
    };
    let port = match port.strip_prefix(':') {
        Some(port) => parse_port(port)?,
        None if port.is_empty() => DEFAULT_PORT,
        None => return Err(SeedError::BadPort(port.to_owned())),
    };
    addr(ip.into(), port)
}

fn addr(ip: IpAddr, port: u16) -> Result<Seed, SeedError> {
    let ip = ip.to_canonical();
    if ip.is_unspecified() {
        return Err(SeedError::Unspecified);
    }
    Ok(Seed::Addr(SocketAddr::new(ip, port)))
}

fn parse_port(text: &str) -> Result<u16, SeedError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        Ok(_) | Err(_) => Err(SeedError::BadPort(text.to_owned())),
    }
}

/// Labels of letters, digits, `-` and `_`; a dot at the end is fine.
fn check_host(host: &str) -> Result<(), SeedError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label_ok = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    // All digits and dots is a mistyped address, never a host.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if name.len() <= NAME_BYTES_MAX && !numeric && name.split('.').all(label_ok) {
        Ok(())
    } else {
        Err(SeedError::BadHost)
    }
}

/// RFC 2782: `_service._proto.name`.
fn is_srv(host: &str) -> bool {
    let mut labels = host.split('.');
    let underscored =
        |label: Option<&str>| label.is_some_and(|l| l.len() > 1 && l.starts_with('_'));
    underscored(labels.next()) && underscored(labels.next()) && labels.next().is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Seed {
        Seed::Addr(text.parse().unwrap())
    }

    fn name(host: &str, port: u16) -> Seed {
        let host = host.to_owned();
        Seed::Name { host, port }
    }

    #[test]
    fn every_form_is_understood() {
        let cases = [
            ("10.0.0.1", at("10.0.0.1:7946")),
            ("10.0.0.1:80", at("10.0.0.1:80")),
            ("::1", at("[::1]:7946")),
            ("[::1]", at("[::1]:7946")),
            ("[fe80::2]:65535", at("[fe80::2]:65535")),
            ("::ffff:10.0.0.1", at("10.0.0.1:7946")),
            ("localhost", name("localhost", 7946)),
            ("seed-1.example.com:1", name("seed-1.example.com", 1)),
            ("muster.default.svc.", name("muster.default.svc.", 7946)),
            ("my_service:7000", name("my_service", 7000)),
            (
                "_muster._tcp.example.com",
                Seed::Srv("_muster._tcp.example.com".to_owned()),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_names_nobody_is_refused_with_the_reason() {
        let port = |text: &str| SeedError::BadPort(text.to_owned());
        let cases = [
            ("", SeedError::Empty),
            ("0.0.0.0", SeedError::Unspecified),
            ("[::]:7946", SeedError::Unspecified),
            ("::ffff:0.0.0.0", SeedError::Unspecified),
            ("10.0.0.1:0", port("0")),
            ("10.0.0.1:", port("")),
            ("host:65536", port("65536")),
            ("host:+80", port("+80")),
            ("host:http", port("http")),
            ("[::1]80", port("80")),
            ("[::1", SeedError::BadHost),
            ("[10.0.0.1]:80", SeedError::BadHost),
            ("10.0.0.256", SeedError::BadHost),
            ("1.2.3", SeedError::BadHost),
            ("a b", SeedError::BadHost),
            ("a..b", SeedError::BadHost),
            (".", SeedError::BadHost),
            ("-a", SeedError::BadHost),
            ("tcp://10.0.0.1", port("//10.0.0.1")),
            ("_muster._tcp.example.com:80", SeedError::PortOnSrv),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Seed>(), Err(expected), "{text:?}");
        }
        let long = format!("{}.com", "a".repeat(64));
        assert_eq!(long.parse::<Seed>(), Err(SeedError::BadHost));
        let long = "a.".repeat(127) + "com";
        assert_eq!(long.parse::<Seed>(), Err(SeedError::BadHost));
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text in ".{0,80}") {
            if let Ok(Seed::Addr(addr)) = text.parse() {
                prop_assert_ne!(addr.port(), 0);
            }
        }

        #[test]
        fn addresses_round_trip(ip: IpAddr, port in 1_u16..) {
            prop_assume!(!ip.to_canonical().is_unspecified());
            let addr = SocketAddr::new(ip.to_canonical(), port);
            prop_assert_eq!(addr.to_string().parse::<Seed>(), Ok(Seed::Addr(addr)));
        }
    }
}
