//! What `--event-handler` says: `[FILTER[,FILTER...]=]SCRIPT`.
//!
//! The words before the first `=` are serf's filters, and of ours: selectors
//! (`role:`, `tag:`, `name:`) and options (`timeout:`, `concurrency:`, `queue:`,
//! `json`, `redeliver`). A selector `tag:KEY=PATTERN` has a `=` of its own, the
//! first after `tag:`; the next one ends the words. Without any `=` everything is
//! the script.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use muster_engine::{Member, name};

use super::glob;

/// Longest specification, bytes.
pub const SPEC_BYTES_MAX: usize = 16 << 10;

/// Most words before the script.
pub const WORDS_MAX: usize = 64;

/// A kind of event that concerns members, in the order in which one batch tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberKind {
    /// A member left.
    Leave,
    /// A member failed.
    Failed,
    /// A member that had left or failed was forgotten.
    Reap,
    /// A member is there.
    Join,
    /// A member changed its address, tags or roles.
    Update,
}

impl MemberKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Leave,
        Self::Failed,
        Self::Reap,
        Self::Join,
        Self::Update,
    ];

    /// serf's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "member-leave",
            Self::Failed => "member-failed",
            Self::Reap => "member-reap",
            Self::Join => "member-join",
            Self::Update => "member-update",
        }
    }

    /// The kind of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a handler is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Everything.
    All,
    /// One kind of member event.
    Member(MemberKind),
    /// User events, of one name or any.
    User(Option<String>),
    /// Queries, of one name or any.
    Query(Option<String>),
}

impl Filter {
    /// `EVENT:NAME`, as serf's statistics name it; the name may be empty.
    #[must_use]
    pub fn key(&self) -> String {
        let (event, name) = match self {
            Self::All => ("*", None),
            Self::Member(kind) => (kind.as_str(), None),
            Self::User(name) => ("user", name.as_deref()),
            Self::Query(name) => ("query", name.as_deref()),
        };
        format!("{event}:{}", name.unwrap_or_default())
    }
}

/// Which members a handler is for: those that an event is about or comes from.
/// Within one part any pattern will do, all parts must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Patterns of names.
    pub names: Vec<String>,
    /// Patterns of roles, the tag `role` included.
    pub roles: Vec<String>,
    /// Patterns of values, by tag.
    pub tags: BTreeMap<String, Vec<String>>,
}

/// What a handler has instead of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Instead of `handler-timeout`.
    pub timeout: Option<Duration>,
    /// Instead of `handler-concurrency`.
    pub concurrency: Option<usize>,
    /// Instead of `handler-queue`.
    pub queue: Option<usize>,
    /// As `handler-json`.
    pub json: bool,
    /// As `handler-redeliver`.
    pub redeliver: bool,
}

/// One handler as it was specified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// As it was given; equal texts are the same handler.
    pub text: String,
    /// What it is for; never empty.
    pub filters: Vec<Filter>,
    /// Which members.
    pub selector: Selector,
    /// Its own settings.
    pub options: Options,
    /// What is run.
    pub script: String,
}

/// What is wrong with a specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A word that is none of ours.
    #[error("invalid event filter {0:?}; a script that holds '=' needs '*=' before it")]
    Filter(String),
    /// A word whose value makes no sense.
    #[error("{word:?}: {why}")]
    Value {
        /// The word.
        word: String,
        /// Why not.
        why: String,
    },
    /// Nothing to run.
    #[error("there is no script")]
    NoScript,
    /// Too long, or it holds a NUL.
    #[error("{0}")]
    Text(String),
}

