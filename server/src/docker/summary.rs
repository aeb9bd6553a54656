//! One container in the engine's list, to see whether the view still agrees.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::inspect::{Endpoint, network_mode, or_default};
use super::{Container, Health};

/// One entry of the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    /// Full id.
    pub(super) id: String,
    #[serde(default, deserialize_with = "or_default")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    state: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    host_config: HostSettings,
    #[serde(default, deserialize_with = "or_default")]
    network_settings: Networks,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostSettings {
    #[serde(deserialize_with = "or_default")]
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Networks {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<Endpoint>>,
}

impl Summary {
    /// Whether the list says what `container` says, as far as the list says it. A restart
    /// that left everything else as it was is not seen.
    pub(super) fn agrees(&self, container: &Container) -> bool {
        // Links add names such as `/other/alias`.
        let named = |name: &String| name.strip_prefix('/') == Some(container.name.as_str());
        let mode = network_mode(self.host_config.network_mode.clone());
        self.names.iter().any(named)
            && self.state == container.state
            && self
                .health()
                .is_none_or(|health| health == container.health)
            && mode == container.network_mode
            && self.networks_agree(container)
    }

    fn networks_agree(&self, container: &Container) -> bool {
        let listed = &self.network_settings.networks;
        listed.len() == container.networks.len()
            && listed
                .iter()
                .zip(&container.networks)
                .all(|(listed, kept)| {
                    let addresses = listed.1.as_ref().map(Endpoint::addresses);
                    listed.0 == kept.0 && addresses.unwrap_or_default() == *kept.1
                })
    }

    /// What its words say of health: `Up 3 minutes (healthy)`; only of what runs.
    fn health(&self) -> Option<Health> {
        if self.state != "running" {
            return None;
        }
        Some(match self.status.rsplit_once('(') {
            Some((_, "healthy)")) => Health::Healthy,
            Some((_, "unhealthy)")) => Health::Unhealthy,
            Some((_, "health: starting)")) => Health::Starting,
            Some(_) | None => Health::None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspect::Inspected;
    use super::*;

    fn container(state: &str, health: &str, name: &str, ip: &str) -> Container {
        let json = format!(
            r#"{{"Id":"aa","Name":"/{name}","State":{{"Status":"{state}","Health":
            {{"Status":"{health}"}}}},"HostConfig":{{"NetworkMode":"default"}},
            "NetworkSettings":{{"Networks":{{"bridge":{{"IPAddress":"{ip}"}}}}}}}}"#
        );
        let raw = serde_json::value::RawValue::from_string(json).unwrap();
        Inspected::new(raw).unwrap().try_into().unwrap()
    }

    #[test]
    fn what_the_list_shows_of_a_container() {
        let listed = r#"{"Id":"aa","Names":["/other/x","/web"],"State":"running",
            "Status":"Up 3 minutes (healthy)","HostConfig":{"NetworkMode":"bridge"},
            "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}}"#;
        let listed: Summary = serde_json::from_str(listed).unwrap();
        assert!(listed.agrees(&container("running", "healthy", "web", "172.17.0.2")));
        assert!(!listed.agrees(&container("running", "unhealthy", "web", "172.17.0.2")));
        assert!(!listed.agrees(&container("paused", "healthy", "web", "172.17.0.2")));
        assert!(!listed.agrees(&container("running", "healthy", "x", "172.17.0.2")));
        assert!(!listed.agrees(&container("running", "healthy", "web", "172.17.0.3")));
        let bare: Summary = serde_json::from_str(r#"{"Id":"aa","Names":null}"#).unwrap();
        assert!(!bare.agrees(&container("exited", "", "web", "")));
    }
}
