//! What labels say of a container.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use muster_engine::name::check_role;

/// `ROLE[:PORT]`, several by comma: roles that it serves, and the port in the container.
pub const ROLE: &str = "muster.role";

/// Port of roles that name none.
pub const PORT: &str = "muster.port";

/// Address for clients, instead of the one that is worked out.
pub const SERVICE_IP: &str = "muster.service-ip";

/// The network at which the container itself is reached.
pub const NETWORK: &str = "muster.network";

/// The container gets files of its own, unless this is `false`.
pub const CHILD: &str = "muster.child";

/// Name of the one node that it belongs to, where several use one engine.
pub const PARENT: &str = "muster.parent";

/// Most roles of one container. A label with more is refused.
pub(crate) const ROLES_PER_CONTAINER_MAX: usize = 16;

/// A role that a container is to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Name, in the grammar of roles.
    pub(crate) role: String,
    /// Port in the container, if one is named.
    pub(crate) port: Option<u16>,
}

/// What the labels of one container say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Labels {
    pub(crate) roles: Vec<Wanted>,
    pub(crate) port: Option<u16>,
    pub(crate) service_ip: Option<IpAddr>,
    pub(crate) network: Option<String>,
}

/// A label that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("label {label}={value:?}: {why}")]
pub(crate) struct BadLabel {
    pub(crate) label: &'static str,
    /// As given, cut.
    pub(crate) value: String,
    pub(crate) why: String,
}

/// Characters of a bad label that are told.
const SHOWN_CHARS: usize = 80;

/// Reads the labels of a container of `node`; those that make no sense are left out.
pub(crate) fn read(labels: &BTreeMap<String, String>, node: &str) -> (Labels, Vec<BadLabel>) {
    let mut bad = Vec::new();
    let mut get = |label: &'static str, read: &mut dyn FnMut(&str) -> Result<(), String>| {
        if let Some(value) = labels.get(label)
            && let Err(why) = read(value.trim())
        {
            let value = value.chars().take(SHOWN_CHARS).collect();
            // It names parts of the value.
            let why = why.chars().take(2 * SHOWN_CHARS).collect();
            bad.push(BadLabel { label, value, why });
        }
    };
    let mut said = Labels::default();
    get(ROLE, &mut |text| {
        said.roles = roles(text)?;
        Ok(())
    });
    get(PORT, &mut |text| {
        said.port = Some(port(text)?);
        Ok(())
    });
    get(SERVICE_IP, &mut |text| {
        let parsed = text.parse().map_err(|_e| "it is no IP address".to_owned());
        said.service_ip = Some(parsed?);
        Ok(())
    });
    get(NETWORK, &mut |text| match text {
        "" => Err("it names no network".to_owned()),
        _ => {
            said.network = Some(text.to_owned());
            Ok(())
        }
    });
    if labels.get(PARENT).is_some_and(|parent| parent != node) {
        // It is another node's on the same engine.
        said.roles.clear();
    }
    (said, bad)
}

fn roles(text: &str) -> Result<Vec<Wanted>, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if parts.len() > ROLES_PER_CONTAINER_MAX {
        let count = parts.len();
        return Err(format!(
            "{count} roles, at most {ROLES_PER_CONTAINER_MAX} are taken"
        ));
    }
    let mut seen = BTreeSet::new();
    let mut roles = Vec::new();
    for part in parts {
        let (role, number) = match part.split_once(':') {
            Some((role, number)) => (role.trim(), Some(port(number.trim())?)),
            None => (part, None),
        };
        check_role(role).map_err(|error| format!("{role:?}: {error}"))?;
        if !seen.insert(role) {
            return Err(format!("{role} is given twice"));
        }
        roles.push(Wanted {
            role: role.to_owned(),
            port: number,
        });
    }
    Ok(roles)
}

fn port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.filter(|port| *port > 0)
        .ok_or_else(|| format!("{text:?} is no port: 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> (Labels, Vec<BadLabel>) {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        read(&pairs.collect(), "a")
    }

    fn wanted(role: &str, port: Option<u16>) -> Wanted {
        Wanted {
            role: role.to_owned(),
            port,
        }
    }

    #[test]
    fn roles_may_name_ports() {
        let (said, bad) = of(&[(ROLE, "web:80, metrics:9100,worker"), (PORT, "8080")]);
        let roles = [
            wanted("web", Some(80)),
            wanted("metrics", Some(9_100)),
            wanted("worker", None),
        ];
        assert_eq!(
            (said.roles, said.port, bad),
            (roles.to_vec(), Some(8_080), Vec::new())
        );
        let (said, bad) = of(&[(SERVICE_IP, "2001:db8::1"), (NETWORK, "front")]);
        assert!(said.service_ip.is_some() && said.network.is_some() && bad.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (label, value) in [
            (ROLE, ""),
            (ROLE, "web:"),
            (ROLE, "web:0"),
            (ROLE, "web:+8"),
            (ROLE, "web:65536"),
            (ROLE, "-web"),
            (ROLE, "web,web"),
            (ROLE, "web\nevil"),
            (PORT, "http"),
            (SERVICE_IP, "web.example"),
            (NETWORK, " "),
        ] {
            let (said, bad) = of(&[(label, value)]);
            assert_eq!(said, Labels::default(), "{label}={value}");
            assert_eq!(bad[0].label, label);
            assert!(!bad[0].to_string().contains('\n'), "it goes into one line");
        }
        let many = (0..17)
            .map(|nr| format!("r{nr}"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(of(&[(ROLE, &many)]).1.len(), 1);
    }

    #[test]
    fn of_several_nodes_on_one_engine_the_parent_has_it() {
        assert_eq!(of(&[(ROLE, "web"), (PARENT, "b")]).0.roles, []);
        assert_eq!(of(&[(ROLE, "web"), (PARENT, "a")]).0.roles.len(), 1);
    }
}
