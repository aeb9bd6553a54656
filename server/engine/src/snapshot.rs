//! What outlives a restart, as a value: the daemon keeps it in a file.

use std::net::SocketAddr;

use prost::Message;

use crate::event::Origin;
use crate::events::Position;
use crate::wire::MemberState;

/// Members in a snapshot; those beyond are left out, live ones last. As many as a
/// node knows.
pub(crate) const SNAPSHOT_MEMBERS_MAX: usize = crate::table::MEMBERS_MAX;

/// Bytes of members in a snapshot; those beyond are left out, live ones last. Their
/// addresses stay, so that the cluster is found again.
pub(crate) const SNAPSHOT_MEMBERS_BYTES_MAX: usize = 32 << 20;

/// Positions read from a snapshot; those beyond are ignored. As many as there are logs.
pub(crate) const SNAPSHOT_POSITIONS_MAX: usize = 2 * crate::events::LOGS_MAX;

/// What a node knew when it was written: everybody's last state and address, and how
/// far the events went. Made by [`crate::Engine::snapshot`], taken in by
/// [`crate::Engine::restore`], which believes nothing of it unchecked.
#[derive(Clone, PartialEq, Message)]
pub struct Snapshot {
    /// Name of the cluster: a snapshot of another one is of no use.
    #[prost(string, tag = "1")]
    pub cluster: String,
    /// Name of the node.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Wall clock when it was made, milliseconds.
    #[prost(uint64, tag = "3")]
    pub saved_unix_ms: u64,
    /// The node left, or was about to: its next start must not bring it back unasked.
    #[prost(bool, tag = "4")]
    pub left: bool,
    /// The node had met others: its event streams go on where they ended. Otherwise
    /// they begin at its next join.
    #[prost(bool, tag = "5")]
    pub joined: bool,
    /// Next Lamport time.
    #[prost(uint64, tag = "6")]
    pub lamport: u64,
    /// Addresses of live and past members as `IP:PORT`, least recently seen first.
    #[prost(string, repeated, tag = "7")]
    pub addresses: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) members: Vec<MemberState>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) positions: Vec<Position>,
}

impl Snapshot {
    /// One that only knows where others may be: from another program's file.
    #[must_use]
    pub fn of_addresses(cluster: &str, addresses: &[SocketAddr]) -> Self {
        Self {
            cluster: cluster.to_owned(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            ..Self::default()
        }
    }

    /// Members in it.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Whether it names nobody: it would be of no use to a later start.
    #[must_use]
    pub fn knows_nobody(&self) -> bool {
        self.members.is_empty() && self.addresses.is_empty()
    }

    /// Lets the next run hand over again what came after `sequence`: a consumer that
    /// outlives the daemon has not finished it. Positions are only moved back, and
    /// those of unknown origins are no business of this.
    pub fn hold_back(&mut self, origin: &Origin, sequence: u64) {
        let fits = |at: &&mut Position| *at.name == *origin.name && at.boot == origin.boot;
        if let Some(position) = self.positions.iter_mut().find(fits) {
            position.sequence = position.sequence.min(sequence);
        }
    }

    /// What a node keeps that left and was not told to come back: the clock only.
    #[must_use]
    pub fn without_members(self) -> Self {
        Self {
            joined: false,
            addresses: Vec::new(),
            members: Vec::new(),
            positions: Vec::new(),
            ..self
        }
    }

    /// Addresses that can be read, least recently seen first.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        let sockets = self.addresses.iter().filter_map(|text| text.parse().ok());
        sockets.filter(|addr: &SocketAddr| !addr.ip().is_unspecified() && addr.port() != 0)
    }
}
