//! `muster token`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use muster_proto::token::{KeyBytes, Token};
use zeroize::Zeroizing;

use crate::cli::args;
use crate::cli::failure::Failure;
use crate::cli::{Context, keygen, note};

/// Most bytes read of a key file; a key has 44.
const KEY_FILE_BYTES_MAX: u64 = 4096;

pub(super) fn run(context: &mut Context, args: &args::Token) -> Result<(), Failure> {
    let key = match &args.key_file {
        Some(path) => read_key(path)?,
        None => keygen::generate()?,
    };
    let token = Token {
        cluster: args.cluster.clone(),
        key,
        seeds: args.seeds.clone(),
    };
    let line = token
        .encode()
        .map_err(|error| Failure::usage(error.to_string()))?;
    if context.out.is_json() {
        context
            .out
            .json(&serde_json::json!({ "token": line.as_str() }))?;
    } else {
        context.out.line(&line)?;
    }
    if io::stderr().is_terminal() {
        note(
            "whoever has this line can join: keep it secret. On each host save it to a file \
             and start musterd --token-file FILE, or set MUSTER_TOKEN",
        );
    }
    Ok(())
}

/// The key of a file, as `muster keygen` prints it.
pub(super) fn read_key(path: &Path) -> Result<KeyBytes, Failure> {
    let failed = |error| Failure::file("read", path, &error);
    let mut text = Zeroizing::new(String::new());
    File::open(path)
        .map_err(failed)?
        .take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    KeyBytes::parse(&text).map_err(|error| Failure::refused(format!("{}: {error}", path.display())))
}
