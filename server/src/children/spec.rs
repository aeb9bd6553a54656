//! What a child is for the engine: its name, its labels and the body of its `create`.

mod refused;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::forms::{Publish, Volume};
use super::run::Run;
use super::yml::{Child, Directory};

/// Label with the name of a child, as its node calls it.
pub const CHILD: &str = "muster.child";

/// Label with the name of the node that a child belongs to.
pub const PARENT: &str = "muster.parent";

/// Label with the cluster of that node.
pub const CLUSTER: &str = "muster.cluster";

/// Label with a hash of all that a child was created with: one that differs from what it
/// should be is created anew. Only containers that carry it are ours to stop and remove.
pub const SPEC: &str = "muster.spec";

/// Where a child finds the files of its node.
pub const MOUNT: &str = "/serfnode";

/// Begins what is hashed; changed when the same hash should no longer mean the same.
const HASH_VERSION: &str = "1";

/// The node that children belong to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// Its name.
    pub node: String,
    /// Its cluster.
    pub cluster: String,
    /// Full id of the container that the daemon runs in; `None`: on the host.
    pub container: Option<String>,
    /// The directory of the files for children, as the host sees it; `None`: there is
    /// none, or the host does not see it.
    pub directory: Option<PathBuf>,
}

/// A child, ready to be created.
#[derive(Clone, PartialEq)]
pub struct Spec {
    /// As its node calls it.
    pub child: String,
    /// Name of its container.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Hash of the rest.
    pub hash: String,
    /// Body of `create`; holds values of variables, so it is not shown.
    pub body: Value,
    /// Where `/me.json` in it leads; `None`: it gets none.
    pub me_json: Option<String>,
    /// Whether files are written for it, which it should find when it starts.
    pub has_files: bool,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec")
            .field("child", &self.child)
            .field("container", &self.container)
            .field("image", &self.image)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// The engine would refuse the child, or it would not be what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("child {child:?}: {why}")]
pub struct Refused {
    /// As its node calls it.
    pub child: String,
    /// Why, and what to write instead.
    pub why: String,
}

/// The container's name of a child: the same at every start, and another one for every
/// node and cluster on an engine.
#[must_use]
pub fn container_name(home: &Home, child: &str) -> String {
    let suffix = hash(&[&home.cluster, &home.node, child]);
    format!("{child}_app_{}_{}", home.node, &suffix[..8])
}

/// What the child of a `serfnode.yml` is for the engine. `siblings` are the names of all
/// children in the file.
///
/// # Errors
/// What the engine would refuse, and what to write instead.
pub fn of_child(
    child: &Child,
    siblings: &[String],
    home: &Home,
    environment: &BTreeMap<String, String>,
) -> Result<Spec, Refused> {
    let draft = Draft {
        child,
        container: container_name(home, &child.name),
        siblings,
        home,
        environment,
        joins: home.container.clone(),
        config: Map::new(),
        host: Map::new(),
    };
    draft.finish()
}

/// The same for the container of `DOCKER_RUN`, which has a network of its own.
///
/// # Errors
/// As [`of_child`].
pub fn of_run(
    run: &Run,
    home: &Home,
    environment: &BTreeMap<String, String>,
) -> Result<Spec, Refused> {
    let draft = Draft {
        child: &run.child,
        container: run.child.name.clone(),
        siblings: &[],
        home,
        environment,
        joins: None,
        config: run.config.clone(),
        host: run.host.clone(),
    };
    draft.finish()
}

struct Draft<'a> {
    child: &'a Child,
    container: String,
    siblings: &'a [String],
    home: &'a Home,
    environment: &'a BTreeMap<String, String>,
    /// The container whose network it shares.
    joins: Option<String>,
    config: Map<String, Value>,
    host: Map<String, Value>,
}

