//! Compiles the `.proto` files with protox, so that no protoc is needed.

use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 8] = [
    "muster/v1/common.proto",
    "muster/v1/membership_service.proto",
    "muster/v1/resolver_service.proto",
    "muster/v1/container_service.proto",
    "muster/v1/event_service.proto",
    "muster/v1/key_service.proto",
    "muster/v1/node_service.proto",
    "muster/v1/query_service.proto",
];

/// Between daemons: not exported, not in the descriptor set for reflection.
const INTERNAL: [&str; 4] = [
    "muster/peer/v1/container_peer_service.proto",
    "muster/peer/v1/event_peer_service.proto",
    "muster/peer/v1/key_peer_service.proto",
    "muster/peer/v1/query_peer_service.proto",
];

/// Messages with secrets in them: `Debug` must not show those.
const SECRETIVE: [&str; 4] = [
    ".muster.v1.InstallKeyRequest",
    ".muster.v1.RotateKeyRequest",
    ".muster.peer.v1.KeyEntry",
    ".muster.peer.v1.PrimaryKey",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=muster");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("muster.v1.fds"), descriptors.encode_to_vec())?;
    compile(".muster.v1", descriptors)?;
    compile(".muster.peer.v1", protox::compile(INTERNAL, ["."])?)
}

fn compile(
    package: &str,
    descriptors: prost_types::FileDescriptorSet,
) -> Result<(), Box<dyn std::error::Error>> {
    tonic_prost_build::configure()
        // Maps in one order: equal messages are equal bytes (encode once, etags, golden files).
        .btree_map(".")
        .bytes(package)
        .skip_debug(SECRETIVE)
        .generate_default_stubs(true)
        .compile_fds(descriptors)?;
    Ok(())
}
