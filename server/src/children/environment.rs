//! The variables of serfnode's image: bare names, read in legacy mode only.

use std::collections::BTreeMap;

use super::forms;
use super::run;
use super::yml::{self, Child};

/// Longest value that is read, bytes; a longer one is a mistake.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Where serfnode's image expects the host's file system.
const HOST_PREFIX: &str = "/host";

/// Where serfnode's image expects the engine, on the host.
const SOCKET: &str = "/run/docker.sock";

/// Where a socket is usually mounted.
const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// Name of the container of `DOCKER_RUN` if `DOCKER_NAME` gives none.
const RUN_NAME: &str = "app_docker_run";

/// A variable that is a setting: name, setting, and how its value is made of the
/// variable's.
type Variable = (&'static str, &'static str, fn(&str) -> String);

/// All of them.
const SETTINGS: [Variable; 8] = [
    ("ROLE", "role", str::to_owned),
    ("PEER", "join", str::to_owned),
    ("SERF_IP", "advertise", str::to_owned),
    ("SERF_PORT", "bind", any_address),
    ("NODE_NAME", "name", str::to_owned),
    ("RPC_PORT", "serf-rpc", loopback),
    ("SERVICE_IP", "service-ip", str::to_owned),
    ("SERVICE_PORT", "service-port", str::to_owned),
];

/// What the variables say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Values of settings.
    pub settings: Vec<Given>,
    /// Ports, volumes and variables that every child gets; the rest of it is empty.
    pub shared: Child,
    /// The container of `DOCKER_RUN`.
    pub run: Option<run::Run>,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// Variables that are wrong, and why.
    pub mistakes: Vec<(&'static str, String)>,
}

/// A value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The setting.
    pub setting: &'static str,
    /// The variable that gives it.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
}

/// Reads them. `is_socket` tells whether there is a socket at a path.
#[must_use]
pub fn read(all: &BTreeMap<String, String>, is_socket: impl Fn(&str) -> bool) -> Environment {
    let mut reader = Reader {
        all,
        found: Environment::default(),
    };
    for (variable, setting, make) in SETTINGS {
        if let Some(value) = reader.take(variable) {
            let value = make(&value);
            reader.give(setting, variable, value);
        }
    }
    reader.engine(is_socket);
    reader.found.shared.ports = reader
        .list("APP_PORTS", forms::bounded(forms::publish))
        .concat();
    reader.found.shared.volumes = reader.list("APP_VOLUMES", forms::volume);
    reader.found.shared.volumes_from = reader.list("APP_VOLUMES_FROM", |text| Ok(text.to_owned()));
    reader.run();
    reader.found
}

struct Reader<'a> {
    all: &'a BTreeMap<String, String>,
    found: Environment,
}

impl Reader<'_> {
    /// The value of a variable; an empty one is none.
    fn take(&mut self, variable: &'static str) -> Option<String> {
        let value = self.all.get(variable).filter(|value| !value.is_empty())?;
        if value.len() > VALUE_BYTES_MAX {
            let why = format!("it has more than {VALUE_BYTES_MAX} bytes");
            self.found.mistakes.push((variable, why));
            return None;
        }
        if ["tcp://", "udp://"]
            .iter()
            .any(|link| value.starts_with(link))
        {
            self.found.warnings.push(format!(
                "environment variable {variable} is ignored: {value:?} is a service link, as \
                 Docker and Kubernetes set them"
            ));
            return None;
        }
        Some(value.clone())
    }

    fn give(&mut self, setting: &'static str, variable: &'static str, value: String) {
        let given = Given {
            setting,
            variable,
            value,
        };
        self.found.settings.push(given);
    }

    /// Where the host's files and its engine are: what is given, or what serfnode's
    /// `-v /:/host` mounts if no socket is at the usual place.
    fn engine(&mut self, is_socket: impl Fn(&str) -> bool) {
        let prefix = self.take("HOST_PREFIX");
        let socket = self.take("DOCKER_SOCKET");
        let shown = prefix.as_deref().unwrap_or(HOST_PREFIX);
        let shown = shown.trim_end_matches('/');
        let path = socket.as_deref().unwrap_or(SOCKET);
        let below = format!("{shown}{path}");
        if let Some(prefix) = &prefix {
            self.give("host-prefix", "HOST_PREFIX", prefix.clone());
        }
        let found = match (&prefix, &socket) {
            (None, None) if is_socket(USUAL_SOCKET) || !is_socket(&below) => return,
            _ if is_socket(&below) => below,
            (_, Some(socket)) if prefix.is_none() || is_socket(socket) => socket.clone(),
            _ => below,
        };
        self.give("docker-host", "DOCKER_SOCKET", format!("unix://{found}"));
    }

    fn list<T>(
        &mut self,
        variable: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(text) = self.take(variable) else {
            return Vec::new();
        };
        match yml::list(&text, variable, read) {
            Ok(items) => items,
            Err(mistakes) => {
                let why = mistakes.iter().map(ToString::to_string);
                let why = why.collect::<Vec<_>>().join("; ");
                self.found.mistakes.push((variable, why));
                Vec::new()
            }
        }
    }

    fn run(&mut self) {
        let name = self.take("DOCKER_NAME");
        let Some(line) = self.take("DOCKER_RUN") else {
            return;
        };
        if let Some(name) = name.as_deref().filter(|name| !forms::is_name(name)) {
            let why = format!("{name:?} is no name of a container");
            self.found.mistakes.push(("DOCKER_NAME", why));
        }
        match run::parse(&line) {
            Ok(mut run) => {
                run.child.name = name.unwrap_or_else(|| RUN_NAME.to_owned());
                self.found.run = Some(run);
            }
            Err(why) => self.found.mistakes.push(("DOCKER_RUN", why)),
        }
    }
}

