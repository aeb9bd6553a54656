//! Where a member listens and what it tells its peers: bind, iface, advertise.

use std::net::{IpAddr, SocketAddr};

use super::layers::Layers;
use super::machine::{Machine, address_to_advertise, is_link_local, is_private};
use super::values::{self, Advertise};

/// The address to listen on: that of the interface if one is given.
pub(super) fn bind(layers: &mut Layers, machine: &dyn Machine) -> SocketAddr {
    let bind = layers.value("bind", values::address);
    let Some(name) = layers.optional("iface", values::interface) else {
        return bind;
    };
    let all = machine.interfaces();
    let on: Vec<IpAddr> = all
        .iter()
        .filter(|(interface, _)| *interface == name)
        .map(|(_, ip)| *ip)
        .collect();
    if on.is_empty() {
        let why = format!("there is none with an address; there are: {}", list(&all));
        layers.refuse("iface", &why);
        return bind;
    }
    let given = layers.entry("bind").is_some();
    if given && !bind.ip().is_unspecified() {
        if !on.contains(&bind.ip()) {
            let has: Vec<_> = on.iter().map(ToString::to_string).collect();
            let why = format!(
                "it does not have the address of bind {bind}, but {}",
                has.join(", ")
            );
            layers.refuse("iface", &why);
        }
        return bind;
    }
    let mut usable: Vec<IpAddr> = on.into_iter().filter(|ip| !is_link_local(*ip)).collect();
    // Of the family that was asked for, IPv4 if none was.
    let ipv6_first = given && bind.is_ipv6();
    usable.sort_by_key(|ip| ip.is_ipv6() != ipv6_first);
    match usable.first() {
        Some(ip) => SocketAddr::new(*ip, bind.port()),
        None => {
            let why = format!(
                "it has only link-local addresses; there are: {}",
                list(&all)
            );
            layers.refuse("iface", &why);
            bind
        }
    }
}

/// The address that peers use.
pub(super) fn advertise(
    layers: &mut Layers,
    machine: &dyn Machine,
    bind: SocketAddr,
) -> SocketAddr {
    match layers.optional("advertise", values::advertise) {
        Some(Advertise::Addr(address)) => {
            if !can_be_reached(address.ip()) {
                layers.refuse("advertise", "peers cannot reach that address");
            }
            address
        }
        Some(Advertise::Name { host, port }) => named(layers, machine, bind, &host, port),
        None if !bind.ip().is_unspecified() => bind,
        None => match address_to_advertise(machine, bind.ip()) {
            Some(ip) => SocketAddr::new(ip, bind.port()),
            None if layers.entry("advertise").is_some() => bind,
            None => {
                let why =
                    "no network interface has a private address to advertise: set --advertise";
                layers.refuse("bind", why);
                bind
            }
        },
    }
}

/// A name is resolved once, at the start: peers are told an address.
fn named(
    layers: &mut Layers,
    machine: &dyn Machine,
    bind: SocketAddr,
    host: &str,
    port: u16,
) -> SocketAddr {
    let dual = bind.is_ipv6() && bind.ip().is_unspecified();
    let mut found = match machine.resolve(host) {
        Ok(found) => found,
        Err(why) => {
            layers.refuse("advertise", &format!("the name cannot be resolved: {why}"));
            return bind;
        }
    };
    found.retain(|ip| can_be_reached(*ip) && (dual || ip.is_ipv4() == bind.is_ipv4()));
    found.sort_by_key(|ip| ip.is_ipv4() != bind.is_ipv4());
    match found.first() {
        Some(ip) => SocketAddr::new(*ip, port),
        None => {
            let family = if bind.is_ipv4() { "IPv4" } else { "IPv6" };
            let why = format!("the name has no {family} address, as bind {bind} needs it");
            layers.refuse("advertise", &why);
            bind
        }
    }
}

/// Plaintext is for loopback and private networks only.
pub(super) fn refuse_public(
    layers: &mut Layers,
    machine: &dyn Machine,
    bind: SocketAddr,
    advertise: SocketAddr,
) {
    let all: Vec<IpAddr> = match bind.ip() {
        // [::] listens for both families.
        ip if ip.is_unspecified() => {
            let interfaces = machine.interfaces().into_iter().map(|(_, ip)| ip);
            interfaces
                .filter(|found| ip.is_ipv6() || found.is_ipv4())
                .collect()
        }
        ip => vec![ip],
    };
    if let Some(public) = all.into_iter().find(|ip| !is_private(*ip)) {
        layers.refuse(
            "insecure-plaintext",
            &format!("bind {bind} listens on the public address {public}"),
        );
    }
    if advertise.ip() != bind.ip()
        && !advertise.ip().is_unspecified()
        && !is_private(advertise.ip())
    {
        let why = format!("the advertised address {} is public", advertise.ip());
        layers.refuse("insecure-plaintext", &why);
    }
}

fn can_be_reached(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast()
}

/// Interfaces for an error: name and address.
fn list(interfaces: &[(String, IpAddr)]) -> String {
    let named: Vec<_> = interfaces
        .iter()
        .map(|(name, ip)| format!("{name} ({ip})"))
        .collect();
    if named.is_empty() {
        return "none".to_owned();
    }
    named.join(", ")
}
