//! The settings of containers.

use std::num::NonZeroU32;

use super::layers::Layers;
use super::{Legacy, units, values};
use crate::docker::Config;
use crate::legacy::json::Privacy;

/// Reads them. Mistakes are noted in `layers`.
pub(super) fn docker(layers: &mut Layers) -> Config {
    Config {
        mode: layers.value("docker", str::parse),
        host: layers.value("docker-host", str::parse),
        host_prefix: layers.optional("host-prefix", values::path),
    }
}

/// Reads those of programs that speak no gRPC. Mistakes are noted in `layers`.
pub(super) fn legacy(layers: &mut Layers) -> Legacy {
    let rate = |text: &str| units::within(units::number(text)?, 0..=1_000_000);
    let rate = layers.value("fifo-rate", rate);
    Legacy {
        root: layers.optional("legacy-root", values::path),
        fifo_rate: u32::try_from(rate).ok().and_then(NonZeroU32::new),
        privacy: layers.value("legacy-inspect", privacy),
    }
}

fn privacy(text: &str) -> Result<Privacy, String> {
    match text {
        "redacted" => Ok(Privacy::Redacted),
        "full" => Ok(Privacy::Full),
        _ => Err("it is neither redacted nor full".to_owned()),
    }
}
