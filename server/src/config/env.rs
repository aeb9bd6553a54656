//! The environment: `MUSTER_*`, and what Kubernetes puts among it.

use std::collections::BTreeMap;

use super::layers::Layers;
use super::problem::Source;
use super::schema::{self, Setting, Shape};

/// Reads the environment into the layers.
pub(super) fn read(variables: &BTreeMap<String, String>, layers: &mut Layers) {
    for (variable, value) in variables.range("MUSTER_".to_owned()..) {
        if !variable.starts_with("MUSTER_") {
            break;
        }
        let Some(setting) = find(variable) else {
            if !is_injected(variable) {
                layers.warn(format!(
                    "environment variable {variable} is unknown and ignored"
                ));
            }
            continue;
        };
        if is_service_link(value) {
            layers.warn(format!(
                "environment variable {variable} is ignored: {value:?} is a service link, as \
                 Docker and Kubernetes set them"
            ));
        } else if !value.is_empty() {
            layers.put(setting, Source::Environment, split(setting, value));
        }
    }
}

/// Whether Kubernetes sets a variable of this name for a Service whose name
/// begins with `muster`: `<SERVICE>_SERVICE_HOST`, `<SERVICE>_SERVICE_PORT[_<NAME>]`,
/// `<SERVICE>_PORT` and `<SERVICE>_PORT_<PORT>_<PROTOCOL>[_PROTO|_PORT|_ADDR]`.
#[must_use]
pub(super) fn is_injected(variable: &str) -> bool {
    let link = |rest: &str| {
        let mut parts = rest.split('_');
        let port = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
        let protocol = parts
            .next()
            .is_some_and(|name| matches!(name, "TCP" | "UDP" | "SCTP"));
        let field = parts
            .next()
            .is_none_or(|name| matches!(name, "PROTO" | "PORT" | "ADDR"));
        port && protocol && field && parts.next().is_none()
    };
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_PORT")
        || variable.contains("_SERVICE_PORT_")
        || variable
            .match_indices("_PORT_")
            .any(|(at, found)| link(&variable[at + found.len()..]))
}

fn find(variable: &str) -> Option<&'static Setting> {
    schema::settings().find(|setting| setting.env().as_deref() == Some(variable))
}

fn is_service_link(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme))
}

fn split(setting: &Setting, value: &str) -> Vec<String> {
    match setting.shape {
        Shape::One | Shape::Switch => vec![value.to_owned()],
        Shape::List | Shape::Pairs => {
            let items = value
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            items.map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a pod sees beside Services called `muster` and `muster-api`.
    const INJECTED: [&str; 13] = [
        "MUSTER_PORT",
        "MUSTER_SERVICE_HOST",
        "MUSTER_SERVICE_PORT",
        "MUSTER_SERVICE_PORT_GOSSIP",
        "MUSTER_SERVICE_PORT_GOSSIP_UDP",
        "MUSTER_PORT_7946_TCP",
        "MUSTER_PORT_7946_TCP_ADDR",
        "MUSTER_PORT_7946_TCP_PORT",
        "MUSTER_PORT_7946_TCP_PROTO",
        "MUSTER_PORT_7946_UDP_ADDR",
        "MUSTER_API_SERVICE_HOST",
        "MUSTER_API_PORT",
        "MUSTER_API_PORT_80_TCP",
    ];

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn what_kubernetes_injects_is_neither_read_nor_warned_of() {
        let variables: Vec<_> = INJECTED
            .iter()
            .map(|name| (*name, "tcp://10.96.0.7:7946"))
            .collect();
        let mut layers = Layers::default();
        read(&env(&variables), &mut layers);
        assert_eq!(layers.take_warnings(), Vec::<String>::new());
        assert!(schema::settings().all(|setting| layers.entry(setting.name).is_none()));
    }

    #[test]
    fn no_setting_has_a_name_that_a_service_called_muster_takes() {
        for name in schema::settings().filter_map(Setting::env) {
            let of_muster = name.strip_prefix("MUSTER").unwrap_or_default();
            let taken = of_muster.starts_with("_SERVICE_PORT")
                || of_muster == "_SERVICE_HOST"
                || of_muster == "_PORT"
                || of_muster.starts_with("_PORT_");
            assert!(!taken, "{name}");
        }
    }

    #[test]
    fn unknown_names_warn_and_links_are_ignored_with_a_warning() {
        let mut layers = Layers::default();
        let variables = [
            ("MUSTER_NAEM", "a"),
            ("MUSTER_ROLE_PORT", "tcp://10.96.0.9:80"),
            ("MUSTER_SUPPORT", "x"),
            ("MUSTERD", "x"),
            ("PATH", "/bin"),
        ];
        read(&env(&variables), &mut layers);
        let warnings = layers.take_warnings();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("MUSTER_NAEM"), "{warnings:?}");
        assert!(warnings[1].contains("service link"), "{warnings:?}");
        assert!(warnings[2].contains("MUSTER_SUPPORT"), "{warnings:?}");
        assert!(layers.entry("service-port").is_none());
    }

    #[test]
    fn lists_are_split_by_comma_and_empty_is_unset() {
        let mut layers = Layers::default();
        read(
            &env(&[("MUSTER_JOIN", "a, b:1,,c"), ("MUSTER_NAME", "")]),
            &mut layers,
        );
        let join = layers.entry("join").map(|entry| entry.values.clone());
        assert_eq!(
            join,
            Some(vec!["a".to_owned(), "b:1".to_owned(), "c".to_owned()])
        );
        assert!(layers.entry("name").is_none());
    }
}
