//! The commands of the protocol.

/// What a client must be allowed to do for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it is how a client introduces itself.
    Nothing,
    /// Looking, and sending events: what everybody may do where there is no token.
    Reading,
    /// Changing this node or the cluster: the token.
    Token,
}

macro_rules! commands {
    ($($variant:ident $name:literal $body:literal $need:ident,)*) => {
        /// A command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Command {
            $($variant,)*
        }

        impl Command {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The command of a name.
            pub(crate) fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether a body follows the header of a request.
            pub(crate) const fn has_body(self) -> bool {
                match self {
                    $(Self::$variant => $body,)*
                }
            }

            /// What it takes.
            pub(crate) const fn need(self) -> Need {
                match self {
                    $(Self::$variant => Need::$need,)*
                }
            }
        }
    };
}

commands! {
    Handshake "handshake" true Nothing,
    Auth "auth" true Nothing,
    Event "event" true Reading,
    ForceLeave "force-leave" true Token,
    Join "join" true Token,
    Members "members" false Reading,
    MembersFiltered "members-filtered" true Reading,
    Stream "stream" true Reading,
    Stop "stop" true Reading,
    Query "query" true Reading,
    Respond "respond" true Token,
    Leave "leave" false Token,
    InstallKey "install-key" true Token,
    UseKey "use-key" true Token,
    RemoveKey "remove-key" true Token,
    ListKeys "list-keys" false Token,
    Tags "tags" true Token,
    // The log may tell more than members and events do.
    Monitor "monitor" true Token,
    Stats "stats" false Reading,
    GetCoordinate "get-coordinate" true Reading,
}
