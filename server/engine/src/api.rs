//! What goes into an engine and what comes out of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::coordinate::Coordinate;
use crate::crypto::{KeyId, Keyring};
use crate::event::{Event, Gap};
use crate::ident::BOOT_MAX;
use crate::member::{Member, MemberKey, Role};
use crate::record::{Published, ROLES_BYTES_MAX, VERSION_BYTES_MAX};
use crate::wire::PROTOCOL;

/// Everything that an engine must be told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this node, in the grammar of [`crate::name::check_name`].
    pub name: String,
    /// Name of the cluster: bound into every sealed byte.
    pub cluster: String,
    /// Address that peers use.
    pub advertise: SocketAddr,
    /// Boot number: above every earlier boot of this name that the caller knows of.
    pub boot: u64,
    /// Tags of this node.
    pub tags: BTreeMap<String, String>,
    /// Roles of this node; `since_unix_ms` is set by the engine.
    pub roles: Vec<Role>,
    /// Version of the daemon.
    pub version: String,
    /// Keys; `None` talks without encryption.
    pub keyring: Option<Keyring>,
    /// Bounds.
    pub limits: Limits,
    /// How long left members are shown.
    pub reap_left: Duration,
    /// How long failed members are shown.
    pub reap_failed: Duration,
    /// Whether this node finds its network coordinate and tells it.
    pub coordinates: bool,
    /// Longest pause between tries to join while alone; they begin with 250 ms.
    pub retry_interval: Duration,
}

impl Config {
    /// Checks what an engine takes for granted.
    ///
    /// # Errors
    /// The first name, role or tag that cannot be.
    pub fn check(&self) -> Result<(), EngineError> {
        crate::name::check_name(&self.name)?;
        crate::name::check_name(&self.cluster)?;
        if self.boot > BOOT_MAX {
            return Err(EngineError::BootTooHigh(self.boot));
        }
        if self.version.len() > VERSION_BYTES_MAX {
            return Err(EngineError::RecordTooLarge {
                what: "the version",
                bytes: self.version.len(),
                limit: VERSION_BYTES_MAX,
            });
        }
        self.roles
            .iter()
            .try_for_each(|role| crate::name::check_role(&role.name))?;
        let (bytes, limit) = (
            crate::record::encode_roles(&self.roles).len(),
            ROLES_BYTES_MAX,
        );
        if bytes > limit {
            return Err(EngineError::RecordTooLarge {
                what: "roles",
                bytes,
                limit,
            });
        }
        crate::own::check_tags(&self.tags)
    }
}

/// Bounds of one engine. What happens at each bound is in `docs/limits.md`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest event payload, bytes.
    pub event_payload_bytes: usize,
    /// Events kept per origin.
    pub events_per_origin: usize,
    /// Event bytes kept per origin.
    pub event_bytes_per_origin: usize,
    /// Event bytes kept in all.
    pub event_bytes_total: usize,
    /// Largest datagram, bytes.
    pub datagram_bytes: usize,
    /// How many times the usual patience a suspected member is given; 1 is usual.
    pub suspicion_patience: u32,
    /// Lowest and highest gossip protocol that this node speaks. What this build
    /// understands, unless a test stands in for another build.
    pub protocol: (u32, u32),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_payload_bytes: 64 << 10,
            events_per_origin: 8_192,
            event_bytes_per_origin: 32 << 20,
            event_bytes_total: 64 << 20,
            datagram_bytes: 1_400,
            suspicion_patience: 1,
            protocol: PROTOCOL,
        }
    }
}

/// Largest body of one exchange (request or answer), bytes. Longer answers come
/// in several exchanges.
pub const EXCHANGE_BYTES_MAX: usize = 4 << 20;

/// Number of one exchange, chosen by whoever made it: the engine for
/// [`Output::Request`], the driver for [`Input::Request`]. The two never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// Which pipe an exchange travels on. Each kind is a pipe of its own, so that a
/// long pull never delays a state exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExchangeKind {
    /// State exchange: members and records.
    Sync,
    /// Ranges of events.
    Pull,
    /// Who is there: the first words of a stream that then stands idle. Never in an
    /// [`Output::Request`]: [`Output::Watch`] is what asks.
    Watch,
}

/// Why an exchange brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The kernel or the network said no.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The handshake failed: wrong key, other cluster, no common version.
    #[error("handshake failed: {0}")]
    Handshake(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The pipe broke.
    #[error("connection lost: {0}")]
    Broken(String),
    /// Too many exchanges under way on this node.
    #[error("too many exchanges under way")]
    Busy,
}

