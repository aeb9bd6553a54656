//! A container, as the engine's `inspect` shows it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::value::RawValue;

pub use crate::hub::containers::summary::Health;

/// One container of this node's engine.
#[derive(Debug, Clone)]
pub struct Container {
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
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Exposed ports, by port and protocol.
    pub ports: Vec<Port>,
    /// Addresses by network, IPv4 first. Empty for one that shares the network of another.
    pub networks: BTreeMap<String, Vec<IpAddr>>,
    /// `bridge`, `host`, `none`, `container:<id>` or the name of a network.
    pub network_mode: String,
    /// When it was created, unix milliseconds.
    pub created_unix_ms: u64,
    /// When it was last started, unix milliseconds; 0: never.
    pub started_unix_ms: u64,
    /// Of the last run, if that is over.
    pub exit_code: Option<i64>,
    /// Process id on the host; 0 while it does not run.
    pub pid: u32,
    /// Its `/etc/hosts`, on the host.
    pub hosts_path: Option<PathBuf>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// Its root file system is read-only.
    pub read_only: bool,
    /// The engine's own words, byte for byte.
    pub inspect: Box<RawValue>,
}

impl Container {
    /// Whether its processes run; paused ones do not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

/// One exposed port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Where it is published on the host, IPv4 first; empty: nowhere.
    pub published: Vec<(IpAddr, u16)>,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The engine's word: bind, volume, tmpfs, ...
    pub kind: String,
    /// Name of the volume; empty otherwise.
    pub name: String,
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub destination: PathBuf,
    /// Whether the container may write.
    pub writable: bool,
}
