//! The settings of containers.

use std::net::IpAddr;
use std::num::NonZeroU32;

use super::layers::Layers;
use super::{Legacy, units, values};
use crate::containers as told;
use crate::docker::Config;

/// Reads them. Mistakes are noted in `layers`.
pub(super) fn docker(layers: &mut Layers) -> Config {
    Config {
        mode: layers.value("docker", str::parse),
        host: layers.value("docker-host", str::parse),
        host_prefix: layers.optional("host-prefix", values::path),
    }
}

/// What of them is told, and to whom.
pub(super) fn told(layers: &mut Layers, node: &str, service_ip: IpAddr) -> told::Config {
    told::Config {
        node: node.to_owned(),
        service_ip,
        inspect_secrets: layers.value("inspect-secrets", units::boolean),
    }
}

/// Reads those of programs that speak no gRPC. Mistakes are noted in `layers`.
pub(super) fn legacy(layers: &mut Layers) -> Legacy {
    let rate = |text: &str| units::within(units::number(text)?, 0..=1_000_000);
    let rate = layers.value("fifo-rate", rate);
    Legacy {
        root: layers.optional("legacy-root", values::path),
        fifo_rate: u32::try_from(rate).ok().and_then(NonZeroU32::new),
    }
}