/// Number of one watch stream, or of one try to open it; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub u64);

/// What happens to a watch stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// The peer answered the hello; the stream is held from now on.
    Opened(Bytes),
    /// There is no stream. The last event of its number.
    Failed(WatchFailure),
    /// The peer said goodbye, or this side had to for its keys. The last event.
    Closed,
    /// It ended without a goodbye: FIN or RST. The last event.
    Lost,
}

/// Why a watch stream did not open: what the network and the peer's kernel said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchFailure {
    /// The peer's kernel refused the connection: nobody listens there.
    Refused,
    /// The network says that there is no such host.
    Unreachable,
    /// No answer of any kernel in time.
    Silent,
    /// The connection was accepted, but nobody shook hands in time: a process that
    /// stands still, mostly.
    Unanswered,
    /// The connection was accepted, then broke.
    Broken,
    /// Somebody is there, but wants no stream: wrong key, too many pipes.
    Rejected,
    /// This host could not even try: no route, its interface is down, no descriptors.
    Local,
}

/// Anybody can send datagrams under unknown keys: they are told this rarely.
pub const UNKNOWN_KEY_NOTE_EVERY: Duration = Duration::from_secs(1);

/// What happens to an engine.
#[derive(Debug, Clone)]
pub enum Input {
    /// A datagram arrived.
    Datagram {
        /// Sender, as the kernel said.
        from: SocketAddr,
        /// All of it, sealed.
        bytes: Bytes,
    },
    /// What a peer's [`Output::Carry`] brought. Who sent it, its seal tells.
    Carried {
        /// All of it, sealed.
        bytes: Bytes,
    },
    /// A peer asks something on a pipe. Answered by one [`Output::Respond`].
    Request {
        /// Number of the exchange.
        id: ExchangeId,
        /// Peer of the pipe.
        from: SocketAddr,
        /// Which pipe.
        kind: ExchangeKind,
        /// Opened body.
        body: Bytes,
    },
    /// The answer to an [`Output::Request`], or why there is none.
    Response {
        /// Number of the exchange.
        id: ExchangeId,
        /// Opened body.
        result: Result<Bytes, ExchangeError>,
    },
    /// Something happened to an [`Output::Watch`].
    Watch {
        /// Number of the stream.
        id: WatchId,
        /// What.
        event: WatchEvent,
    },
    /// The time of [`crate::Engine::next_deadline`] has come.
    Tick,
    /// What the seeds resolve to now: the answer to [`Output::ResolveSeeds`].
    Seeds {
        /// All addresses, own ones included: the engine tells itself apart.
        addrs: Vec<SocketAddr>,
    },
}

/// What an engine wants done, in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send a datagram. It may be lost.
    Transmit {
        /// Where to.
        to: SocketAddr,
        /// All of it, sealed.
        bytes: Bytes,
    },
    /// As [`Output::Transmit`], but over TCP: UDP does not get there. It may be lost,
    /// and nothing is to wait for it.
    Carry {
        /// Where to.
        to: SocketAddr,
        /// All of it, sealed.
        bytes: Bytes,
    },
    /// Ask a peer something on a pipe; bring back one [`Input::Response`].
    Request {
        /// Number of the exchange.
        id: ExchangeId,
        /// Whom.
        to: SocketAddr,
        /// Which pipe.
        kind: ExchangeKind,
        /// Body, to be sealed by the pipe.
        body: Bytes,
        /// Give up after this long, connection included.
        timeout: Duration,
    },
    /// Answer an [`Input::Request`].
    Respond {
        /// Number of the exchange.
        id: ExchangeId,
        /// Body, or `None` to close the pipe: the request made no sense.
        body: Option<Bytes>,
    },
    /// Open a stream to a peer, send it `hello`, and hold it: it carries nothing more,
    /// its end is what matters. Brings [`Input::Watch`].
    Watch {
        /// Number of the stream.
        id: WatchId,
        /// Whom.
        to: SocketAddr,
        /// First words, answered by the peer's engine as
        /// [`ExchangeKind::Watch`].
        hello: Bytes,
        /// Give up after this long, connection included.
        within: Duration,
    },
    /// Close a watch stream with a goodbye, or stop opening it. Nothing more comes
    /// of its number.
    Unwatch {
        /// Number of the stream.
        id: WatchId,
    },
    /// Resolve the configured seeds again and hand in [`Input::Seeds`].
    ResolveSeeds,
    /// A member appeared or changed.
    MemberUpdated(Arc<Member>),
    /// A member was reaped, and what it published with it.
    MemberRemoved(MemberKey),
    /// What a member publishes changed.
    Published {
        /// Whose.
        member: MemberKey,
        /// What.
        published: Published,
    },
    /// An event for the consumers of this node, in order per origin.
    Event(Arc<Event>),
    /// A query, when it is first stored here: at once and not in order, once. Those
    /// from before this node's time are never handed over. The origin gets its own.
    Query(Arc<Event>),
    /// The position of an origin moved over a query, or over a kind of a later
    /// version: nothing for consumers. In order with its events.
    EventPassed {
        /// Whose.
        origin: crate::event::Origin,
        /// The sequence that was passed.
        sequence: u64,
    },
    /// Events that will never come.
    Gap(Gap),
    /// This node joined the stream of an origin at a position: what came up to
    /// `sequence` (inclusive) was before its time. Comes before the first event of
    /// that origin unless that is number 1.
    EventBase {
        /// Whose events.
        origin: crate::event::Origin,
        /// Last sequence before this node's time.
        sequence: u64,
    },
    /// Own events up to `sequence` are held by two other alive members, or by all
    /// there are. Grows.
    Replicated {
        /// Last replicated sequence of this boot.
        sequence: u64,
    },
    /// A member answered a probe and said where it is; this node moved.
    Coordinate {
        /// Where this node is now.
        me: Coordinate,
        /// Which member.
        member: MemberKey,
        /// Where it is; `None` if that is no longer known.
        place: Option<Coordinate>,
    },
    /// There is room for events again after [`crate::EventError::Full`].
    EventRoom,
    /// How one address of a join call went.
    JoinResult {
        /// The number given to [`crate::Engine::join`].
        attempt: u64,
        /// Address tried.
        addr: SocketAddr,
        /// Name of the different member that answered, or why none did.
        result: Result<Arc<str>, String>,
    },
    /// A leave was spread: the node may stop.
    LeaveDone,
    /// Something that the log should tell.
    Note(Note),
}

