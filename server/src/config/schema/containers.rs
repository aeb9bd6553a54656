//! Docker, and programs that speak no gRPC.

use super::{PATH, Setting, one, switch};

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
    switch(
        "inspect-secrets",
        "Whether inspecting a container of this node shows values of environment variables, \
         arguments and other usual places of secrets, to callers who may do everything. They are \
         hidden otherwise. See docs/containers.md.",
    ),
];
