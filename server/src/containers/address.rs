//! Where clients reach a container.
//!
//! In this order: a port that the host publishes, at the node's service address (or at
//! the one address of the host that it is published at); the container's own address in
//! the network of `muster.network`, or else in its first network by name. A container in
//! the host's network is reached at the node's service address, one that shares the
//! network of another as that one. `muster.service-ip` takes the place of the address.

use std::net::IpAddr;

use super::labels::Labels;
use crate::docker::{Container, Port, State};

/// Containers followed from one that shares the network of another.
const HOPS_MAX: usize = 4;

/// Where a role of a container is reached. `port`: the one that its label names.
pub(crate) fn service(
    container: &Container,
    labels: &Labels,
    port: Option<u16>,
    service_ip: IpAddr,
    state: &State,
) -> (IpAddr, u16) {
    let reached = network_of(container, state);
    let port = port.or(labels.port).or_else(|| only(reached)).unwrap_or(0);
    let (ip, port) = if let Some(network) = &labels.network {
        let own = reached.networks.get(network).and_then(|ips| ips.first());
        (own.copied(), port)
    } else if reached.network_mode == "host" {
        (Some(service_ip), port)
    } else if let Some((ip, published)) = published(reached, port, service_ip) {
        (Some(ip), published)
    } else {
        let mut networks = reached.networks.values();
        let own = networks.find_map(|ips| ips.first());
        (own.copied(), port)
    };
    (labels.service_ip.or(ip).unwrap_or(service_ip), port)
}

/// The container whose network it uses: itself but for `container:<id>`.
fn network_of<'a>(container: &'a Container, state: &'a State) -> &'a Container {
    let mut at = container;
    for _ in 0..HOPS_MAX {
        let Some(name) = at.network_mode.strip_prefix("container:") else {
            break;
        };
        let by_name = || state.containers.values().find(|other| other.name == name);
        match state.containers.get(name).or_else(by_name) {
            Some(other) => at = other,
            None => break,
        }
    }
    at
}

/// The only port that a container exposes.
fn only(container: &Container) -> Option<u16> {
    let mut ports = container.ports.iter().map(|port| port.container_port);
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}

/// Where the host publishes a port: TCP before others, and what clients at the service
/// address can reach.
fn published(container: &Container, port: u16, service_ip: IpAddr) -> Option<(IpAddr, u16)> {
    let rank = |port: &&Port| (port.protocol != "tcp", port.protocol.clone());
    let mut of_port: Vec<&Port> = container.ports.iter().collect();
    of_port.retain(|known| known.container_port == port);
    of_port.sort_by_key(rank);
    let bindings = of_port.iter().flat_map(|port| &port.published);
    // What only this host can reach helps others only where they are on it, too.
    let mut bindings: Vec<_> = bindings
        .filter(|(ip, _)| !ip.is_loopback() || service_ip.is_loopback())
        .collect();
    bindings.sort_by_key(|(ip, _)| ip.is_ipv4() != service_ip.is_ipv4());
    let (ip, published) = bindings.first()?;
    let at = if ip.is_unspecified() { service_ip } else { *ip };
    Some((at, *published))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::plan::testing::container;
    use super::*;
    use std::sync::Arc;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn port(number: u16, protocol: &str, published: &[(&str, u16)]) -> Port {
        let published = published.iter().map(|(at, port)| (ip(at), *port));
        Port {
            container_port: number,
            protocol: protocol.to_owned(),
            published: published.collect(),
        }
    }

    fn reach(container: &Container, labels: &Labels, port: Option<u16>) -> (String, u16) {
        let (at, port) = service(container, labels, port, ip("10.0.0.1"), &State::default());
        (at.to_string(), port)
    }

    fn on_bridge() -> Container {
        let mut container = container(1, "web");
        container.network_mode = "bridge".to_owned();
        container.networks = BTreeMap::from([
            ("b-net".to_owned(), vec![ip("172.18.0.2")]),
            ("a-net".to_owned(), vec![ip("172.17.0.2"), ip("fd00::2")]),
        ]);
        container
    }

    fn at(address: &str, port: u16) -> (String, u16) {
        (address.to_owned(), port)
    }

    #[test]
    fn a_published_port_is_reached_at_the_node() {
        let mut web = on_bridge();
        web.ports = vec![
            port(80, "udp", &[("0.0.0.0", 9)]),
            port(80, "tcp", &[("::", 49_154), ("0.0.0.0", 49_153)]),
            port(81, "tcp", &[("192.0.2.7", 8_081)]),
            port(82, "tcp", &[("127.0.0.1", 8_082)]),
        ];
        let none = Labels::default();
        assert_eq!(reach(&web, &none, Some(80)), at("10.0.0.1", 49_153));
        assert_eq!(reach(&web, &none, Some(81)), at("192.0.2.7", 8_081));
        assert_eq!(
            reach(&web, &none, Some(82)),
            at("172.17.0.2", 82),
            "only this host can"
        );
    }

    #[test]
    fn else_the_container_itself_is_reached() {
        let mut web = on_bridge();
        web.ports = vec![port(80, "tcp", &[]), port(80, "udp", &[])];
        assert_eq!(reach(&web, &Labels::default(), None), at("172.17.0.2", 80));
        let labels = Labels {
            network: Some("b-net".to_owned()),
            port: Some(90),
            ..Labels::default()
        };
        assert_eq!(reach(&web, &labels, None), at("172.18.0.2", 90));
        assert_eq!(reach(&web, &labels, Some(70)), at("172.18.0.2", 70));
        web.ports.push(port(81, "tcp", &[]));
        assert_eq!(reach(&web, &Labels::default(), None).1, 0, "which one?");
    }

    #[test]
    fn labels_and_networks_without_an_address_fall_back_to_the_node() {
        let mut web = on_bridge();
        let labels = Labels {
            service_ip: Some(ip("203.0.113.9")),
            ..Labels::default()
        };
        web.ports = vec![port(80, "tcp", &[("0.0.0.0", 8_000)])];
        assert_eq!(reach(&web, &labels, Some(80)), at("203.0.113.9", 8_000));
        web.networks.clear();
        web.network_mode = "host".to_owned();
        assert_eq!(
            reach(&web, &Labels::default(), Some(80)),
            at("10.0.0.1", 80)
        );
        web.network_mode = "none".to_owned();
        web.ports.clear();
        assert_eq!(reach(&web, &Labels::default(), None), at("10.0.0.1", 0));
    }

    #[test]
    fn who_shares_a_network_is_reached_as_its_owner() {
        let mut pod = on_bridge();
        pod.ports = vec![port(80, "tcp", &[("0.0.0.0", 8_000)])];
        let mut side = container(2, "side");
        side.network_mode = format!("container:{}", pod.id);
        let mut state = State::default();
        state.containers.insert(Arc::clone(&pod.id), Arc::new(pod));
        let none = Labels::default();
        let (at, port) = service(&side, &none, Some(80), ip("10.0.0.1"), &state);
        assert_eq!((at, port), (ip("10.0.0.1"), 8_000));
        // Two that name each other end somewhere.
        let mut odd = container(3, "odd");
        odd.network_mode = format!("container:{}", odd.id);
        state
            .containers
            .insert(Arc::clone(&odd.id), Arc::new(odd.clone()));
        assert_eq!(service(&odd, &none, None, ip("10.0.0.1"), &state).1, 0);
    }
}
