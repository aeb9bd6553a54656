//! serf's interfaces.

use super::{Setting, one, switch};

pub(super) const SERF: &[Setting] = &[
    one(
        "serf-rpc",
        "IP:PORT",
        "IP:PORT; without serf-rpc-auth-file a loopback address",
        "Address for the `serf` command and serf's client libraries, as 127.0.0.1:7373. The \
         protocol knows no encryption. Without serf-rpc-auth-file clients may only read and send \
         events.",
    ),
    one(
        "serf-rpc-auth-file",
        "FILE",
        "a file with mode 0600 that holds one line of at most 1024 bytes",
        "The token that clients of serf-rpc must give (`serf -rpc-auth`); with it they may do \
         everything.",
    ),
    switch(
        "serf-rpc-show-keys",
        "Whether `serf keys -list` shows keys. Without it, it shows their ids.",
    ),
];
