//! `muster completions`.

use clap::CommandFactory as _;

use crate::cli::Context;
use crate::cli::args::{Cli, Completions};
use crate::cli::failure::Failure;

pub(super) fn run(context: &mut Context, args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "muster", &mut script);
    context.out.raw(&script)
}
