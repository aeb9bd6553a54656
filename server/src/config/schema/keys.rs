//! The keys of the cluster.

use super::{Given, Setting, one, switch};

pub(super) const KEYS: &[Setting] = &[
    one(
        "key-file",
        "FILE",
        "a file with one base64 key of 16, 24 or 32 bytes a line; the first one seals",
        "Keys of the cluster, as `muster keygen` prints them.",
    ),
    one(
        "keyring-file",
        "FILE",
        "a JSON list of base64 keys, the first one seals; readable by its owner only",
        "Keys of the cluster as serf keeps them, rewritten whenever keys change at run time. If \
         the file is there, its keys are used; if it is not, it begins with the key of key-file \
         or of the token.",
    ),
    one(
        "encryption",
        "STAGE",
        "on, send (seal, accept both) or receive (send in clear, accept both)",
        "How far this node is on the way from plaintext, for turning encryption on in a running \
         cluster. The stages before on accept plaintext: refused on public addresses.",
    )
    .derived("the stage that was last set at run time, else `on`"),
    one(
        "token-file",
        "FILE",
        "a file with the line that `muster token` printed",
        "Token of the cluster: its name, key and seeds.",
    ),
    one(
        "token",
        "TOKEN",
        "the line that `muster token` printed",
        "Token of the cluster, for containers that get secrets by environment.",
    )
    .given(Given::EnvOnly),
    switch(
        "insecure-plaintext",
        "Talk to peers without encryption. Refused unless bind and advertise are loopback or \
         private addresses.",
    ),
];
