//! What peers say to each other, protocol 1. Field numbers are for ever.
//!
//! Everything here travels sealed. Sizes are checked by whoever sends; counts are
//! checked by whoever receives, with the bounds of this file.

use bytes::Bytes;
use prost::Message;

/// Protocol versions that this build understands.
pub(crate) const PROTOCOL: (u32, u32) = (1, 1);

/// Records or wants taken from one datagram; more are ignored.
pub(crate) const ITEMS_PER_DATAGRAM_MAX: usize = 64;

/// Members taken from one exchange.
pub(crate) const MEMBERS_PER_EXCHANGE_MAX: usize = 100_000;

/// Body of a datagram.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Packet {
    /// Digest of the sender's settled view, its lower half: it rides on everything. Where
    /// two views happen to share it, the exchange that comes anyway compares all.
    #[prost(fixed32, tag = "1")]
    pub(crate) digest: u32,
    /// foca's message: source 16, its incarnation 2, destination check 4, message, updates.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) swim: Bytes,
    /// Who sends, where `swim` does not say so: an identity.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) sender: Bytes,
    /// The receiver is under suspicion at this incarnation, plus one.
    #[prost(uint32, tag = "4")]
    pub(crate) suspected: u32,
    /// The sender holds this identity of the receiver for dead.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) undead: Bytes,
    /// Accusations to be passed on.
    #[prost(message, repeated, tag = "6")]
    pub(crate) accusations: Vec<Accusation>,
    /// Records to be passed on: encoded [`RecordDelta`]s.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(crate) records: Vec<Bytes>,
    /// Identities whose records the sender wants, 16 bytes each.
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) wants: Bytes,
    /// Forced leaves to be passed on.
    #[prost(message, repeated, tag = "9")]
    pub(crate) forced: Vec<Forced>,
    /// Section of the event engine.
    #[prost(bytes = "bytes", tag = "10")]
    pub(crate) events: Bytes,
    /// The sender asks for a datagram back, to compare digests again.
    #[prost(bool, tag = "11")]
    pub(crate) ask_digest: bool,
    /// Incarnation of the sender plus one, where `swim` does not say it.
    #[prost(uint32, tag = "12")]
    pub(crate) incarnation: u32,
    /// Where the sender is, with answers to probes: see `coordinate::encode`.
    #[prost(bytes = "bytes", tag = "13")]
    pub(crate) coordinate: Bytes,
    /// Identities that the sender wants others to connect to, 16 bytes each: it lost
    /// its stream to them and is alone with that.
    #[prost(bytes = "bytes", tag = "14")]
    pub(crate) witness: Bytes,
    /// The sender got the request to probe with this number, plus one: whoever is told
    /// by nobody hears badly itself.
    #[prost(uint32, tag = "15")]
    pub(crate) receipt: u32,
    /// No datagram of the receiver gets to the sender by UDP.
    #[prost(bool, tag = "16")]
    pub(crate) unheard: bool,
}

/// First words on a watch stream, and the answer to them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    /// Who speaks: an identity.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) ident: Bytes,
    /// Its incarnation.
    #[prost(uint32, tag = "2")]
    pub(crate) incarnation: u32,
    /// Digest of its settled view.
    #[prost(fixed64, tag = "3")]
    pub(crate) digest: u64,
}

/// One member's word that another one does not answer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Accusation {
    /// Identity of the accused.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) subject: Bytes,
    /// Its incarnation at that time.
    #[prost(uint32, tag = "2")]
    pub(crate) incarnation: u32,
    /// Name hash of the accuser.
    #[prost(fixed64, tag = "3")]
    pub(crate) accuser: u64,
    /// What the accuser saw: a number of `suspicion::Evidence`.
    #[prost(uint32, tag = "4")]
    pub(crate) evidence: u32,
}

/// An operator's word that a failed member is gone for good.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Forced {
    /// Identity of the subject.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) subject: Bytes,
    /// Forget it at once.
    #[prost(bool, tag = "2")]
    pub(crate) prune: bool,
    /// Name hash of the member that was told.
    #[prost(fixed64, tag = "3")]
    pub(crate) by: u64,
}

