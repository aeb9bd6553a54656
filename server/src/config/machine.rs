//! What configuration asks the machine; tests hand in a fake one.

use std::net::{IpAddr, ToSocketAddrs as _};

/// The machine, as far as defaults depend on it.
pub trait Machine {
    /// The host name.
    fn host_name(&self) -> Option<String>;
    /// Whether the process runs as root.
    fn is_root(&self) -> bool;
    /// Interfaces and their addresses, in the order of the system.
    fn interfaces(&self) -> Vec<(String, IpAddr)>;
    /// The number of a group.
    fn group_id(&self, name: &str) -> Option<u32>;
    /// The addresses of a host name; may wait for the system's resolver.
    ///
    /// # Errors
    /// What the resolver said.
    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String>;
    /// The table of users, in the form of `/etc/passwd`.
    fn users(&self) -> String;
    /// Whether there is a unix socket at a path.
    fn is_socket(&self, path: &str) -> bool;
}

/// The machine that the process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn host_name(&self) -> Option<String> {
        let name = rustix::system::uname();
        let name = name.nodename().to_str().ok()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn interfaces(&self) -> Vec<(String, IpAddr)> {
        // No answer is an empty list: the caller then asks for an explicit address.
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        interfaces
            .into_iter()
            .map(|interface| (interface.name.clone(), interface.ip()))
            .collect()
    }

    fn group_id(&self, name: &str) -> Option<u32> {
        let groups = std::fs::read_to_string("/etc/group").ok()?;
        find_group(&groups, name)
    }

    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let found = (host, 0).to_socket_addrs();
        let found = found.map_err(|error| error.to_string())?;
        Ok(found.map(|addr| addr.ip().to_canonical()).collect())
    }

    fn users(&self) -> String {
        // No table is one without users: the name is then told as unknown.
        std::fs::read_to_string("/etc/passwd").unwrap_or_default()
    }

    fn is_socket(&self, path: &str) -> bool {
        use std::os::unix::fs::FileTypeExt as _;
        std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
    }
}

/// Whether an address is on this machine or in a private network: loopback,
/// RFC 1918, link-local, and IPv6 unique local addresses.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether an address means something on one link only.
#[must_use]
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The address to advertise when the daemon listens on all: the first private one
/// that is neither loopback nor link-local, of the same family; `[::]` listens for
/// IPv4 as well, which is taken if there is no such IPv6 address. Bridges that
/// container engines make come last, since peers cannot reach them.
#[must_use]
pub(super) fn address_to_advertise(machine: &dyn Machine, bind: IpAddr) -> Option<IpAddr> {
    let usable = |ip: IpAddr| {
        let served = ip.is_ipv4() || bind.is_ipv6();
        served && is_private(ip) && !ip.is_loopback() && !is_link_local(ip)
    };
    let mut found: Vec<_> = machine.interfaces();
    found.retain(|(_, ip)| usable(*ip));
    found.sort_by_key(|(name, ip)| (is_bridge(name), ip.is_ipv4() != bind.is_ipv4()));
    found.first().map(|(_, ip)| *ip)
}

fn is_bridge(interface: &str) -> bool {
    const BRIDGES: [&str; 6] = ["docker", "br-", "veth", "virbr", "cni", "podman"];
    BRIDGES.iter().any(|prefix| interface.starts_with(prefix))
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_from_the_group_file() {
        let groups = "root:x:0:\nmuster:x:998:alice,bob\nbad:x:nine:\n";
        assert_eq!(find_group(groups, "muster"), Some(998));
        assert_eq!(find_group(groups, "must"), None);
        assert_eq!(find_group(groups, "bad"), None);
    }

    #[test]
    fn private_is_what_no_stranger_reaches() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "172.32.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "100.64.0.1",
        ] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }
}
