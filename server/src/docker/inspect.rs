//! From the engine's `inspect` to a [`Container`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::names::{ERROR_CHARS_MAX, cut};
use super::{Container, Health, Mount, Port};

/// The engine's own answer about one container.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// Full id, 64 hex digits.
    pub id: Arc<str>,
    /// All of it, byte for byte.
    pub json: Box<RawValue>,
}

impl Inspected {
    /// # Errors
    /// What is missing.
    pub(super) fn new(json: Box<RawValue>) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Only {
            id: String,
        }
        let only: Only = serde_json::from_str(json.get()).map_err(|error| error.to_string())?;
        Ok(Self {
            id: only.id.into(),
            json,
        })
    }
}

impl TryFrom<Inspected> for Container {
    type Error = String;

    fn try_from(inspected: Inspected) -> Result<Self, String> {
        let whole: Whole = serde_json::from_str(inspected.json.get()).map_err(|error| {
            // It quotes texts of the answer.
            let why = error.to_string();
            let (id, why) = (cut(&inspected.id, 64), cut(&why, ERROR_CHARS_MAX));
            format!("inspect of {id}: {why}")
        })?;
        Ok(whole.into_container(inspected))
    }
}

/// Null is what the engine writes for many an empty value.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Whole {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    image: String,
    #[serde(default, deserialize_with = "or_default")]
    created: String,
    state: Run,
    #[serde(default, deserialize_with = "or_default")]
    config: Settings,
    #[serde(default, deserialize_with = "or_default")]
    host_config: HostSettings,
    #[serde(default, deserialize_with = "or_default")]
    network_settings: Network,
    #[serde(default, deserialize_with = "or_default")]
    hosts_path: PathBuf,
    #[serde(default, deserialize_with = "or_default")]
    mounts: Vec<Mounted>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    status: String,
    #[serde(deserialize_with = "or_default")]
    pid: u32,
    exit_code: i64,
    #[serde(deserialize_with = "or_default")]
    started_at: String,
    #[serde(deserialize_with = "or_default")]
    health: Checked,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Checked {
    #[serde(deserialize_with = "or_default")]
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    #[serde(deserialize_with = "or_default")]
    image: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostSettings {
    #[serde(deserialize_with = "or_default")]
    network_mode: String,
    #[serde(deserialize_with = "or_default")]
    readonly_rootfs: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    #[serde(deserialize_with = "or_default")]
    ports: BTreeMap<String, Option<Vec<Published>>>,
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Published {
    #[serde(deserialize_with = "or_default")]
    host_ip: String,
    #[serde(deserialize_with = "or_default")]
    host_port: String,
}

/// A container's place in one network; also in the list of containers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    #[serde(rename = "IPAddress", deserialize_with = "or_default")]
    ipv4: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "or_default")]
    ipv6: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mounted {
    #[serde(rename = "Type", deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    source: PathBuf,
    #[serde(deserialize_with = "or_default")]
    destination: PathBuf,
    #[serde(rename = "RW", deserialize_with = "or_default")]
    writable: bool,
}

impl Endpoint {
    /// Its addresses, IPv4 first; none while it does not run.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let both = [&self.ipv4, &self.ipv6];
        both.iter().filter_map(|text| text.parse().ok()).collect()
    }
}

impl Whole {
    fn into_container(self, inspected: Inspected) -> Container {
        let run = self.state;
        let started_unix_ms = unix_ms(&run.started_at);
        let runs = matches!(run.status.as_str(), "running" | "paused" | "restarting");
        let exposed = self.config.exposed_ports.into_keys();
        let networks = self.network_settings.networks.into_iter();
        let address = |(name, endpoint): (String, Option<Endpoint>)| {
            (name, endpoint.unwrap_or_default().addresses())
        };
        Container {
            name: self.name.trim_start_matches('/').to_owned(),
            image: self.config.image,
            image_id: self.image,
            health: health(&run.health.status),
            labels: self.config.labels,
            ports: ports(exposed, self.network_settings.ports),
            networks: networks.map(address).collect(),
            network_mode: network_mode(self.host_config.network_mode),
            created_unix_ms: unix_ms(&self.created),
            started_unix_ms,
            exit_code: (started_unix_ms > 0 && !runs).then_some(run.exit_code),
            pid: run.pid,
            state: run.status,
            hosts_path: Some(self.hosts_path).filter(|path| !path.as_os_str().is_empty()),
            mounts: self.mounts.into_iter().map(Mount::from).collect(),
            read_only: self.host_config.readonly_rootfs,
            id: inspected.id,
            inspect: inspected.json,
        }
    }
}

impl From<Mounted> for Mount {
    fn from(mounted: Mounted) -> Self {
        Self {
            kind: mounted.kind,
            name: mounted.name,
            source: mounted.source,
            destination: mounted.destination,
            writable: mounted.writable,
        }
    }
}

fn health(word: &str) -> Health {
    match word {
        "starting" => Health::Starting,
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        // `none`, or no check at all.
        _ => Health::None,
    }
}

/// `default` is the bridge, as the engine shows it elsewhere.
pub(super) fn network_mode(mode: String) -> String {
    match mode.as_str() {
        "default" | "" => "bridge".to_owned(),
        _ => mode,
    }
}

/// Exposed ports and those that are published, which need not be exposed.
fn ports(
    exposed: impl Iterator<Item = String>,
    published: BTreeMap<String, Option<Vec<Published>>>,
) -> Vec<Port> {
    let mut all: BTreeMap<String, Option<Vec<Published>>> =
        exposed.map(|port| (port, None)).collect();
    all.extend(published);
    let mut ports: Vec<Port> = all
        .into_iter()
        .filter_map(|(port, bindings)| {
            let (container_port, protocol) = port_of(&port)?;
            let places = bindings.unwrap_or_default();
            let places: BTreeSet<_> = places.iter().filter_map(Published::place).collect();
            Some(Port {
                container_port,
                protocol,
                published: places.into_iter().collect(),
            })
        })
        .collect();
    ports.sort();
    ports
}

/// `80/tcp`; without a protocol it is TCP.
fn port_of(text: &str) -> Option<(u16, String)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((port.parse().ok()?, protocol.to_owned()))
}

impl Published {
    /// No address is all of them.
    fn place(&self) -> Option<(IpAddr, u16)> {
        let ip = match self.host_ip.as_str() {
            "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            text => text.parse().ok()?,
        };
        let port = self.host_port.parse().ok()?;
        (port > 0).then_some((ip, port))
    }
}

/// Year 1 is the engine's word for never.
fn unix_ms(text: &str) -> u64 {
    let time: Option<Timestamp> = text.parse().ok();
    time.and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
