//! Docker, and programs that speak no gRPC.

use super::{PATH, Setting, one};

pub(super) const CONTAINERS: &[Setting] = &[
    one(
        "legacy-root",
        "DIR",
        PATH,
        "Gives programs that speak no gRPC what serfnode gave them, below this directory: \
         `serfnode/parent` is a FIFO that takes events. See docs/serfnode.md.",
    ),
    one(
        "fifo-rate",
        "NUMBER",
        "0 to 1000000",
        "Lines per second that each FIFO takes on average, and twice as many at once. Who writes \
         faster waits. 0: no limit.",
    )
    .or("1000"),
];
