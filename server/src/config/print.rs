//! `--print-config` and `--check-config`.

use std::fmt::Write as _;

use muster_engine::Stage;

use super::layers::Layers;
use super::problem::Source;
use super::schema::{self, Default, Given, Setting, Shape};
use super::{Config, Security};

/// Effective settings as a TOML file with the source of each as a comment.
/// Secrets are left out.
pub(super) fn effective(config: &Config, layers: &Layers) -> String {
    let mut text = String::new();
    for section in schema::SECTIONS {
        let lines: Vec<_> = section
            .settings
            .iter()
            .filter(|setting| !matches!(setting.given, Given::FlagOnly))
            .map(|setting| line(setting, config, layers))
            .collect();
        if lines.is_empty() {
            continue;
        }
        add(&mut text, &format!("# {}\n", section.title));
        for line in lines {
            add(&mut text, &line);
        }
        text.push('\n');
    }
    for warning in &config.warnings {
        add(&mut text, &format!("# warning: {warning}\n"));
    }
    text
}

/// One line that says that all is well, and the warnings.
pub(super) fn checked(config: &Config) -> String {
    let mut text = format!(
        "the configuration is fine: {} of cluster {} at {}, {}\n",
        config.node.name,
        config.node.cluster,
        config.peers.advertise,
        match (&config.peers.security, config.peers.encryption) {
            (Security::Plaintext, _) | (Security::Sealed(_), Some(Stage::Receive)) => {
                "NOT ENCRYPTED"
            }
            (Security::Sealed(_), Some(Stage::Send)) => "encrypted, ACCEPTS PLAINTEXT",
            (Security::Sealed(_), Some(Stage::On) | None) => "encrypted",
        }
    );
    for warning in &config.warnings {
        add(&mut text, &format!("warning: {warning}\n"));
    }
    text
}

fn line(setting: &Setting, config: &Config, layers: &Layers) -> String {
    let entry = layers.entry(setting.name);
    let source = entry.map_or(Source::Default, |entry| entry.source.clone());
    if setting.is_secret() {
        let state = entry.map_or("not given".to_owned(), |_| format!("redacted, {source}"));
        return format!("# {} ({state})\n", setting.name);
    }
    let values = held(setting, config, layers);
    match values {
        Some(values) => format!(
            "{} = {} # {source}\n",
            setting.name,
            toml_value(setting, &values)
        ),
        None => format!("# {} is not set\n", setting.name),
    }
}

/// The values of a setting that hold, if there are any.
pub(super) fn held(setting: &Setting, config: &Config, layers: &Layers) -> Option<Vec<String>> {
    match (layers.entry(setting.name), setting.default) {
        (Some(entry), _) => Some(entry.values.clone()),
        (None, Default::Text(text)) if setting.name != "cluster" => Some(vec![text.to_owned()]),
        (None, _) => derived(setting.name, config).map(|value| vec![value]),
    }
}

/// Values that were worked out.
fn derived(name: &str, config: &Config) -> Option<String> {
    match name {
        "name" => Some(config.node.name.clone()),
        "cluster" => Some(config.node.cluster.clone()),
        "advertise" => Some(config.peers.advertise.to_string()),
        "socket" => Some(config.api.socket.display().to_string()),
        "service-ip" => Some(config.peers.advertise.ip().to_string()),
        _ => None,
    }
}

fn toml_value(setting: &Setting, values: &[String]) -> String {
    let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
    match setting.shape {
        Shape::One => values.first().map(quoted).unwrap_or_default(),
        Shape::Switch => values.first().cloned().unwrap_or_default(),
        Shape::List | Shape::Pairs => {
            let items: Vec<_> = values.iter().map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn add(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _infallible = text.write_str(line);
}
