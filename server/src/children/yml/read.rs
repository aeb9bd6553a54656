//! From a tree to children, noting every mistake.

use super::tree::{Item, Key, Value};
use super::{
    CHILDREN_MAX, Child, Directory, MISTAKES_MAX, Mistake, NAME_BYTES_MAX, NodeSetting, Yml, cut,
};
use crate::children::forms::{self, bounded};
use crate::children::near::nearest;

/// Keys of the file.
const TOP: [&str; 2] = ["serfnode", "children"];

/// Keys below `serfnode` that are settings of the node.
const SETTINGS: [&str; 6] = [
    "role",
    "peer",
    "serf_ip",
    "serf_port",
    "service_ip",
    "service_port",
];

/// Keys below `serfnode` that every child gets.
const SHARED: [&str; 5] = [
    "ports",
    "volumes",
    "volumes_from",
    "environment",
    "directory",
];

/// Keys of a child.
const CHILD: [&str; 13] = [
    "image",
    "command",
    "links",
    "ports",
    "expose",
    "volumes",
    "volumes_from",
    "environment",
    "working_dir",
    "entrypoint",
    "user",
    "privileged",
    "directory",
];

/// Reads a whole file.
pub(super) fn read(top: &Item) -> Result<Yml, Vec<Mistake>> {
    let mut reader = Reader::default();
    let mut yml = Yml::default();
    let mut shared = Child::default();
    let entries = reader.map(top, "the file", &TOP);
    // Whatever order they are in: children get what `serfnode` says.
    for (key, item) in entries.iter().filter(|(key, _)| key.name == "serfnode") {
        let allowed = [&SETTINGS[..], &SHARED].concat();
        for (inner, item) in reader.map(item, &key.name, &allowed) {
            match SETTINGS.iter().find(|name| **name == inner.name) {
                Some(name) => reader.setting(name, item, &mut yml),
                None => reader.field(&mut shared, "serfnode", inner, item),
            }
        }
    }
    for (_, item) in entries.iter().filter(|(key, _)| key.name == "children") {
        reader.children(item, &shared, &mut yml);
    }
    reader.end(yml)
}

