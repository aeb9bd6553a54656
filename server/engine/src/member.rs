//! A member as surfaces see it: immutable, complete, shared by `Arc`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What this node believes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Answers probes.
    Alive,
    /// Missed probes; may still refute.
    Suspect,
    /// Announced a graceful leave that is not finished.
    Leaving,
    /// Left gracefully or by force.
    Left,
    /// Declared dead.
    Failed,
}

impl Status {
    /// Alive, suspect or leaving: the daemon is believed to run.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect | Self::Leaving)
    }

    /// The word for it in files, output and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a member has its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusReason {
    /// It joined, or this node did.
    Joined,
    /// A newer boot of it appeared.
    Restarted,
    /// It proved an accusation wrong.
    Refuted,
    /// Probes went unanswered.
    ProbeFailed,
    /// The suspicion was not refuted in time.
    SuspicionExpired,
    /// A watcher's stream to it broke, and it could not be opened again.
    StreamLost,
    /// The same, and its host refuses connections: the process is gone.
    ConnectionRefused,
    /// The same, and its host does not answer any more: it is gone as well.
    HostGone,
    /// Probes went unanswered, and not even its host's kernel answered.
    HostSilent,
    /// It said that it leaves.
    LeaveIntent,
    /// It stopped after saying that it leaves.
    Left,
    /// An operator ended its membership.
    ForcedOut,
    /// Another member had it so in a state exchange.
    Learnt,
    /// A member of this node's run before the restart that was not met since.
    NotMet,
}

impl StatusReason {
    /// One short sentence for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Restarted => "restarted with a newer boot",
            Self::Refuted => "refuted a suspicion",
            Self::ProbeFailed => "did not answer probes",
            Self::SuspicionExpired => "did not refute a suspicion in time",
            Self::StreamLost => "a stream to it broke and could not be opened again",
            Self::ConnectionRefused => "its streams broke and connections are refused",
            Self::HostGone => "its streams broke and its host does not answer",
            Self::HostSilent => "neither it nor its host answered",
            Self::LeaveIntent => "is leaving",
            Self::Left => "left",
            Self::ForcedOut => "was forced out",
            Self::Learnt => "learnt in a state exchange",
            Self::NotMet => "was not met since the restart",
        }
    }
}

impl fmt::Display for StatusReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who set a status, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// Name of the member whose word it was: the first accuser of a suspect or
    /// failed one, the operator's node for one forced out. `None` for what this node
    /// saw itself and for a member's own word (it joined, refuted, leaves).
    pub by: Option<Arc<str>>,
    /// Wall clock of this node, milliseconds.
    pub at_unix_ms: u64,
    /// Why.
    pub reason: StatusReason,
}

/// One role that a node serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Name, in the grammar of [`crate::name::check_role`].
    pub name: String,
    /// Address for clients.
    pub service_ip: IpAddr,
    /// Port for clients; 0 if the role has none.
    pub service_port: u16,
    /// Wall clock of the owner, milliseconds: when it began to serve the role.
    pub since_unix_ms: u64,
    /// Full id of the container that serves it, 64 hex digits; `None` for a role of the
    /// node's settings.
    pub container: Option<Arc<str>>,
    /// False while the container's HEALTHCHECK does not pass.
    pub healthy: bool,
}

/// Key of a member in stores: one entry per claimant of a name. `Ord` sorts by
/// name, then by boot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberKey {
    /// Its name.
    pub name: Arc<str>,
    /// Its boot, 0 for the holder of the name: a restart replaces the entry, only
    /// losers of a name conflict stand beside it under their own boot.
    pub conflict_boot: u64,
}

/// One member, as this node believes it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name: the id in every API and file.
    pub name: Arc<str>,
    /// `NAME~<8 hex>` if it lost a name conflict: a display name, never on the wire.
    pub alias: Option<Arc<str>>,
    /// Grows with each start.
    pub boot: u64,
    /// Random, tells two processes that claim one name and boot apart.
    pub instance: u64,
    /// SWIM incarnation over all lives: `life << 16 | incarnation`.
    pub incarnation: u64,
    /// Where peers reach it.
    pub addr: SocketAddr,
    /// What this node believes.
    pub status: Status,
    /// Who, when, why.
    pub change: StatusChange,
    /// Status changes that this node has seen of it.
    pub transitions: u64,
    /// Owner's wall clock at its join, milliseconds; "oldest" sorts on it, then on the name.
    pub started_unix_ms: u64,
    /// Free tags.
    pub tags: BTreeMap<String, String>,
    /// Roles: those of the settings in the owner's order, then those of containers,
    /// oldest first.
    pub roles: Vec<Role>,
    /// Ports of this node's own container and where the host publishes them, as in
    /// `8000/tcp` to `49153`; empty where the node runs in none.
    pub ports: BTreeMap<String, Vec<String>>,
    /// Daemon version.
    pub version: String,
    /// Gossip protocol range that it understands.
    pub protocol: (u32, u32),
    /// It talks without encryption.
    pub plaintext: bool,
    /// This node reaches it over TCP alone: datagrams do not get through, one way or both.
    pub by_tcp: bool,
    /// It is this node.
    pub is_self: bool,
}

impl Member {
    /// Its key in stores.
    #[must_use]
    pub fn key(&self) -> MemberKey {
        MemberKey {
            name: Arc::clone(&self.name),
            conflict_boot: if self.alias.is_some() { self.boot } else { 0 },
        }
    }

    /// Alias if it has one, else name: what people are shown.
    #[must_use]
    pub fn display_name(&self) -> &Arc<str> {
        self.alias.as_ref().unwrap_or(&self.name)
    }

    /// Sort key of seniority: start time, then name.
    #[must_use]
    pub fn seniority(&self) -> (u64, &str) {
        (self.started_unix_ms, &self.name)
    }
}
