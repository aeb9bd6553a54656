//! The Muster daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    musterd::main(std::env::args_os())
}