impl Draft<'_> {
    fn finish(mut self) -> Result<Spec, Refused> {
        let child = self.child;
        let mut notes = Vec::new();
        if self.joins.is_some() {
            refused::check(child, self.siblings).map_err(|why| Refused {
                child: child.name.clone(),
                why,
            })?;
            if !child.expose.is_empty() {
                notes.push(
                    "expose is left out: every port of a container that shares the network of its \
                     parent can be reached there"
                        .to_owned(),
                );
            }
        }
        self.program();
        self.network();
        let has_files = self.volumes(&mut notes);
        let me_json = self.me_json(has_files, &mut notes);
        let joined = json!([&self.container, &me_json, &self.config, &self.host]);
        let hash = hash(&[
            HASH_VERSION,
            &joined.to_string(),
            &self.home.cluster,
            &self.home.node,
        ]);
        self.labels(&hash);
        let mut body = self.config;
        body.insert("HostConfig".to_owned(), Value::Object(self.host));
        Ok(Spec {
            child: child.name.clone(),
            container: self.container,
            image: child.image.clone(),
            hash,
            body: Value::Object(body),
            me_json,
            has_files,
            notes,
        })
    }

    fn program(&mut self) {
        let child = self.child;
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                self.config.insert(key.to_owned(), value);
            }
        };
        set("Image", Some(json!(child.image)));
        set("Cmd", child.command.as_ref().map(|words| json!(words)));
        set(
            "Entrypoint",
            child.entrypoint.as_ref().map(|words| json!(words)),
        );
        set(
            "WorkingDir",
            child.working_dir.as_ref().map(|path| json!(path)),
        );
        set("User", child.user.as_ref().map(|user| json!(user)));
        let variable = |(name, value): &(String, Option<String>)| {
            let value = value.as_ref().or_else(|| self.environment.get(name))?;
            Some(json!(format!("{name}={value}")))
        };
        let variables: Vec<Value> = child.environment.iter().filter_map(variable).collect();
        set("Env", (!variables.is_empty()).then(|| json!(variables)));
        if child.privileged {
            self.host.insert("Privileged".to_owned(), json!(true));
        }
        // As serfnode's supervisor: whatever it ended with. But one that was stopped stays
        // so, even over a restart of the engine, until its node starts it.
        let policy = || json!({"Name": "unless-stopped"});
        self.host.entry("RestartPolicy").or_insert_with(policy);
    }

    fn network(&mut self) {
        if let Some(parent) = &self.joins {
            let mode = format!("container:{parent}");
            self.host.insert("NetworkMode".to_owned(), json!(mode));
            return;
        }
        let child = self.child;
        let published = child.ports.iter().map(|port| &port.container);
        let exposed: BTreeMap<&String, Value> = child
            .expose
            .iter()
            .chain(published)
            .map(|port| (port, json!({})))
            .collect();
        if !exposed.is_empty() {
            self.config
                .insert("ExposedPorts".to_owned(), json!(exposed));
        }
        let mut bindings: BTreeMap<&String, Vec<Value>> = BTreeMap::new();
        for Publish {
            container,
            host_ip,
            host_port,
        } in &child.ports
        {
            let binding = json!({"HostIp": host_ip, "HostPort": host_port});
            bindings.entry(container).or_default().push(binding);
        }
        if !bindings.is_empty() {
            self.host.insert("PortBindings".to_owned(), json!(bindings));
        }
        if !child.links.is_empty() {
            let link = |link: &String| match link.split_once(':') {
                Some((name, alias)) => format!("{}:{alias}", self.sibling(name)),
                // The engine would take the container's name as the alias.
                None => format!("{}:{link}", self.sibling(link)),
            };
            let links: Vec<String> = child.links.iter().map(link).collect();
            self.host.insert("Links".to_owned(), json!(links));
        }
    }

    /// Mounts; whether files are written for it.
    fn volumes(&mut self, notes: &mut Vec<String>) -> bool {
        let child = self.child;
        let mut binds = Vec::new();
        let mut anonymous = BTreeMap::new();
        for volume in &child.volumes {
            match volume {
                Volume::Bind { text, .. } => binds.push(text.clone()),
                Volume::Anonymous(path) => {
                    anonymous.insert(path, json!({}));
                }
            }
        }
        let from = |from: &String| match from.split_once(':') {
            Some((name, mode)) => format!("{}:{mode}", self.sibling(name)),
            None => self.sibling(from),
        };
        let mut all_from: Vec<String> = child.volumes_from.iter().map(from).collect();
        let has_files = self.serfnode(&mut binds, &mut all_from, notes);
        if !binds.is_empty() {
            self.host.insert("Binds".to_owned(), json!(binds));
        }
        if !anonymous.is_empty() {
            self.config.insert("Volumes".to_owned(), json!(anonymous));
        }
        if !all_from.is_empty() {
            self.host.insert("VolumesFrom".to_owned(), json!(all_from));
        }
        has_files
    }

    /// Mounts the files of the node; whether it does.
    fn serfnode(
        &self,
        binds: &mut Vec<String>,
        all_from: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) -> bool {
        let mut volumes = self.child.volumes.iter();
        if volumes.any(|volume| volume.destination() == MOUNT) {
            notes.push(format!(
                "it has a volume of its own at {MOUNT}: no files of its node"
            ));
            return false;
        }
        let directory = self.home.directory.as_ref().map(|path| path.display());
        match (self.child.directory, &self.home.container, directory) {
            (Directory::Shared, Some(parent), directory) => {
                all_from.push(parent.clone());
                directory.is_some()
            }
            (Directory::Shared, None, Some(directory)) => {
                binds.push(format!("{directory}:{MOUNT}"));
                true
            }
            (Directory::Own, _, Some(directory)) => {
                binds.push(format!(
                    "{directory}/children/{}:{MOUNT}:ro",
                    self.container
                ));
                true
            }
            (Directory::Own | Directory::Shared, _, None) => {
                notes.push(format!(
                    "it gets no {MOUNT}: there is no legacy-root, or the engine does not see it"
                ));
                false
            }
        }
    }

    fn me_json(&self, has_files: bool, notes: &mut Vec<String>) -> Option<String> {
        if !has_files {
            return None;
        }
        if self.host.get("ReadonlyRootfs").and_then(Value::as_bool) == Some(true) {
            notes.push(format!(
                "its root is read-only: /me.json is at {MOUNT}/me.json only"
            ));
            return None;
        }
        Some(match self.child.directory {
            Directory::Own => format!("{MOUNT}/me.json"),
            Directory::Shared => format!("{MOUNT}/children/{}/me.json", self.container),
        })
    }

    fn labels(&mut self, hash: &str) {
        let labels = self.config.entry("Labels").or_insert_with(|| json!({}));
        let Some(labels) = labels.as_object_mut() else {
            return;
        };
        let ours = [
            (CHILD, self.child.name.as_str()),
            (PARENT, &self.home.node),
            (CLUSTER, &self.home.cluster),
            (SPEC, hash),
        ];
        for (label, value) in ours {
            labels.insert(label.to_owned(), json!(value));
        }
    }

    /// The container of a sibling, or of anybody else by its name.
    fn sibling(&self, name: &str) -> String {
        match self.siblings.iter().any(|sibling| sibling == name) {
            true => container_name(self.home, name),
            false => name.to_owned(),
        }
    }
}

/// SHA-256 of texts, 64 hex digits.
fn hash(texts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        // No text holds a NUL.
        hasher.update(text.as_bytes());
        hasher.update([0]);
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a text cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}
