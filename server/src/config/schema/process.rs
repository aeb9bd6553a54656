//! The process itself.

use super::{BOOL, DEFAULT_LOG_FILTER, PATH, Setting, one, switch};

pub(super) const PROCESS: &[Setting] = &[
    one(
        "data-dir",
        "DIR",
        PATH,
        "Directory for what should outlive a restart. It is created with mode 0700 and belongs to \
         one daemon. Without one nothing is written but a snapshot that is given by itself.",
    ),
    one(
        "snapshot",
        "FILE",
        PATH,
        "File that keeps members, addresses and event positions for the next start. A snapshot of \
         serf is taken over once.",
    )
    .derived("`snapshot` in `data-dir`; nothing is kept without one"),
    one(
        "log-filter",
        "FILTER",
        "directives by comma: LEVEL or TARGET=LEVEL, LEVEL of off, error, warn, info, debug, trace",
        "What is logged. `muster` can change it while the daemon runs.",
    )
    .or(DEFAULT_LOG_FILTER)
    .live(),
    one(
        "log-format",
        "FORMAT",
        "text or json",
        "How the log on standard error is written. Where that is the journal of systemd, lines carry \
         their priority for it, and texts no time of their own.",
    )
    .or("text"),
    one(
        "leave-on-terminate",
        "BOOL",
        BOOL,
        "Whether SIGTERM leaves the cluster before the daemon ends. Without it peers see a failed \
         member, as suits a quick restart.",
    )
    .or("true")
    .live(),
    switch(
        "skip-leave-on-interrupt",
        "Let SIGINT (ctrl-C) end the daemon without leaving the cluster.",
    )
    .live(),
    one(
        "leave-timeout",
        "DURATION",
        "a duration from 0s to 60s",
        "How long a leave may take before the daemon ends all the same.",
    )
    .or("3s")
    .live(),
    one(
        "drain-timeout",
        "DURATION",
        "a duration from 0s to 60s",
        "How long streams and connections may take to end before they are cut.",
    )
    .or("5s")
    .live(),
];