impl Spec {
    /// Reads a specification. `duration` reads a duration such as `5s`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(
        text: &str,
        duration: impl Fn(&str) -> Result<Duration, String>,
    ) -> Result<Self, SpecError> {
        if text.len() > SPEC_BYTES_MAX || text.contains('\0') {
            let bytes = text.len();
            return Err(SpecError::Text(format!(
                "{bytes} bytes; at most {SPEC_BYTES_MAX} without NUL are allowed"
            )));
        }
        let (words, script) = split(text);
        let mut spec = Self {
            text: text.to_owned(),
            filters: Vec::new(),
            selector: Selector::default(),
            options: Options::default(),
            script: script.to_owned(),
        };
        if words.len() > WORDS_MAX {
            return Err(SpecError::Text(format!(
                "{} filters, at most {WORDS_MAX} are allowed",
                words.len()
            )));
        }
        for word in words {
            spec.word(word, &duration)?;
        }
        if spec.filters.is_empty() {
            spec.filters.push(Filter::All);
        }
        if spec.script.trim().is_empty() {
            return Err(SpecError::NoScript);
        }
        Ok(spec)
    }

    /// Whether it is for member events of a kind.
    #[must_use]
    pub fn wants_member(&self, kind: MemberKind) -> bool {
        let wants = |filter: &Filter| match filter {
            Filter::All => true,
            Filter::Member(wanted) => *wanted == kind,
            Filter::User(_) | Filter::Query(_) => false,
        };
        self.filters.iter().any(wants)
    }

    /// Whether it is for any member event.
    #[must_use]
    pub fn wants_members(&self) -> bool {
        MemberKind::ALL
            .into_iter()
            .any(|kind| self.wants_member(kind))
    }

    /// Whether it is for user events of a name.
    #[must_use]
    pub fn wants_user(&self, name: &str) -> bool {
        let wants = |filter: &Filter| match filter {
            Filter::All => true,
            Filter::User(wanted) => wanted.as_deref().is_none_or(|wanted| wanted == name),
            Filter::Member(_) | Filter::Query(_) => false,
        };
        self.filters.iter().any(wants)
    }

    /// Whether it is for any user event.
    #[must_use]
    pub fn wants_users(&self) -> bool {
        self.filters
            .iter()
            .any(|filter| matches!(filter, Filter::All | Filter::User(_)))
    }

    /// The names of the queries that it is for: `None` for no query at all, an empty
    /// list for every one.
    #[must_use]
    pub fn queries(&self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let mut any = false;
        for filter in &self.filters {
            match filter {
                Filter::All | Filter::Query(None) => return Some(Vec::new()),
                Filter::Query(Some(name)) => {
                    any = true;
                    names.push(name.clone());
                }
                Filter::Member(_) | Filter::User(_) => {}
            }
        }
        any.then_some(names)
    }

    fn word(
        &mut self,
        word: &str,
        duration: impl Fn(&str) -> Result<Duration, String>,
    ) -> Result<(), SpecError> {
        let bad = |why: &str| SpecError::Value {
            word: word.to_owned(),
            why: why.to_owned(),
        };
        let count = |value: &str, most: usize| {
            let number = value.parse().ok().filter(|n| (1..=most).contains(n));
            number.ok_or_else(|| bad(&format!("it is no number from 1 to {most}")))
        };
        match word.split_once(':') {
            None => self.plain(word)?,
            Some(("user", name)) => self.filters.push(Filter::User(event_name(name, bad)?)),
            Some(("query", name)) => self.filters.push(Filter::Query(event_name(name, bad)?)),
            Some(("name", pattern)) if !pattern.is_empty() => {
                self.selector.names.push(pattern.to_owned());
            }
            Some(("role", pattern)) if !pattern.is_empty() => {
                self.selector.roles.push(pattern.to_owned());
            }
            Some(("tag", tag)) => match tag.split_once('=') {
                Some((key, pattern)) if !key.is_empty() => {
                    let patterns = self.selector.tags.entry(key.to_owned()).or_default();
                    patterns.push(pattern.to_owned());
                }
                Some(_) | None => return Err(bad("it is not tag:KEY=PATTERN")),
            },
            Some(("timeout", value)) => {
                let timeout = duration(value).map_err(|why| bad(&why))?;
                if timeout.is_zero() {
                    return Err(bad("a handler without time cannot run"));
                }
                self.options.timeout = Some(timeout);
            }
            Some(("concurrency", value)) => {
                self.options.concurrency = Some(count(value, super::CONCURRENCY_MAX)?);
            }
            Some(("queue", value)) => self.options.queue = Some(count(value, super::QUEUE_MAX)?),
            Some(_) => return Err(SpecError::Filter(word.to_owned())),
        }
        Ok(())
    }

    fn plain(&mut self, word: &str) -> Result<(), SpecError> {
        match (word, MemberKind::parse(word)) {
            (_, Some(kind)) => self.filters.push(Filter::Member(kind)),
            // serf reads no filter at all as every event.
            ("*" | "", None) => self.filters.push(Filter::All),
            ("user", None) => self.filters.push(Filter::User(None)),
            ("query", None) => self.filters.push(Filter::Query(None)),
            ("json", None) => self.options.json = true,
            ("redeliver", None) => self.options.redeliver = true,
            _ => return Err(SpecError::Filter(word.to_owned())),
        }
        Ok(())
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Selector {
    /// Whether it lets everybody through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.roles.is_empty() && self.tags.is_empty()
    }

    /// Whether a member is selected.
    #[must_use]
    pub fn selects(&self, member: &Member) -> bool {
        let any = |patterns: &[String], text: &str| {
            patterns.iter().any(|pattern| glob::matches(pattern, text))
        };
        let tag = |key: &str| member.tags.get(key).map(String::as_str);
        let mut roles = member
            .roles
            .iter()
            .map(|role| role.name.as_str())
            .chain(tag("role"));
        let mut tags = self.tags.iter();
        (self.names.is_empty() || any(&self.names, &member.name))
            && (self.roles.is_empty() || roles.any(|role| any(&self.roles, role)))
            && tags.all(|(key, patterns)| tag(key).is_some_and(|value| any(patterns, value)))
    }

    /// Whether a member of whom only the name is known is selected.
    #[must_use]
    pub fn selects_name(&self, name: &str) -> bool {
        self.roles.is_empty()
            && self.tags.is_empty()
            && (self.names.is_empty()
                || self
                    .names
                    .iter()
                    .any(|pattern| glob::matches(pattern, name)))
    }
}

fn event_name(text: &str, bad: impl Fn(&str) -> SpecError) -> Result<Option<String>, SpecError> {
    // As serf: nothing after the colon is any name.
    if text.is_empty() {
        return Ok(None);
    }
    name::check_name(text).map_err(|error| bad(&error.to_string()))?;
    Ok(Some(text.to_owned()))
}

/// Words and script. `tag:` takes one `=` for itself.
fn split(text: &str) -> (Vec<&str>, &str) {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        let own = rest.starts_with("tag:");
        let skip = match (own, rest.find(['=', ','])) {
            (true, Some(at)) if rest[at..].starts_with('=') => at + 1,
            _ => 0,
        };
        let Some(end) = rest[skip..].find(['=', ',']).map(|at| at + skip) else {
            // No `=` ends the words: there are none.
            return (Vec::new(), text);
        };
        words.push(&rest[..end]);
        let is_last = rest[end..].starts_with('=');
        rest = &rest[end + 1..];
        if is_last {
            return (words, rest);
        }
    }
}

#[cfg(test)]
mod tests;
