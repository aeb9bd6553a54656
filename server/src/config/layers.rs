//! Who gave which setting: the strongest source of each wins.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{Problem, Problems, Source};
use super::schema::{self, Default, Setting};

/// What somebody gave for one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where.
    pub(super) source: Source,
    /// As text; more than one only for lists.
    pub(super) values: Vec<String>,
    /// Where each value came from, for lists that several places gave together.
    origins: Vec<Source>,
}

impl Entry {
    fn origin(&self, index: usize) -> &Source {
        self.origins.get(index).unwrap_or(&self.source)
    }
}

/// Settings as given, before they are read. Stronger sources replace weaker ones
/// whole: lists are not merged.
#[derive(Debug, Default)]
pub(super) struct Layers {
    entries: BTreeMap<&'static str, Entry>,
    problems: Vec<Problem>,
    /// Settings that somebody meant to give and got wrong.
    meant: BTreeSet<String>,
    warnings: Vec<String>,
    of_serf: bool,
}

impl Layers {
    /// For the command line of serf's agent.
    pub(super) fn of_serf() -> Self {
        Self {
            of_serf: true,
            ..Self::default()
        }
    }

    /// Whether it is the command line of serf's agent that is read.
    #[must_use]
    pub(super) fn is_of_serf(&self) -> bool {
        self.of_serf
    }

    /// Sets a setting unless a stronger source did.
    pub(super) fn put(&mut self, setting: &'static Setting, source: Source, values: Vec<String>) {
        let weaker = |entry: &Entry| entry.source <= source;
        if self.entries.get(setting.name).is_none_or(weaker) {
            let entry = Entry {
                source,
                values,
                origins: Vec::new(),
            };
            self.entries.insert(setting.name, entry);
        }
    }

    /// Adds one value to a list, whoever gave those before: this is how the files and
    /// flags of serf's agent add up.
    pub(super) fn add(&mut self, setting: &'static Setting, source: Source, value: String) {
        let entry = self.entries.entry(setting.name).or_insert_with(|| Entry {
            source: source.clone(),
            values: Vec::new(),
            origins: Vec::new(),
        });
        entry.source = entry.source.clone().max(source.clone());
        entry.values.push(value);
        entry.origins.push(source);
    }

    /// Notes that a setting was meant where a mistake was made, so that its absence
    /// is not told as a second one.
    pub(super) fn meant(&mut self, name: &str) {
        self.meant.insert(name.to_owned());
    }

    /// Whether a setting was given, rightly or wrongly.
    #[must_use]
    pub(super) fn is_meant(&self, name: &str) -> bool {
        self.entries.contains_key(name) || self.meant.contains(name)
    }

    /// What was given for a setting.
    #[must_use]
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The only value of a setting that is no list.
    #[must_use]
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.entry(name)?.values.first().map(String::as_str)
    }

    /// Notes a mistake.
    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Notes a mistake in what was given for a setting.
    pub(super) fn refuse(&mut self, name: &str, why: &str) {
        let entry = self.entries.get(name);
        let problem = match (schema::find(name), entry) {
            (Some(setting), Some(entry)) => {
                Problem::value(&entry.source, setting, &entry.values.join(","), why)
            }
            _ => Problem::at(name, why),
        };
        self.problems.push(problem);
    }

    /// Notes something that a person should look at.
    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Takes what should be warned of.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Fails with every mistake noted so far.
    ///
    /// # Errors
    /// If there is any.
    pub(super) fn finish(&mut self) -> Result<(), Problems> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Problems(std::mem::take(&mut self.problems)))
    }

    /// Reads a setting that has a default in the table. A bad value is noted and
    /// the default is returned, so that the other settings are still checked.
    pub(super) fn value<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> T {
        let given = self.optional(name, &read);
        given.unwrap_or_else(|| {
            let default = match schema::find(name).map(|setting| setting.default) {
                Some(Default::Text(text)) => text,
                Some(Default::None | Default::Derived(_)) | None => "",
            };
            #[expect(
                clippy::expect_used,
                reason = "a test reads every default of the table"
            )]
            read(default).expect("defaults of the table can be read")
        })
    }

    /// Reads a setting that may be absent. A bad value is noted and counts as absent.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.list(name, read).pop()
    }

    /// Reads every item of a list; bad ones are noted and left out.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(setting) = schema::find(name) else {
            return Vec::new();
        };
        let Some(entry) = self.entries.get(name) else {
            return Vec::new();
        };
        let mut items = Vec::with_capacity(entry.values.len());
        for (index, value) in entry.values.iter().enumerate() {
            match read(value) {
                Ok(item) => items.push(item),
                Err(why) => {
                    let problem = Problem::value(entry.origin(index), setting, value, &why);
                    self.problems.push(problem);
                }
            }
        }
        items
    }
}
