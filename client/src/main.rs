//! The command line of Muster. All of it is in the library, see [`muster::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    muster::cli::main()
}
