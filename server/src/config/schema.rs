//! The one table of settings. Flags, environment variables, file keys, `--help`
//! and `docs/configuration.md` all come from it.

mod api;
mod bounds;
mod commands;
mod containers;
mod handlers;
mod keys;
mod node;
mod peers;
mod process;
mod serf;

/// Where a setting may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Flag, environment and file.
    Everywhere,
    /// Flag and environment, not in the file: it says where the file is.
    FlagAndEnv,
    /// Flag only: it asks for something else than a running daemon.
    FlagOnly,
    /// Environment only: a secret that must not show in the list of processes.
    EnvOnly,
}

/// What holds when a setting is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// Nothing.
    None,
    /// This text, read as if it had been given.
    Text(&'static str),
    /// Worked out at start; the text says how.
    Derived(&'static str),
}

/// How a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// Repeated flag, list in the file, list by comma in the environment.
    List,
    /// `KEY=VALUE` items: as a list, or a table in the file.
    Pairs,
    /// A flag without value; `true` or `false` elsewhere.
    Switch,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name: `--name`, and the key in the file.
    pub name: &'static str,
    /// Its environment variable where that is not `MUSTER_` and the name.
    pub variable: Option<&'static str>,
    /// What a value is called in help.
    pub hint: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// Where it may be given.
    pub given: Given,
    /// What holds otherwise.
    pub default: Default,
    /// What is allowed, for errors and the reference.
    pub allowed: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Whether a reload applies it; others hold from the next start.
    pub live: bool,
}

/// Settings that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Heading.
    pub title: &'static str,
    /// Its settings, in the order of the reference.
    pub settings: &'static [Setting],
}

impl Setting {
    /// The environment variable, if there is one.
    #[must_use]
    pub fn env(&self) -> Option<String> {
        match self.given {
            Given::FlagOnly => None,
            Given::Everywhere | Given::FlagAndEnv | Given::EnvOnly => {
                Some(self.variable.map_or_else(
                    || format!("MUSTER_{}", self.name.to_uppercase().replace('-', "_")),
                    str::to_owned,
                ))
            }
        }
    }

    /// Whether there is a flag for it.
    #[must_use]
    pub const fn has_flag(&self) -> bool {
        !matches!(self.given, Given::EnvOnly)
    }

    /// Whether the file may hold it.
    #[must_use]
    pub const fn in_file(&self) -> bool {
        matches!(self.given, Given::Everywhere)
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.given, Given::EnvOnly)
    }

    const fn variable(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }

    const fn given(mut self, given: Given) -> Self {
        self.given = given;
        self
    }

    const fn live(mut self) -> Self {
        self.live = true;
        self
    }

    const fn or(mut self, text: &'static str) -> Self {
        self.default = Default::Text(text);
        self
    }

    const fn derived(mut self, how: &'static str) -> Self {
        self.default = Default::Derived(how);
        self
    }
}

/// All settings, in order.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// The setting of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.name == name)
}

const fn setting(
    shape: Shape,
    name: &'static str,
    hint: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        name,
        variable: None,
        hint,
        shape,
        given: Given::Everywhere,
        default: Default::None,
        allowed,
        doc,
        live: false,
    }
}

const fn one(
    name: &'static str,
    hint: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    setting(Shape::One, name, hint, allowed, doc)
}

const fn list(
    name: &'static str,
    hint: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    setting(Shape::List, name, hint, allowed, doc)
}

const fn pairs(
    name: &'static str,
    hint: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    setting(Shape::Pairs, name, hint, allowed, doc)
}

const fn switch(name: &'static str, doc: &'static str) -> Setting {
    setting(Shape::Switch, name, "BOOL", BOOL, doc).or("false")
}

const NAME: &str = "1 to 128 letters, digits, '.', '_' and '-', a letter or digit first and last";
const BOOL: &str = "true or false";
const PATH: &str = "a path";
const SOCKET: &str = "a path of at most 107 bytes";

/// The table.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "Node",
        settings: node::NODE,
    },
    Section {
        title: "Peers",
        settings: peers::PEERS,
    },
    Section {
        title: "Keys",
        settings: keys::KEYS,
    },
    Section {
        title: "API sockets",
        settings: api::API,
    },
    Section {
        title: "serf's interfaces",
        settings: serf::SERF,
    },
    Section {
        title: "Events and members",
        settings: bounds::BOUNDS,
    },
    Section {
        title: "Handlers",
        settings: handlers::HANDLERS,
    },
    Section {
        title: "Containers",
        settings: containers::CONTAINERS,
    },
    Section {
        title: "Process",
        settings: process::PROCESS,
    },
    Section {
        title: "Commands",
        settings: commands::COMMANDS,
    },
];

/// The filter that holds when none is given.
pub const DEFAULT_LOG_FILTER: &str = "warn,musterd=info,muster_engine=info";
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_variables_are_unique() {
        let names: BTreeSet<_> = settings().map(|setting| setting.name).collect();
        assert_eq!(names.len(), settings().count());
        let variables: Vec<_> = settings().filter_map(Setting::env).collect();
        let distinct: BTreeSet<_> = variables.iter().collect();
        assert_eq!(distinct.len(), variables.len());
    }

    #[test]
    fn every_text_is_a_sentence_and_every_limit_is_told() {
        for setting in settings() {
            assert!(setting.doc.ends_with(['.', ')']), "{}", setting.name);
            assert!(!setting.allowed.is_empty(), "{}", setting.name);
            assert!(!setting.hint.is_empty(), "{}", setting.name);
        }
    }
}
