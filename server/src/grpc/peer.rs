//! Who calls: put into every request's extensions by the accept loop.

use std::fmt;

/// Which socket a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SocketKind {
    /// The full API.
    Api,
    /// Read and events only, for children.
    Child,
}

impl fmt::Display for SocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Child => "child",
        })
    }
}

/// Credentials of the other end, as the kernel recorded them at connect(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Socket of the connection.
    pub socket: SocketKind,
}
