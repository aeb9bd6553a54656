//! What asks for something else than a running daemon.

use super::{Given, PATH, Setting, one, switch};

pub(super) const COMMANDS: &[Setting] = &[
    switch(
        "exit-with-stdin",
        "End, as SIGTERM does, once standard input closes: whoever started the daemon with a \
         pipe there and dies, by SIGKILL even, leaves none behind. Standard input must be a pipe.",
    )
    .given(Given::FlagOnly),
    one("config", "FILE", PATH, "The TOML file that holds settings.").given(Given::FlagAndEnv),
    switch(
        "print-config",
        "Print the effective settings and where each comes from, then exit.",
    )
    .given(Given::FlagOnly),
    switch(
        "check-config",
        "Check the settings, the file and the keys, then exit with 0 or 78.",
    )
    .given(Given::FlagOnly),
];