/// Entries of one member's record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RecordDelta {
    /// Name hash of the owner.
    #[prost(fixed64, tag = "1")]
    pub(crate) hash: u64,
    /// Its boot.
    #[prost(uint64, tag = "2")]
    pub(crate) boot: u64,
    /// The owner's original bytes of each [`RecordEntry`].
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(crate) entries: Vec<Bytes>,
    /// The sender has forgotten keys that were deleted at or below this version: who
    /// holds less drops what is not named here.
    #[prost(uint64, tag = "4")]
    pub(crate) floor: u64,
    /// Who holds everything up to this version ...
    #[prost(uint64, tag = "5")]
    pub(crate) base: u64,
    /// ... holds everything up to this one with these entries. Entries above it came
    /// early, because they are urgent.
    #[prost(uint64, tag = "6")]
    pub(crate) upto: u64,
    /// Where not everything fitted: the version up to which the sender holds everything.
    #[prost(uint64, tag = "7")]
    pub(crate) latest: u64,
}

/// One versioned key of a record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RecordEntry {
    /// Which key.
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// From the owner's one counter per boot.
    #[prost(uint64, tag = "2")]
    pub(crate) version: u64,
    /// The key was deleted.
    #[prost(bool, tag = "3")]
    pub(crate) deleted: bool,
    /// Encoded value.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) value: Bytes,
}

/// Value of key `node`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Tells two processes of one name and boot apart.
    #[prost(fixed64, tag = "2")]
    pub(crate) instance: u64,
    /// 4 or 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) ip: Bytes,
    #[prost(uint32, tag = "4")]
    pub(crate) port: u32,
    /// Owner's wall clock, milliseconds; sets seniority.
    #[prost(uint64, tag = "5")]
    pub(crate) started_unix_ms: u64,
    #[prost(string, tag = "6")]
    pub(crate) version: String,
    #[prost(uint32, tag = "7")]
    pub(crate) protocol_min: u32,
    #[prost(uint32, tag = "8")]
    pub(crate) protocol_max: u32,
    /// Feature bits; none are defined yet.
    #[prost(uint64, tag = "9")]
    pub(crate) features: u64,
    #[prost(bool, tag = "10")]
    pub(crate) plaintext: bool,
    /// It lost its name to another live node.
    #[prost(bool, tag = "11")]
    pub(crate) conflict: bool,
}

/// Value of key `tags`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tags {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) tags: std::collections::BTreeMap<String, String>,
}

/// Value of key `roles`, and of `roles/<container>`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Roles {
    #[prost(message, repeated, tag = "1")]
    pub(crate) roles: Vec<RoleInfo>,
}

/// One role.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RoleInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// 4 or 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) ip: Bytes,
    #[prost(uint32, tag = "3")]
    pub(crate) port: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) since_unix_ms: u64,
    /// Id of the container that serves it, 32 bytes; empty for a role of the settings.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) container: Bytes,
    /// It serves, but says that it should not.
    #[prost(bool, tag = "6")]
    pub(crate) unhealthy: bool,
}

/// Value of key `ports`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ports {
    #[prost(message, repeated, tag = "1")]
    pub(crate) ports: Vec<PortInfo>,
}

/// Where one port is published.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PortInfo {
    /// As in `8000/tcp`.
    #[prost(string, tag = "1")]
    pub(crate) port: String,
    /// Ports of the host.
    #[prost(string, repeated, tag = "2")]
    pub(crate) published: Vec<String>,
}

/// Value of key `status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OwnStatus {
    #[prost(bool, tag = "1")]
    pub(crate) leaving: bool,
}

/// One request on a sync pipe.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SyncRequest {
    #[prost(oneof = "sync_request::Kind", tags = "1, 2")]
    pub(crate) kind: Option<sync_request::Kind>,
}

pub(crate) mod sync_request {
    /// What is asked.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Kind {
        /// Compare views; answered by a [`super::CompareAnswer`].
        #[prost(message, tag = "1")]
        Compare(super::Compare),
        /// Take what you wanted; answered by an empty [`super::CompareAnswer`].
        #[prost(message, tag = "2")]
        Push(super::Push),
    }
}

