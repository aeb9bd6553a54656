//! The API of Muster, package `muster.v1`: generated messages, clients and
//! servers, the descriptor set for reflection, and the `.proto` files themselves.

mod secret;
pub mod token;

/// Generated code of package `muster.v1`. The documentation of each item is the
/// comment in its `.proto` file.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    rustdoc::all
)]
pub mod v1 {
    tonic::include_proto!("muster.v1");
}

/// Generated code of package `muster.peer.v1`: what daemons call of each other. No part
/// of the API: it may change with any version of the daemon that peers still understand.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    rustdoc::all
)]
pub mod peer {
    tonic::include_proto!("muster.peer.v1");
}

/// Encoded `FileDescriptorSet` of `muster.v1`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/muster.v1.fds"));

/// The `.proto` files: path relative to the import root, and text.
pub const PROTO_FILES: [(&str, &str); 8] = [
    (
        "muster/v1/common.proto",
        include_str!("../muster/v1/common.proto"),
    ),
    (
        "muster/v1/container_service.proto",
        include_str!("../muster/v1/container_service.proto"),
    ),
    (
        "muster/v1/event_service.proto",
        include_str!("../muster/v1/event_service.proto"),
    ),
    (
        "muster/v1/key_service.proto",
        include_str!("../muster/v1/key_service.proto"),
    ),
    (
        "muster/v1/membership_service.proto",
        include_str!("../muster/v1/membership_service.proto"),
    ),
    (
        "muster/v1/node_service.proto",
        include_str!("../muster/v1/node_service.proto"),
    ),
    (
        "muster/v1/query_service.proto",
        include_str!("../muster/v1/query_service.proto"),
    ),
    (
        "muster/v1/resolver_service.proto",
        include_str!("../muster/v1/resolver_service.proto"),
    ),
];

/// Domain of the `google.rpc.ErrorInfo` that every error status carries.
pub const ERROR_DOMAIN: &str = "muster.v1";
