//! What a node tells the cluster of one of its containers, and of its engine, and how
//! that is written into its record.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

pub use super::files::{ChildFiles, FILES_PROBLEM_BYTES_MAX, Files};

/// Before the first [`ID_DIGITS`] digits of a container's id: the key of its summary.
pub const KEY_PREFIX: &str = "container/";

/// Key of what a node says of its engine.
pub const ENGINE_KEY: &str = "docker/engine";

/// Digits of a container's id in its key: no node has two that begin alike.
pub const ID_DIGITS: usize = 24;

/// Bytes of a full id.
const ID_BYTES: usize = 32;

/// What a HEALTHCHECK says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Health {
    /// There is no check.
    #[default]
    None,
    /// Not checked often enough yet.
    Starting,
    /// It passes.
    Healthy,
    /// It failed too often.
    Unhealthy,
}

/// One port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Address of the host; empty: not published.
    pub host_ip: String,
    /// Port of the host; 0: not published.
    pub host_port: u16,
}

/// One container, as every member knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Full id, 64 hex digits.
    pub id: Arc<str>,
    /// Name without the leading slash.
    pub name: String,
    /// Image as it was asked for.
    pub image: String,
    /// Id of the image, `sha256:` and 64 hex digits.
    pub image_id: String,
    /// The engine's word: created, running, paused, restarting, removing, exited, dead.
    pub state: String,
    /// What its HEALTHCHECK says.
    pub health: Health,
    /// Labels, as far as the owner tells them.
    pub labels: BTreeMap<String, String>,
    /// Labels that the owner does not tell for want of room.
    pub labels_left_out: u32,
    /// Exposed ports.
    pub ports: Vec<PortMapping>,
    /// First address in each network.
    pub ip_by_network: BTreeMap<String, String>,
    /// When it was created, unix milliseconds.
    pub created_unix_ms: u64,
    /// When it was last started, unix milliseconds; 0: never.
    pub started_unix_ms: u64,
    /// Of the last run, if that is over.
    pub exit_code: Option<i64>,
    /// Roles that it is to serve, running or not.
    pub roles: Vec<String>,
    /// What became of the files that it gets as a child of its node.
    pub files: Files,
}

/// How a node's engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineState {
    /// The node does not look for one, or has not said.
    #[default]
    Off,
    /// None was found yet.
    Unknown,
    /// What is told of its containers is right.
    Live,
    /// What is told of its containers is what was right then.
    Away,
}

/// What a node says of its engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineSummary {
    /// How it is.
    pub state: EngineState,
    /// Since when it is away, unix milliseconds; 0 otherwise.
    pub away_since_unix_ms: u64,
    /// Its version, if it is known.
    pub version: String,
    /// Containers that the node does not tell of for want of room.
    pub left_out: u32,
}

/// The key of a container's summary.
#[must_use]
pub fn key(id: &str) -> String {
    let digits = id.get(..ID_DIGITS).unwrap_or(id);
    format!("{KEY_PREFIX}{digits}")
}

impl Summary {
    /// As bytes for the record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let wire = Wire {
            id: unhex(&self.id),
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: unhex(self.image_id.strip_prefix("sha256:").unwrap_or_default()),
            state: self.state.clone(),
            health: self.health as i32,
            labels: self.labels.clone(),
            labels_left_out: self.labels_left_out,
            ports: self.ports.iter().map(WirePort::of).collect(),
            ip_by_network: self.ip_by_network.clone(),
            created_unix_ms: self.created_unix_ms,
            started_unix_ms: self.started_unix_ms,
            exit_code: self.exit_code,
            roles: self.roles.clone(),
            files: self.files.number(),
            files_problem: self.files.problem().to_owned(),
        };
        Bytes::from(wire.encode_to_vec())
    }

    /// Of a record's bytes; `None` if they are no summary.
    #[must_use]
    pub fn decode(bytes: Bytes) -> Option<Self> {
        let wire = Wire::decode(bytes).ok()?;
        if wire.id.len() != ID_BYTES {
            return None;
        }
        let texts = [&wire.name, &wire.image, &wire.state];
        if texts.iter().any(|text| text.contains(char::is_control)) {
            return None;
        }
        let image_id = match wire.image_id.len() {
            ID_BYTES => format!("sha256:{}", hex(&wire.image_id)),
            _ => String::new(),
        };
        let ports = wire.ports.into_iter().map(WirePort::read);
        Some(Self {
            id: Arc::from(hex(&wire.id)),
            name: wire.name,
            image: wire.image,
            image_id,
            state: wire.state,
            health: match wire.health {
                1 => Health::Starting,
                2 => Health::Healthy,
                3 => Health::Unhealthy,
                _ => Health::None,
            },
            labels: wire.labels,
            labels_left_out: wire.labels_left_out,
            ports: ports.collect::<Option<_>>()?,
            ip_by_network: wire.ip_by_network,
            created_unix_ms: wire.created_unix_ms,
            started_unix_ms: wire.started_unix_ms,
            exit_code: wire.exit_code,
            roles: wire.roles,
            files: Files::read(wire.files, &wire.files_problem),
        })
    }
}

