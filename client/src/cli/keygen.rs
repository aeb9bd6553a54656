//! `muster keygen`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use muster_proto::token::KeyBytes;
use rand::TryRng as _;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::cli::Context;
use crate::cli::args::Keygen;
use crate::cli::failure::Failure;

const KEY_BYTES: usize = 32;

pub(super) fn run(context: &mut Context, args: &Keygen) -> Result<(), Failure> {
    let key = generate()?;
    match &args.out {
        None if context.out.is_json() => context
            .out
            .json(&serde_json::json!({ "key": key.to_text().as_str() })),
        None => context.out.line(&key.to_text()),
        Some(path) => write(path, &key),
    }
}

/// A new key from the system's random source.
pub(super) fn generate() -> Result<KeyBytes, Failure> {
    let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Failure::refused(format!("the system has no random bytes: {error}")))?;
    KeyBytes::new(bytes).map_err(|error| Failure::refused(error.to_string()))
}

/// Writes a key to a file that must be new, readable by its owner only.
pub(super) fn write(path: &Path, key: &KeyBytes) -> Result<(), Failure> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(|error| Failure::file("create", path, &error))?;
    let text = Zeroizing::new(format!("{}\n", *key.to_text()));
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| Failure::file("write", path, &error))
}