fn any_address(port: &str) -> String {
    format!("0.0.0.0:{port}")
}

fn loopback(port: &str) -> String {
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)], sockets: &[&str]) -> Environment {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let all = pairs.iter().map(pair).collect();
        read(&all, |path| sockets.contains(&path))
    }

    fn settings(environment: &Environment) -> Vec<(&str, &str)> {
        let given = environment.settings.iter();
        given.map(|one| (one.setting, one.value.as_str())).collect()
    }

    #[test]
    fn variables_become_settings() {
        let found = of(
            &[
                ("ROLE", "web"),
                ("PEER", "10.0.0.1:7946"),
                ("SERF_IP", "10.0.0.2"),
                ("SERF_PORT", "7950"),
                ("NODE_NAME", "n1"),
                ("RPC_PORT", "7374"),
                ("SERVICE_IP", "10.0.0.3"),
                ("SERVICE_PORT", "80"),
                ("IP", "10.9.9.9"),
                ("APP_PORTS", "['8000:80', 9000]"),
                ("APP_VOLUMES", "- /a:/b\n- /c\n"),
                ("APP_VOLUMES_FROM", "[store]"),
            ],
            &[],
        );
        assert_eq!(
            settings(&found),
            [
                ("role", "web"),
                ("join", "10.0.0.1:7946"),
                ("advertise", "10.0.0.2"),
                ("bind", "0.0.0.0:7950"),
                ("name", "n1"),
                ("serf-rpc", "127.0.0.1:7374"),
                ("service-ip", "10.0.0.3"),
                ("service-port", "80"),
            ]
        );
        assert_eq!(found.shared.ports.len(), 2);
        assert_eq!(found.shared.volumes.len(), 2);
        assert_eq!(found.shared.volumes_from, ["store"]);
        assert!(
            found.mistakes.is_empty() && found.warnings.is_empty(),
            "{found:?}"
        );
    }

    #[test]
    fn links_are_ignored_and_empty_is_unset() {
        let found = of(&[("SERVICE_PORT", "tcp://10.0.0.9:80"), ("ROLE", "")], &[]);
        assert!(found.settings.is_empty());
        assert_eq!(found.warnings.len(), 1);
        assert!(found.warnings[0].contains("service link"), "{found:?}");
    }

    #[test]
    fn the_engine_is_found_where_serfnode_mounted_it() {
        const BELOW: &str = "/host/run/docker.sock";
        let given = |pairs: &[(&str, &str)], sockets: &[&str]| {
            let found = of(pairs, sockets);
            let all = found
                .settings
                .iter()
                .map(|one| (one.setting, one.value.clone()));
            all.collect::<Vec<_>>()
        };
        let host = |path: &str| ("docker-host", format!("unix://{path}"));
        assert_eq!(given(&[], &[]), []);
        assert_eq!(given(&[], &[BELOW]), [host(BELOW)]);
        assert_eq!(given(&[], &[BELOW, USUAL_SOCKET]), []);
        let prefix = ("HOST_PREFIX", "/root/");
        let prefixed = ("host-prefix", "/root/".to_owned());
        assert_eq!(
            given(&[prefix], &[]),
            [prefixed, host("/root/run/docker.sock")]
        );
        let socket = ("DOCKER_SOCKET", "/a.sock");
        assert_eq!(given(&[socket], &[]), [host("/a.sock")]);
        assert_eq!(given(&[socket], &["/host/a.sock"]), [host("/host/a.sock")]);
    }

    #[test]
    fn what_is_wrong_names_its_variable() {
        let found = of(
            &[
                ("APP_PORTS", "[x]"),
                ("APP_VOLUMES", "{a: b}"),
                ("APP_VOLUMES_FROM", "["),
                ("DOCKER_RUN", "--nonsense image"),
                ("DOCKER_NAME", "a b"),
            ],
            &[],
        );
        let names: Vec<_> = found.mistakes.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "APP_PORTS",
                "APP_VOLUMES",
                "APP_VOLUMES_FROM",
                "DOCKER_NAME",
                "DOCKER_RUN"
            ]
        );
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert_eq!(of(&[("ROLE", &long)], &[]).mistakes.len(), 1);
    }

    #[test]
    fn a_container_of_docker_run_has_a_name() {
        let found = of(&[("DOCKER_RUN", "nginx")], &[]);
        assert_eq!(found.run.unwrap().child.name, "app_docker_run");
        let found = of(&[("DOCKER_RUN", "nginx"), ("DOCKER_NAME", "front")], &[]);
        assert_eq!(found.run.unwrap().child.name, "front");
    }
}
