//! The daemon as a binary of the tests' package, so that tests can start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    musterd::main(std::env::args_os())
}