impl EngineSummary {
    /// As bytes for the record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let wire = WireEngine {
            state: self.state as i32,
            away_since_unix_ms: self.away_since_unix_ms,
            version: self.version.clone(),
            left_out: self.left_out,
        };
        Bytes::from(wire.encode_to_vec())
    }

    /// Of a record's bytes; `None` if they are none.
    #[must_use]
    pub fn decode(bytes: Bytes) -> Option<Self> {
        let wire = WireEngine::decode(bytes).ok()?;
        Some(Self {
            state: match wire.state {
                1 => EngineState::Unknown,
                2 => EngineState::Live,
                3 => EngineState::Away,
                _ => EngineState::Off,
            },
            away_since_unix_ms: wire.away_since_unix_ms,
            version: wire.version,
            left_out: wire.left_out,
        })
    }
}

/// The summary on the wire. Field numbers are for ever.
#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    image: String,
    #[prost(bytes = "bytes", tag = "4")]
    image_id: Bytes,
    #[prost(string, tag = "5")]
    state: String,
    #[prost(int32, tag = "6")]
    health: i32,
    #[prost(btree_map = "string, string", tag = "7")]
    labels: BTreeMap<String, String>,
    #[prost(uint32, tag = "8")]
    labels_left_out: u32,
    #[prost(message, repeated, tag = "9")]
    ports: Vec<WirePort>,
    #[prost(btree_map = "string, string", tag = "10")]
    ip_by_network: BTreeMap<String, String>,
    #[prost(uint64, tag = "11")]
    created_unix_ms: u64,
    #[prost(uint64, tag = "12")]
    started_unix_ms: u64,
    #[prost(sint64, optional, tag = "13")]
    exit_code: Option<i64>,
    #[prost(string, repeated, tag = "14")]
    roles: Vec<String>,
    #[prost(int32, tag = "15")]
    files: i32,
    #[prost(string, tag = "16")]
    files_problem: String,
}

#[derive(Clone, PartialEq, Message)]
struct WirePort {
    #[prost(uint32, tag = "1")]
    container_port: u32,
    #[prost(string, tag = "2")]
    protocol: String,
    #[prost(string, tag = "3")]
    host_ip: String,
    #[prost(uint32, tag = "4")]
    host_port: u32,
}

#[derive(Clone, PartialEq, Message)]
struct WireEngine {
    #[prost(int32, tag = "1")]
    state: i32,
    #[prost(uint64, tag = "2")]
    away_since_unix_ms: u64,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(uint32, tag = "4")]
    left_out: u32,
}

impl WirePort {
    fn of(port: &PortMapping) -> Self {
        Self {
            container_port: port.container_port.into(),
            protocol: port.protocol.clone(),
            host_ip: port.host_ip.clone(),
            host_port: port.host_port.into(),
        }
    }

    fn read(self) -> Option<PortMapping> {
        Some(PortMapping {
            container_port: u16::try_from(self.container_port).ok()?,
            protocol: self.protocol,
            host_ip: self.host_ip,
            host_port: u16::try_from(self.host_port).ok()?,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _always: Result<(), std::fmt::Error> = write!(text, "{byte:02x}");
    }
    text
}

/// Hex digits as bytes; empty if they are none.
fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes();
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let pairs = digits.chunks(2);
    let bytes = pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?));
    bytes
        .collect::<Option<Vec<u8>>>()
        .map_or_else(Bytes::new, Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_survive_the_record() {
        let summary = Summary {
            id: Arc::from("0f".repeat(32)),
            name: "web".to_owned(),
            image: "nginx:1".to_owned(),
            image_id: format!("sha256:{}", "ab".repeat(32)),
            state: "exited".to_owned(),
            health: Health::Unhealthy,
            labels: BTreeMap::from([("muster.role".to_owned(), "web:80".to_owned())]),
            labels_left_out: 2,
            ports: vec![PortMapping {
                container_port: 80,
                protocol: "tcp".to_owned(),
                host_ip: "0.0.0.0".to_owned(),
                host_port: 49_153,
            }],
            ip_by_network: BTreeMap::from([("bridge".to_owned(), "172.17.0.2".to_owned())]),
            created_unix_ms: 1,
            started_unix_ms: 2,
            exit_code: Some(-1),
            roles: vec!["web".to_owned()],
            files: Files::undeliverable("/me.json: it is locked"),
        };
        assert_eq!(Summary::decode(summary.encode()), Some(summary.clone()));
        assert_eq!(key(&summary.id), format!("container/{}", "0f".repeat(12)));
        let bare = Summary {
            id: Arc::clone(&summary.id),
            ..Summary::default()
        };
        assert!(bare.encode().len() < 40);
        assert_eq!(Summary::decode(bare.encode()), Some(bare));
    }

    #[test]
    fn what_is_no_summary_is_refused() {
        let no_id = Summary::default().encode();
        assert_eq!(Summary::decode(no_id), None);
        assert_eq!(Summary::decode(Bytes::from_static(b"\xff\xff")), None);
        let escape = Summary {
            id: Arc::from("0f".repeat(32)),
            name: "a\x1b[2J".to_owned(),
            ..Summary::default()
        };
        assert_eq!(Summary::decode(escape.encode()), None, "terminals show it");
        let engine = EngineSummary {
            state: EngineState::Away,
            away_since_unix_ms: 7,
            version: "20.10".to_owned(),
            left_out: 3,
        };
        assert_eq!(EngineSummary::decode(engine.encode()), Some(engine));
        assert_eq!(EngineSummary::decode(Bytes::from_static(b"\xff")), None);
    }
}