/// Things worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Another live node claims this node's name and keeps it.
    ConflictLost {
        /// Where the other node is.
        other: SocketAddr,
    },
    /// Another live node claims this node's name and loses it.
    ConflictWon {
        /// Where the other node is.
        other: SocketAddr,
    },
    /// This node was told of a higher boot of its own name, from an earlier life,
    /// and raised its own above it.
    BootRaised {
        /// The new boot.
        boot: u64,
    },
    /// A member let the event window fill and no longer counts until it catches up.
    LaggardLetGo {
        /// Its name.
        member: Arc<str>,
        /// How far behind it was, in events.
        behind: u64,
    },
    /// The wall clock stands so far off that seniority was not taken from it.
    ClockDistrusted {
        /// What the clock said, milliseconds.
        said_unix_ms: u64,
        /// What was used instead, milliseconds.
        used_unix_ms: u64,
    },
    /// Joined the cluster through a member.
    Joined {
        /// Its name.
        through: Arc<str>,
    },
    /// No other member is left, or none was ever reached.
    Alone,
    /// A datagram came under a key that this node does not hold: the cluster's keys
    /// may have changed while it was away. At most one in [`UNKNOWN_KEY_NOTE_EVERY`].
    UnknownKey {
        /// The key.
        key: KeyId,
    },
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No member of that name or alias.
    #[error("no member is called {0}")]
    UnknownMember(String),
    /// The member is alive: it would come back at once.
    #[error("{0} is {1}: only failed members can be forced out")]
    MemberLive(String, crate::member::Status),
    /// This node leaves or has left.
    #[error("this node is leaving or has left the cluster")]
    Leaving,
    /// Tags or roles larger than a record may be.
    #[error("{what} take {bytes} bytes, at most {limit} are allowed")]
    RecordTooLarge {
        /// What is too large.
        what: &'static str,
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A tag that cannot be.
    #[error("bad tag {key:?}: {why}")]
    BadTag {
        /// Its key.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A boot number that the wire has no room for.
    #[error("boot {0} does not fit 48 bits: does the clock run?")]
    BootTooHigh(u64),
    /// A name that cannot be.
    #[error("bad name: {0}")]
    BadName(#[from] crate::name::NameError),
    /// What should be the full id of a container is none.
    #[error("{0:?} is no id of a container: 64 hex digits")]
    BadContainer(String),
    /// A key that nothing can be published under.
    #[error("bad key {0:?}: ASCII with a slash, at most 64 bytes")]
    BadKey(String),
    /// More is published than a record may hold.
    #[error("{0} published keys, at most {1} are allowed")]
    TooManyKeys(usize, usize),
}
