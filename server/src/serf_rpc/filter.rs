//! Which members and which events a client wants.

use std::collections::BTreeMap;

use muster_engine::Member;
use muster_engine::name::check_name;
use regex::{Regex, RegexBuilder};

use super::limits::STREAM_FILTERS_MAX;
use super::record;
use super::request::MembersFiltered;
use crate::filter::{FILTER_TAGS_MAX, REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX};

/// A filter of members: expressions that must match the whole text.
#[derive(Debug)]
pub(crate) struct MemberFilter {
    name: Option<Regex>,
    status: Option<Regex>,
    tags: BTreeMap<String, Regex>,
}

impl MemberFilter {
    /// Compiles what was asked for.
    ///
    /// # Errors
    /// What is wrong, in serf's words as far as it has some.
    pub(crate) fn compile(asked: &MembersFiltered) -> Result<Self, String> {
        if asked.tags.len() > FILTER_TAGS_MAX {
            let count = asked.tags.len();
            return Err(format!(
                "{count} tags in the filter, at most {FILTER_TAGS_MAX} are allowed"
            ));
        }
        let tags = asked.tags.iter();
        let tags = tags.map(|(tag, pattern)| Ok((tag.clone(), whole(pattern)?)));
        let some = |pattern: &String| match pattern.as_str() {
            "" => Ok(None),
            pattern => whole(pattern).map(Some),
        };
        Ok(Self {
            tags: tags.collect::<Result<_, String>>()?,
            status: some(&asked.status)?,
            name: some(&asked.name)?,
        })
    }

    /// Whether a member is wanted. A tag that it does not have is empty.
    pub(crate) fn matches(&self, member: &Member) -> bool {
        let fits = |regex: &Option<Regex>, text: &str| {
            regex.as_ref().is_none_or(|regex| regex.is_match(text))
        };
        if !fits(&self.name, member.display_name())
            || !fits(&self.status, record::status(member.status))
        {
            return false;
        }
        if self.tags.is_empty() {
            return true;
        }
        let tags = record::tags(member);
        let has = |(tag, regex): (&String, &Regex)| {
            regex.is_match(tags.get(tag).map_or("", String::as_str))
        };
        self.tags.iter().all(has)
    }
}

fn whole(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > REGEX_BYTES_MAX {
        let bytes = pattern.len();
        return Err(format!(
            "Failed to compile regex: {bytes} bytes, at most {REGEX_BYTES_MAX} are allowed"
        ));
    }
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(REGEX_COMPILED_BYTES_MAX)
            .dfa_size_limit(REGEX_COMPILED_BYTES_MAX)
            .build()
    };
    // Alone first: `a)|(?:b` would escape the anchors and compile.
    let compiled = compile(pattern).and_then(|_alone| compile(&format!("^(?:{pattern})$")));
    compiled.map_err(|error| {
        let error = error.to_string();
        // The others draw the place, in several lines.
        let last = error.lines().last().unwrap_or_default();
        let why = last.trim().trim_start_matches("error: ");
        format!("Failed to compile regex: {why}: `{pattern}`")
    })
}

/// What happened to members, by serf's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemberChange {
    Join,
    Leave,
    Failed,
    Update,
    Reap,
}

impl MemberChange {
    pub(crate) const ALL: [Self; 5] = [
        Self::Join,
        Self::Leave,
        Self::Failed,
        Self::Update,
        Self::Reap,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "member-join",
            Self::Leave => "member-leave",
            Self::Failed => "member-failed",
            Self::Update => "member-update",
            Self::Reap => "member-reap",
        }
    }
}

/// One alternative of a stream's filter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    All,
    Member(MemberChange),
    User(Option<String>),
    Query(Option<String>),
}

/// A filter of events, as serf writes it: `member-join`, `user`, `user:NAME`, `query`,
/// `query:NAME`, `*`, several by comma; nothing is all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventFilter(Vec<Wanted>);

impl EventFilter {
    /// Reads a filter; nothing if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = if text.is_empty() { "*" } else { text };
        if text.matches(',').count() >= STREAM_FILTERS_MAX {
            return None;
        }
        let one = |part: &str| {
            let named = |prefix| part.strip_prefix(prefix).map(|name: &str| name.to_owned());
            let member = MemberChange::ALL.into_iter();
            Some(match part {
                "*" => Wanted::All,
                "user" => Wanted::User(None),
                "query" => Wanted::Query(None),
                _ => {
                    let user = named("user:").map(|name| Wanted::User(Some(name)));
                    let query = || named("query:").map(|name| Wanted::Query(Some(name)));
                    let mut member = member.filter(|change| change.as_str() == part);
                    user.or_else(query)
                        .or_else(|| member.next().map(Wanted::Member))?
                }
            })
        };
        text.split(',').map(one).collect::<Option<_>>().map(Self)
    }

    /// Whether any change of members is wanted.
    pub(crate) fn wants_members(&self) -> bool {
        let members = |wanted: &Wanted| matches!(wanted, Wanted::All | Wanted::Member(_));
        self.0.iter().any(members)
    }

    /// Whether this change of members is wanted.
    pub(crate) fn wants_change(&self, change: MemberChange) -> bool {
        let fits = |wanted: &Wanted| *wanted == Wanted::All || *wanted == Wanted::Member(change);
        self.0.iter().any(fits)
    }

    /// Names of the queries that are wanted, with `*` for all of them.
    pub(crate) fn queries(&self) -> Vec<String> {
        let names = self.0.iter().filter_map(|wanted| match wanted {
            Wanted::All | Wanted::Query(None) => Some("*".to_owned()),
            // No query can have another name.
            Wanted::Query(Some(name)) => check_name(name).ok().map(|()| name.clone()),
            Wanted::Member(_) | Wanted::User(_) => None,
        });
        names.collect()
    }

    /// Whether any user event is wanted.
    pub(crate) fn wants_events(&self) -> bool {
        let user = |wanted: &Wanted| matches!(wanted, Wanted::All | Wanted::User(_));
        self.0.iter().any(user)
    }

    /// Whether a user event of this name is wanted.
    pub(crate) fn wants_event(&self, name: &str) -> bool {
        self.0.iter().any(|wanted| match wanted {
            Wanted::All | Wanted::User(None) => true,
            Wanted::User(Some(wanted)) => wanted == name,
            Wanted::Member(_) | Wanted::Query(_) => false,
        })
    }
}

#[cfg(test)]
mod tests;
