//! Bounds of events and members.

use super::{Setting, one};

pub(super) const BOUNDS: &[Setting] = &[
    one(
        "event-payload-limit",
        "SIZE",
        "a size from 1KiB to 1MiB",
        "Largest payload of an event that this node accepts.",
    )
    .or("64KiB"),
    one(
        "events-per-origin",
        "N",
        "a number from 64 to 1048576",
        "Events kept of each origin. Whoever was away for longer gets a gap marker.",
    )
    .or("8192"),
    one(
        "event-bytes-per-origin",
        "SIZE",
        "a size from 1MiB to 4GiB, at least 4 times event-payload-limit",
        "Bytes of events kept of each origin.",
    )
    .or("32MiB"),
    one(
        "event-bytes-total",
        "SIZE",
        "a size from 1MiB to 16GiB, at least event-bytes-per-origin",
        "Bytes of events kept in all.",
    )
    .or("64MiB"),
    one(
        "reap-left",
        "DURATION",
        "a duration from 1s to 365d",
        "How long members that left are shown.",
    )
    .or("10m"),
    one(
        "reap-failed",
        "DURATION",
        "a duration from 1s to 365d",
        "How long failed members are shown.",
    )
    .or("24h"),
];
