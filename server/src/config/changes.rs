//! What is different between two configurations, setting by setting.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::layers::Layers;
use super::schema::{self, Setting};
use super::{Config, print};

/// Settings whose file holds keys.
const KEY_FILES: [&str; 2] = ["key-file", "token-file"];

/// What holds for one setting.
#[derive(Clone, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// These texts.
    Texts(Vec<String>),
    /// A secret, known by its SHA-256 only.
    Secret([u8; 32]),
}

/// One setting that is different.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Which.
    pub setting: &'static Setting,
    /// What held before.
    pub before: &'a Held,
    /// What holds now.
    pub now: &'a Held,
}

impl Config {
    /// What is different in `new`, in the order of the table.
    #[must_use]
    pub fn changes<'a>(&'a self, new: &'a Self) -> Vec<Change<'a>> {
        let change = |setting: &'static Setting| {
            let before = self.held.get(setting.name).unwrap_or(&Held::Nothing);
            let now = new.held.get(setting.name).unwrap_or(&Held::Nothing);
            // The same file can hold other keys than before.
            let is_key_file = KEY_FILES.contains(&setting.name) && *now != Held::Nothing;
            let rekeyed = is_key_file && self.peers.security != new.peers.security;
            (before != now || rekeyed).then_some(Change {
                setting,
                before,
                now,
            })
        };
        schema::settings().filter_map(change).collect()
    }

    /// This configuration with everything of `new` that a reload applies.
    #[must_use]
    pub fn with_live(&self, new: &Self) -> Self {
        let mut config = self.clone();
        config.warnings.clone_from(&new.warnings);
        config.node.tags.clone_from(&new.node.tags);
        config.handlers.specs.clone_from(&new.handlers.specs);
        config.children.clone_from(&new.children);
        config
            .process
            .log_filter
            .clone_from(&new.process.log_filter);
        config.process.leave_on_terminate = new.process.leave_on_terminate;
        config.process.leave_on_interrupt = new.process.leave_on_interrupt;
        config.process.leave_timeout = new.process.leave_timeout;
        config.process.drain_timeout = new.process.drain_timeout;
        for setting in schema::settings().filter(|setting| setting.live) {
            let held = new.held.get(setting.name).unwrap_or(&Held::Nothing);
            config.held.insert(setting.name, held.clone());
        }
        config
    }
}

/// What holds for each setting.
pub(super) fn held(config: &Config, layers: &Layers) -> BTreeMap<&'static str, Held> {
    let held = |setting: &Setting| match print::held(setting, config, layers) {
        None => Held::Nothing,
        Some(values) if setting.is_secret() => {
            Held::Secret(Sha256::digest(values.concat().as_bytes()).into())
        }
        Some(values) => Held::Texts(values),
    };
    schema::settings()
        .map(|setting| (setting.name, held(setting)))
        .collect()
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.setting.name;
        match (self.before, self.now) {
            (before, now) if before == now => write!(f, "{name}: the content of {now} changed"),
            (Held::Secret(_), _) | (_, Held::Secret(_)) => write!(f, "{name}: changed"),
            (before, now) => write!(f, "{name}: {before} -> {now}"),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Texts(texts) => match texts.as_slice() {
                [text] => write!(f, "{text:?}"),
                texts => write!(f, "{texts:?}"),
            },
            Self::Secret(_) => f.write_str("a secret"),
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Held {
        Held::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    fn shown(name: &str, before: &Held, now: &Held) -> String {
        let setting = schema::find(name).unwrap();
        let change = Change {
            setting,
            before,
            now,
        };
        change.to_string()
    }

    #[test]
    fn a_difference_is_one_line_and_shows_no_secret() {
        let (warn, both) = (texts(&["warn"]), texts(&["a=1", "b=2"]));
        assert_eq!(
            shown("log-filter", &warn, &texts(&["info"])),
            "log-filter: \"warn\" -> \"info\""
        );
        assert_eq!(
            shown("tag", &Held::Nothing, &both),
            "tag: nothing -> [\"a=1\", \"b=2\"]"
        );
        let secret = Held::Secret([7; 32]);
        assert_eq!(
            shown("token", &secret, &Held::Secret([8; 32])),
            "token: changed"
        );
        assert_eq!(shown("token", &Held::Nothing, &secret), "token: changed");
        let file = texts(&["/k"]);
        assert_eq!(
            shown("key-file", &file, &file),
            "key-file: the content of \"/k\" changed"
        );
        assert_eq!(format!("{secret:?}"), "a secret");
    }
}
