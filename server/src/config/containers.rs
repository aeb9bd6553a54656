//! The settings of containers.

use super::layers::Layers;
use super::values;
use crate::docker::Config;

/// Reads them. Mistakes are noted in `layers`.
pub(super) fn docker(layers: &mut Layers) -> Config {
    Config {
        mode: layers.value("docker", str::parse),
        host: layers.value("docker-host", str::parse),
        host_prefix: layers.optional("host-prefix", values::path),
    }
}
