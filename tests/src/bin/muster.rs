//! The command line as a binary of the tests' package, so that tests can start it.

fn main() {}
