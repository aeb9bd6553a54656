//! Docker, and programs that speak no gRPC.

use super::{PATH, Setting, one};

pub(super) const CONTAINERS: &[Setting] = &[
    one(
        "docker",
        "MODE",
        "off, auto or required",
        "Whether the containers of this node are followed. With auto the engine is used while it \
         is there, and looked for quietly while it is not; with required the daemon does not \
         start without it. See docs/docker.md.",
    )
    .or("auto"),
    one(
        "docker-host",
        "URL",
        "unix:///PATH or tcp://HOST:PORT, without TLS",
        "Where the Docker engine listens. The variable DOCKER_HOST is not read.",
    )
    .or("unix:///var/run/docker.sock"),
    one(
        "host-prefix",
        "DIR",
        PATH,
        "Where the root directory of the Docker host is mounted, for a daemon in a container that \
         the engine does not know or whose mounts it does not tell of.",
    )
    .derived("what the engine says of the mounts of the daemon's container"),
    one(
        "legacy-root",
        "DIR",
        PATH,
        "Gives programs that speak no gRPC what serfnode gave them, below this directory (/ in the \
         image of a node): files that tell of the cluster, a FIFO that takes events, lines of \
         /etc/hosts. It also makes the variables of serfnode's image count (ROLE, PEER, DOCKER_RUN \
         and others). See docs/serfnode.md.",
    ),
    one(
        "legacy-inspect",
        "MODE",
        "redacted or full",
        "What the files below legacy-root show of containers: with redacted all but values of \
         environment variables, arguments of programs and other usual places of secrets; with \
         full everything, as serfnode did.",
    )
    .or("redacted"),
    one(
        "fifo-rate",
        "NUMBER",
        "0 to 1000000",
        "Lines per second that each FIFO takes on average, and twice as many at once. Who writes \
         faster waits. 0: no limit.",
    )
    .or("1000"),
    one(
        "serfnode-yml",
        "FILE",
        PATH,
        "File in the form of serfnode: who this node is, and the containers that it starts, in \
         order. It also makes the variables of serfnode's image count. A reload reads its \
         children again. See docs/serfnode-yml.md.",
    )
    .live(),
    one(
        "children-stop-timeout",
        "DURATION",
        "a duration from 0s to 60s",
        "How long the containers that this node started have to stop when the daemon ends, all \
         together; those that still run then are killed.",
    )
    .or("8s")
    .live(),
];
