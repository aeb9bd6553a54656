//! How it talks to its peers.

use super::{NAME, Setting, list, one, switch};

pub(super) const PEERS: &[Setting] = &[
    one(
        "bind",
        "IP:PORT",
        "IP:PORT, such as 10.0.0.5:7946 or [::]:7946",
        "Address for peers, UDP and TCP on one port. Port 0 takes any free one.",
    )
    .or("127.0.0.1:7946"),
    one(
        "iface",
        "NAME",
        "a network interface with an address that is not link-local",
        "Listen on the address of this network interface, an IPv4 one unless bind is [::]. With an \
         address in bind it only checks that the interface has it.",
    ),
    one(
        "advertise",
        "ADDR",
        "IP, IP:PORT, NAME or NAME:PORT that peers can reach, so neither 0.0.0.0 nor [::]; without \
         a port or with port 0 it is the bound port",
        "Address that peers use. A name is resolved once, at the start.",
    )
    .derived(
        "the address of bind; if that is 0.0.0.0 or [::], the first private address of a network \
         interface",
    ),
    list(
        "join",
        "ADDR",
        "IP, IP:PORT, NAME, NAME:PORT or the SRV name _service._proto.NAME; at most 64",
        "A member to join through. Names are resolved again on every try, and tries never end. A \
         token brings addresses along.",
    ),
    switch(
        "disable-coordinates",
        "Do not find this node's network coordinate, and tell none: no estimates of round trips.",
    ),
    one(
        "discover",
        "NAME",
        NAME,
        "Find members on the local network by multicast DNS: all that discover the same name try \
         to join each other. Anybody there can see who they are and where; what they send each \
         other is sealed all the same.",
    ),
    one(
        "mdns-iface",
        "NAME",
        "a network interface with an address",
        "The only network interface to use for discover.",
    )
    .derived("the one of iface; all interfaces without one"),
    one(
        "retry-interval",
        "DURATION",
        "a duration from 1s to 1h",
        "Longest pause between tries to join while no other member is known. Tries begin 250 ms \
         apart and slow down to this.",
    )
    .or("5s"),
    switch(
        "rejoin",
        "Look for the members of the snapshot also if this node left before. Without it a node that \
         left joins through `join` only.",
    ),
    one(
        "profile",
        "PROFILE",
        "lan, wan or local",
        "What the network is like, as with serf's agent. Detection tunes itself to losses and load; \
         `wan` gives a suspected member three times as long to answer, 15 s to 30 s instead of 5 s to \
         10 s. `lan` and `local` are the same. The least patient member decides for all, so give \
         the same everywhere.",
    )
    .or("lan"),
];