/// Reads a list of texts.
pub(super) fn list<T>(
    item: &Item,
    what: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<Mistake>> {
    let mut reader = Reader::default();
    let items = reader.each(item, what, read);
    reader.end(items)
}

#[derive(Default)]
struct Reader {
    mistakes: Vec<Mistake>,
    /// Mistakes that are not told.
    more: usize,
}

impl Reader {
    fn wrong(&mut self, line: u64, what: impl Into<String>) {
        if self.mistakes.len() == MISTAKES_MAX {
            self.more += 1;
            return;
        }
        let what = cut(what.into());
        self.mistakes.push(Mistake { line, what });
    }

    fn end<T>(mut self, read: T) -> Result<T, Vec<Mistake>> {
        if self.more > 0 {
            let what = format!("and {} more mistakes", self.more);
            self.mistakes.push(Mistake { line: 0, what });
        }
        match self.mistakes.is_empty() {
            true => Ok(read),
            false => Err(self.mistakes),
        }
    }

    /// The entries of a map whose keys are `allowed`; nothing where there is none.
    fn map<'a>(&mut self, item: &'a Item, what: &str, allowed: &[&str]) -> Vec<&'a (Key, Item)> {
        match &item.value {
            Value::Null => Vec::new(),
            Value::Map(entries) => {
                let known = |name: &str| allowed.contains(&name);
                for (key, _) in entries.iter().filter(|(key, _)| !known(&key.name)) {
                    let near = match nearest(&key.name, allowed) {
                        Some(near) => format!("did you mean {near}?"),
                        None => format!("allowed: {}", allowed.join(", ")),
                    };
                    let what = format!("{what} has no key {:?}; {near}", key.name);
                    self.wrong(key.line, what);
                }
                entries.iter().filter(|(key, _)| known(&key.name)).collect()
            }
            Value::Text(_) | Value::List(_) => {
                let kind = item.value.kind();
                self.wrong(item.line, format!("{what} is a map, not {kind}"));
                Vec::new()
            }
        }
    }

    fn setting(&mut self, key: &'static str, item: &Item, yml: &mut Yml) {
        if let Some(value) = self.text(item, &format!("serfnode.{key}")) {
            let line = item.line;
            yml.settings.push(NodeSetting { key, value, line });
        }
    }

    fn children(&mut self, list: &Item, shared: &Child, yml: &mut Yml) {
        let items = match &list.value {
            Value::Null => return,
            Value::List(items) => items,
            Value::Map(_) | Value::Text(_) => {
                let what = "children is a list, since they start in its order: write `- NAME:` \
                            for each";
                return self.wrong(list.line, what);
            }
        };
        if items.len() > CHILDREN_MAX {
            let what = format!("there are more than {CHILDREN_MAX} children");
            return self.wrong(list.line, what);
        }
        let mut lines = Vec::with_capacity(items.len());
        for item in items {
            if let Some(child) = self.child(item, shared) {
                self.place(child, item.line, yml, &mut lines);
            }
        }
        for (at, (child, line)) in yml.children.iter().zip(lines).enumerate() {
            for (key, others) in [
                ("volumes_from", &child.volumes_from),
                ("links", &child.links),
            ] {
                for other in others {
                    let name = other.split(':').next().unwrap_or_default();
                    let mut later = yml.children.iter().skip(at);
                    if later.any(|later| later.name == name) {
                        let what = format!(
                            "{key} of child {:?} names {name:?}, which does not start before it: \
                             move it up",
                            child.name
                        );
                        self.wrong(line, what);
                    }
                }
            }
        }
    }

    /// Adds a child after those that are there.
    fn place(&mut self, child: Child, line: u64, yml: &mut Yml, lines: &mut Vec<u64>) {
        let name = &child.name;
        if yml.children.iter().any(|other| other.name == *name) {
            return self.wrong(line, format!("there are two children {name:?}"));
        }
        yml.children.push(child);
        lines.push(line);
    }

    fn child(&mut self, item: &Item, shared: &Child) -> Option<Child> {
        let (key, inner) = match &item.value {
            Value::Map(entries) if entries.len() == 1 => entries.first()?,
            Value::Map(entries) => {
                let keys: Vec<_> = entries.iter().map(|(key, _)| key.name.as_str()).collect();
                let what = format!(
                    "a child is one name with its keys below it, but here are {}: indent the keys \
                     more than the name",
                    keys.join(", ")
                );
                self.wrong(item.line, what);
                return None;
            }
            Value::Null | Value::Text(_) | Value::List(_) => {
                let kind = item.value.kind();
                self.wrong(
                    item.line,
                    format!("a child is `- NAME:` and its keys, not {kind}"),
                );
                return None;
            }
        };
        if !is_child_name(&key.name) {
            let what = format!(
                "{:?} is no name of a child; allowed: 1 to {NAME_BYTES_MAX} letters, digits, '.', \
                 '_' and '-', a letter or digit first",
                key.name
            );
            self.wrong(key.line, what);
        }
        let what = format!("child {:?}", key.name);
        let mut child = Child {
            directory: shared.directory,
            ..Child::default()
        };
        for (field, item) in self.map(inner, &what, &CHILD) {
            self.field(&mut child, &what, field, item);
        }
        if child.image.is_empty() {
            self.wrong(key.line, format!("{what} has no image"));
        }
        child.name.clone_from(&key.name);
        merge(&mut child, shared);
        Some(child)
    }

    /// Reads one key of a child, or one that all children share.
    fn field(&mut self, child: &mut Child, owner: &str, key: &Key, item: &Item) {
        let what = format!("{} of {owner}", key.name);
        match key.name.as_str() {
            "image" => child.image = self.text(item, &what).unwrap_or_default(),
            "command" => child.command = self.words(item, &what),
            "entrypoint" => child.entrypoint = self.words(item, &what),
            "links" => child.links = self.list(item, &what),
            "volumes_from" => child.volumes_from = self.list(item, &what),
            "ports" => child.ports = self.each(item, &what, bounded(forms::publish)).concat(),
            "expose" => child.expose = self.each(item, &what, bounded(forms::expose)).concat(),
            "volumes" => child.volumes = self.each(item, &what, forms::volume),
            "environment" => child.environment = self.environment(item, &what),
            "working_dir" => child.working_dir = self.text(item, &what),
            "user" => child.user = self.text(item, &what),
            "privileged" => child.privileged = self.truth(item, &what),
            "directory" => child.directory = self.directory(item, &what),
            // The caller let only known keys through.
            _ => {}
        }
    }

    fn text(&mut self, item: &Item, what: &str) -> Option<String> {
        match &item.value {
            Value::Null => None,
            Value::Text(text) if text.contains('\0') => {
                self.wrong(item.line, format!("{what} holds a NUL"));
                None
            }
            Value::Text(text) => Some(text.clone()),
            Value::List(_) | Value::Map(_) => {
                let kind = item.value.kind();
                self.wrong(item.line, format!("{what} is a text, not {kind}"));
                None
            }
        }
    }

    fn truth(&mut self, item: &Item, what: &str) -> bool {
        match self.text(item, what).as_deref() {
            None | Some("false" | "False" | "FALSE" | "no" | "off") => false,
            Some("true" | "True" | "TRUE" | "yes" | "on") => true,
            Some(other) => {
                self.wrong(
                    item.line,
                    format!("{what} is {other:?}; allowed: true or false"),
                );
                false
            }
        }
    }

    fn directory(&mut self, item: &Item, what: &str) -> Directory {
        match self.text(item, what).as_deref() {
            None | Some("own") => Directory::Own,
            Some("shared") => Directory::Shared,
            Some(other) => {
                self.wrong(
                    item.line,
                    format!("{what} is {other:?}; allowed: own or shared"),
                );
                Directory::Own
            }
        }
    }

    /// A list of words, or one text that a shell would split into them.
    fn words(&mut self, item: &Item, what: &str) -> Option<Vec<String>> {
        match &item.value {
            Value::Null => None,
            Value::Text(text) => match shell_words::split(text) {
                Ok(words) => Some(words),
                Err(error) => {
                    self.wrong(
                        item.line,
                        format!("{what} cannot be split into words: {error}"),
                    );
                    None
                }
            },
            Value::List(_) | Value::Map(_) => Some(self.list(item, what)),
        }
    }

    /// A list of texts; one text is a list of one.
    fn list(&mut self, item: &Item, what: &str) -> Vec<String> {
        self.each(item, what, |text| Ok(text.to_owned()))
    }

    fn each<T>(
        &mut self,
        item: &Item,
        what: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let items = match &item.value {
            Value::Null => return Vec::new(),
            Value::Text(_) => std::slice::from_ref(item),
            Value::List(items) => items,
            Value::Map(_) => {
                self.wrong(item.line, format!("{what} is a list, not a map"));
                return Vec::new();
            }
        };
        let mut read_items = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = self.text(item, what) else {
                continue;
            };
            match read(&text) {
                Ok(item) => read_items.push(item),
                Err(why) => self.wrong(item.line, format!("{what}: {why}")),
            }
        }
        read_items
    }

    /// `NAME: VALUE` as a map, or `NAME=VALUE` as a list.
    fn environment(&mut self, item: &Item, what: &str) -> Vec<(String, Option<String>)> {
        let Value::Map(entries) = &item.value else {
            let mut all = Vec::new();
            for (name, value) in self.each(item, what, forms::variable) {
                set(&mut all, name, value);
            }
            return all;
        };
        let mut all = Vec::new();
        for (key, item) in entries {
            if let Err(why) = forms::variable(&format!("{}=", key.name)) {
                self.wrong(key.line, format!("{what}: {why}"));
            }
            let value = self.text(item, &format!("{} in {what}", key.name));
            set(&mut all, key.name.clone(), value);
        }
        all
    }
}

/// Adds to a child what all have; its own words are stronger.
pub(super) fn merge(child: &mut Child, shared: &Child) {
    child.ports.extend(shared.ports.iter().cloned());
    for volume in &shared.volumes {
        let taken = |own: &forms::Volume| own.destination() == volume.destination();
        if !child.volumes.iter().any(taken) {
            child.volumes.push(volume.clone());
        }
    }
    for from in &shared.volumes_from {
        if !child.volumes_from.contains(from) {
            child.volumes_from.push(from.clone());
        }
    }
    for (name, value) in &shared.environment {
        if !child.environment.iter().any(|(own, _)| own == name) {
            child.environment.push((name.clone(), value.clone()));
        }
    }
}

/// Sets a variable; the last word counts.
fn set(all: &mut Vec<(String, Option<String>)>, name: String, value: Option<String>) {
    all.retain(|(known, _)| *known != name);
    all.push((name, value));
}

fn is_child_name(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.len() <= NAME_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}