/// "This is what I hold": one summary per member.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Compare {
    /// The sender's own state.
    #[prost(message, optional, tag = "1")]
    pub(crate) own: Option<MemberState>,
    /// It is joining: it takes its event positions from the answer.
    #[prost(bool, tag = "2")]
    pub(crate) join: bool,
    /// [`Summary`]s, 27 bytes each.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) summaries: Bytes,
    /// Event positions.
    #[prost(message, repeated, tag = "4")]
    pub(crate) positions: Vec<crate::events::Position>,
    /// Instead of summaries: a digest for each group of members, 8 bytes each. The
    /// answer then only names what differs.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) digests: Bytes,
    /// The groups that the summaries are about, one bit each; 0 for all.
    #[prost(fixed64, tag = "6")]
    pub(crate) groups: u64,
    /// Beside `digests`: the digest of the event positions.
    #[prost(fixed64, tag = "7")]
    pub(crate) events_digest: u64,
}

/// What the requester lacks, and what the responder lacks.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CompareAnswer {
    /// The responder's own state.
    #[prost(message, optional, tag = "1")]
    pub(crate) own: Option<MemberState>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) members: Vec<MemberState>,
    /// Identities that the requester holds newer, 16 bytes each.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) wants: Bytes,
    /// The highest boot that the responder has seen for the requester's name, if
    /// not the requester's own.
    #[prost(uint64, tag = "4")]
    pub(crate) boot_floor: u64,
    #[prost(message, repeated, tag = "5")]
    pub(crate) positions: Vec<crate::events::Position>,
    /// The answer did not hold everything: compare again.
    #[prost(bool, tag = "6")]
    pub(crate) more: bool,
    /// The groups whose digests differ, one bit each.
    #[prost(fixed64, tag = "7")]
    pub(crate) differing: u64,
    /// The digests of the event positions differ.
    #[prost(bool, tag = "8")]
    pub(crate) events_differ: bool,
}

/// What the other side wanted.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Push {
    #[prost(message, optional, tag = "1")]
    pub(crate) own: Option<MemberState>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) members: Vec<MemberState>,
}

/// All that a node knows of a member.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MemberState {
    /// Identity.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) ident: Bytes,
    #[prost(uint32, tag = "2")]
    pub(crate) incarnation: u32,
    /// 0 alive, 1 suspect, 2 failed, 3 left.
    #[prost(uint32, tag = "3")]
    pub(crate) state: u32,
    /// Entries of its record above the version that the other side holds.
    #[prost(message, optional, tag = "4")]
    pub(crate) record: Option<RecordDelta>,
    /// Monotonic time since it joined, as far as the sender knows.
    #[prost(uint64, tag = "5")]
    pub(crate) uptime_ms: u64,
    /// Monotonic time since the state was set, for dead members.
    #[prost(uint64, tag = "6")]
    pub(crate) state_age_ms: u64,
    /// Name hash of the member whose word the state was.
    #[prost(fixed64, tag = "7")]
    pub(crate) by: u64,
}

/// One member in a [`Compare`]: identity 16, incarnation 2, state 1, record version 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) ident: crate::ident::Ident,
    pub(crate) incarnation: u16,
    /// As in [`MemberState`].
    pub(crate) state: u8,
    pub(crate) record_version: u64,
}

impl Summary {
    /// Bytes of one summary.
    pub(crate) const BYTES: usize = 27;

    /// Appends its bytes.
    pub(crate) fn put(self, buf: &mut Vec<u8>) {
        self.ident.put(&mut *buf);
        buf.extend_from_slice(&self.incarnation.to_be_bytes());
        buf.push(self.state);
        buf.extend_from_slice(&self.record_version.to_be_bytes());
    }

    /// Takes one from exactly [`Summary::BYTES`] bytes.
    pub(crate) fn get(bytes: &[u8]) -> Option<Self> {
        let ident = crate::ident::Ident::get(bytes)?;
        let rest = bytes.get(16..Self::BYTES)?;
        let mut version = [0; 8];
        version.copy_from_slice(&rest[3..11]);
        Some(Self {
            ident,
            incarnation: u16::from_be_bytes([rest[0], rest[1]]),
            state: rest[2],
            record_version: u64::from_be_bytes(version),
        })
    }
}
