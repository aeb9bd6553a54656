//! The Muster daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "muster")]
    if one_program::is_command_line(std::env::args_os().next()) {
        return muster::cli::main();
    }
    musterd::main(std::env::args_os())
}

/// Images hold one program for all names, see `deploy/static.sh`.
#[cfg(feature = "muster")]
mod one_program {
    use std::ffi::OsString;
    use std::path::Path;

    /// Links that are the command line: see [`muster::cli::run`] for the second.
    const NAMES: [&str; 2] = ["muster", "me"];

    /// Whether the program was called by such a link.
    pub(crate) fn is_command_line(called: Option<OsString>) -> bool {
        let called = called.unwrap_or_default();
        let name = Path::new(&called).file_name();
        name.is_some_and(|name| NAMES.iter().any(|known| name == *known))
    }
}
