//! Docker, and programs that speak no gRPC.

use super::Setting;

pub(super) const CONTAINERS: &[Setting] = &[];
