//! The Muster daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "muster")]
    if is_called("muster") {
        return muster::cli::main();
    }
    musterd::main(std::env::args_os())
}

/// Whether a link of that name was called.
#[cfg(feature = "muster")]
fn is_called(name: &str) -> bool {
    let called = std::env::args_os().next();
    called.is_some_and(|path| std::path::Path::new(&path).file_name() == Some(name.as_ref()))
}
