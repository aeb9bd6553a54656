//! serfnode's own configuration, in legacy mode: its variables and its `serfnode.yml`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::file::read_text;
use super::layers::Layers;
use super::machine::Machine;
use super::problem::{Problem, Source};
use super::{schema, units, values};
use crate::children::yml::{self, YML_BYTES_MAX, Yml};
use crate::children::{Wanted, environment};

/// Keys of a serfnode.yml and the settings that they are.
const KEYS: [(&str, &str); 6] = [
    ("role", "role"),
    ("peer", "join"),
    ("serf_ip", "advertise"),
    ("serf_port", "bind"),
    ("service_ip", "service-ip"),
    ("service_port", "service-port"),
];

/// Reads both into the layers: what `MUSTER_*` and flags say is stronger, what the
/// configuration file says is weaker. Outside of legacy mode nothing is read.
pub(super) fn read(
    layers: &mut Layers,
    machine: &dyn Machine,
    variables: &BTreeMap<String, String>,
) -> Wanted {
    let path = layers.optional("serfnode-yml", values::path);
    let range = Duration::ZERO..=Duration::from_secs(60);
    let stop = |text: &str| units::within(units::duration(text)?, range.clone());
    let stop_timeout = layers.value("children-stop-timeout", stop);
    if path.is_none() && layers.entry("legacy-root").is_none() {
        return Wanted::default();
    }
    let root = layers.optional("legacy-root", values::path);
    let root = root.and_then(|root| std::path::absolute(root).ok());
    let found = environment::read(variables, |path| machine.is_socket(path));
    for given in found.settings {
        let source = Source::SerfnodeVariable(given.variable);
        give(layers, given.setting, source, given.value);
    }
    for warning in found.warnings {
        layers.warn(warning);
    }
    for (variable, why) in found.mistakes {
        layers.problem(Problem::at(format!("environment {variable}"), why));
    }
    let asked = path.is_some() || found.run.is_some();
    let mut children = path
        .map(|path| of_file(layers, path).children)
        .unwrap_or_default();
    for child in &mut children {
        child.share(&found.shared);
    }
    Wanted {
        asked,
        children,
        run: found.run,
        root,
        stop_timeout,
    }
}

fn of_file(layers: &mut Layers, path: PathBuf) -> Yml {
    let place = format!("file {}", path.display());
    let text = match read_text(&path, YML_BYTES_MAX) {
        Ok(text) => text,
        Err(why) => {
            layers.problem(Problem::at(place, why));
            return Yml::default();
        }
    };
    let yml = match yml::parse(&text) {
        Ok(yml) => yml,
        Err(mistakes) => {
            for mistake in mistakes {
                layers.problem(Problem::at(&place, mistake.to_string()));
            }
            return Yml::default();
        }
    };
    for given in &yml.settings {
        let Some((_, setting)) = KEYS.iter().find(|(key, _)| *key == given.key) else {
            continue;
        };
        let source = Source::SerfnodeYml(path.clone(), given.key);
        let value = match given.key {
            "serf_port" => format!("0.0.0.0:{}", given.value),
            _ => given.value.clone(),
        };
        give(layers, setting, source, value);
    }
    yml
}

fn give(layers: &mut Layers, setting: &str, source: Source, value: String) {
    if let Some(setting) = schema::find(setting) {
        layers.put(setting, source, vec![value]);
    }
}
