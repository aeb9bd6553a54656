//! Where clients reach it.

use super::{SOCKET, Setting, one, pairs};

pub(super) const API: &[Setting] = &[
    one("socket", "PATH", SOCKET, "Socket of the API.")
        .derived("`/run/muster/api.sock` for root, `$XDG_RUNTIME_DIR/muster/api.sock` for others"),
    one(
        "socket-mode",
        "MODE",
        "an octal mode from 0600 to 0777 that lets the owner read and write",
        "Mode of the API socket: who may open it. What they may do is a matter of allow.",
    )
    .or("0660"),
    one(
        "socket-group",
        "GROUP",
        "the number of a group, or its name in /etc/group",
        "Group of the API sockets.",
    )
    .derived("the group of the process"),
    one(
        "child-socket",
        "PATH",
        SOCKET,
        "A second socket that offers reading and events to everybody: the one to mount into \
         containers.",
    ),
    pairs(
        "allow",
        "UID=CAPS",
        "UID=CAPS, CAPS of read, events and admin joined by '+' (or by ',' in a flag or the file)",
        "What a user may do on the API socket, beyond read + events for everybody and everything \
         for root and the user of the daemon.",
    ),
    one(
        "api-threads",
        "N",
        "a number from 1 to 64",
        "Threads that serve the API.",
    )
    .or("1"),
];
