//! Where a port of a container is published.

use std::net::{IpAddr, SocketAddr};

use crate::docker::Container;

/// Where peers on other hosts reach `port` of this container by UDP and TCP, at the
/// address `given` if there is one; `None` where it is not published.
///
/// # Errors
/// A sentence on what keeps it from being told.
pub(super) fn place(
    container: &Container,
    port: u16,
    given: Option<IpAddr>,
) -> Result<Option<SocketAddr>, String> {
    let of = |protocol: &str| {
        let mut ports = container.ports.iter();
        let found = ports.find(|one| one.container_port == port && one.protocol == protocol);
        found.map_or(&[][..], |one| &one.published[..])
    };
    let (tcp, udp) = (of("tcp"), of("udp"));
    if tcp.is_empty() && udp.is_empty() {
        return Ok(None);
    }
    let both = || tcp.iter().filter(|place| udp.contains(place));
    if both().next().is_none() {
        return Err(format!(
            "port {port} of this container is not published for UDP and TCP at the same place: \
             peers on other hosts cannot reach it. Publish it as PORT:{port} and \
             PORT:{port}/udp"
        ));
    }
    let serves = |host: &IpAddr, ip: IpAddr| {
        *host == ip || (host.is_unspecified() && host.is_ipv4() == ip.is_ipv4())
    };
    if let Some(ip) = given {
        let found = both().find(|(host, _)| serves(host, ip));
        return match found {
            Some((_, port)) => Ok(Some(SocketAddr::new(ip, *port))),
            None => Err(format!(
                "port {port} of this container is not published at {ip}"
            )),
        };
    }
    let particular = both().find(|(host, _)| !host.is_unspecified() && !host.is_loopback());
    match particular {
        Some((host, port)) => Ok(Some(SocketAddr::new(*host, *port))),
        None if both().all(|(host, _)| host.is_loopback()) => Ok(None),
        None => Err(format!(
            "port {port} of this container is published on all addresses of the host: say by \
             --advertise IP which of them peers on other hosts use"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::docker::testing;

    fn container(ports: Value) -> Container {
        let mut inspect = testing::container(1, "a");
        inspect["NetworkSettings"]["Ports"] = ports;
        testing::read(&inspect)
    }

    fn at(ip: &str, port: &str) -> Value {
        json!({"HostIp": ip, "HostPort": port})
    }

    fn told(container: &Container, given: Option<&str>) -> Result<Option<String>, String> {
        let given = given.map(|ip| ip.parse().unwrap());
        place(container, 7946, given).map(|place| place.map(|place| place.to_string()))
    }

    #[test]
    fn the_published_port_is_told_at_the_address_that_was_given() {
        let all = [at("0.0.0.0", "49153"), at("::", "49154")];
        let published = container(json!({"7946/tcp": all, "7946/udp": all}));
        let place = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(told(&published, Some("10.0.0.5")), place("10.0.0.5:49153"));
        assert_eq!(told(&published, Some("fd00::5")), place("[fd00::5]:49154"));
        let why = told(&published, None).unwrap_err();
        assert!(why.contains("--advertise IP"), "{why}");
    }

    #[test]
    fn an_address_that_it_is_published_at_needs_not_be_given() {
        let one = [at("127.0.0.1", "1"), at("10.0.0.5", "7946")];
        let published = container(json!({"7946/tcp": one, "7946/udp": one}));
        assert_eq!(told(&published, None), Ok(Some("10.0.0.5:7946".to_owned())));
        assert!(told(&published, Some("10.0.0.6")).is_err());
        let local = [at("127.0.0.1", "7946")];
        let published = container(json!({"7946/tcp": local, "7946/udp": local}));
        assert_eq!(told(&published, None), Ok(None));
    }

    #[test]
    fn one_protocol_alone_is_no_use() {
        for ports in [
            json!({"7946/tcp": [at("0.0.0.0", "7946")], "7946/udp": null}),
            json!({"7946/tcp": [at("", "7946")], "7946/udp": [at("", "7947")]}),
        ] {
            let why = told(&container(ports), Some("10.0.0.5")).unwrap_err();
            assert!(why.contains("UDP and TCP"), "{why}");
        }
        let other = container(json!({"80/tcp": [at("", "80")]}));
        assert_eq!(told(&other, Some("10.0.0.5")), Ok(None));
    }
}
