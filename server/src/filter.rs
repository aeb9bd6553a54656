//! Member filters: checked and compiled, and as bytes that travel with events and
//! queries (an encoded `muster.v1.MemberFilter`, the *target*).

pub mod target;

use std::collections::{BTreeMap, BTreeSet};

use muster_engine::{Member, Status as MemberStatus};
use muster_proto::v1 as pb;
use prost::Message as _;
use regex::{Regex, RegexBuilder};

pub use self::target::Targets;

/// Longest regular expression of a filter.
pub const REGEX_BYTES_MAX: usize = 256;

/// Largest compiled regular expression of a filter. Larger ones are refused.
pub const REGEX_COMPILED_BYTES_MAX: usize = 256 << 10;

/// Names in a filter.
pub const FILTER_NAMES_MAX: usize = 256;

/// Roles in a filter.
pub const FILTER_ROLES_MAX: usize = 64;

/// Tag conditions in a filter.
pub const FILTER_TAGS_MAX: usize = 16;

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FilterError {
    /// For programs.
    pub reason: &'static str,
    /// The part, with its path in the filter.
    pub field: String,
    /// For people.
    pub message: String,
}

fn invalid(reason: &'static str, field: &str, message: impl ToString) -> FilterError {
    FilterError {
        reason,
        field: field.to_owned(),
        message: message.to_string(),
    }
}

/// A filter that was checked. Equal filters have equal keys, in whatever order
/// their parts were given.
#[derive(Debug)]
pub struct Filter {
    names: BTreeSet<String>,
    roles: BTreeSet<String>,
    statuses: BTreeSet<MemberStatus>,
    tags: Vec<(String, Regex)>,
    name: Option<Regex>,
    key: Vec<u8>,
}

impl Filter {
    /// Checks and compiles.
    ///
    /// # Errors
    /// Which part is wrong.
    pub fn compile(filter: pb::MemberFilter) -> Result<Self, FilterError> {
        bound("filter.names", filter.names.len(), FILTER_NAMES_MAX)?;
        bound("filter.roles", filter.roles.len(), FILTER_ROLES_MAX)?;
        bound("filter.tags", filter.tags.len(), FILTER_TAGS_MAX)?;
        let statuses = statuses(&filter.statuses)?;
        let mut tags = Vec::new();
        for (key, pattern) in &filter.tags {
            tags.push((
                key.clone(),
                regex(&format!("filter.tags[{key:?}]"), pattern)?,
            ));
        }
        let name = match filter.name_regex.as_str() {
            "" => None,
            pattern => Some(regex("filter.name_regex", pattern)?),
        };
        let names: BTreeSet<_> = filter.names.into_iter().collect();
        let roles: BTreeSet<_> = filter.roles.into_iter().collect();
        let key = key(&names, &roles, &statuses, filter.tags, filter.name_regex);
        Ok(Self {
            names,
            roles,
            statuses,
            tags,
            name,
            key,
        })
    }

    /// The filter of a target that travelled; an empty one matches everybody.
    ///
    /// # Errors
    /// It is no filter, or has parts that this version does not know: it would match
    /// more than was meant.
    pub fn decode(target: &[u8]) -> Result<Self, FilterError> {
        let filter = pb::MemberFilter::decode(target)
            .map_err(|error| invalid("BAD_TARGET", "filter", error))?;
        if filter.encoded_len() != target.len() {
            let message = "it has parts that this version does not know";
            return Err(invalid("BAD_TARGET", "filter", message));
        }
        Self::compile(filter)
    }

    /// The filter that only asks for a role.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub fn role(role: &str) -> Result<Self, FilterError> {
        Self::compile(pb::MemberFilter {
            roles: vec![role.to_owned()],
            ..pb::MemberFilter::default()
        })
    }

    /// Equal for equal filters: the filter encoded, empty if it matches everybody.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether a member fits.
    #[must_use]
    pub fn matches(&self, member: &Member) -> bool {
        let any = |set: &BTreeSet<String>, name: &str| set.is_empty() || set.contains(name);
        let role = || {
            let mut roles = member.roles.iter();
            self.roles.is_empty() || roles.any(|role| self.roles.contains(&role.name))
        };
        let tag = |(key, regex): &(String, Regex)| {
            regex.is_match(member.tags.get(key).map_or("", String::as_str))
        };
        (self.statuses.is_empty() || self.statuses.contains(&member.status))
            && any(&self.names, member.display_name())
            && role()
            && self.tags.iter().all(tag)
            && self
                .name
                .as_ref()
                .is_none_or(|name| name.is_match(&member.name))
    }
}

/// The filter in one spelling.
fn key(
    names: &BTreeSet<String>,
    roles: &BTreeSet<String>,
    statuses: &BTreeSet<MemberStatus>,
    tags: BTreeMap<String, String>,
    name_regex: String,
) -> Vec<u8> {
    let statuses = statuses.iter().map(|status| status_number(*status));
    let filter = pb::MemberFilter {
        names: names.iter().cloned().collect(),
        roles: roles.iter().cloned().collect(),
        statuses: statuses.collect(),
        tags,
        name_regex,
    };
    filter.encode_to_vec()
}

fn status_number(status: MemberStatus) -> i32 {
    let status = match status {
        MemberStatus::Alive => pb::MemberStatus::Alive,
        MemberStatus::Suspect => pb::MemberStatus::Suspect,
        MemberStatus::Leaving => pb::MemberStatus::Leaving,
        MemberStatus::Left => pb::MemberStatus::Left,
        MemberStatus::Failed => pb::MemberStatus::Failed,
    };
    status.into()
}

fn status_from(status: pb::MemberStatus) -> Option<MemberStatus> {
    match status {
        pb::MemberStatus::Unspecified => None,
        pb::MemberStatus::Alive => Some(MemberStatus::Alive),
        pb::MemberStatus::Suspect => Some(MemberStatus::Suspect),
        pb::MemberStatus::Leaving => Some(MemberStatus::Leaving),
        pb::MemberStatus::Left => Some(MemberStatus::Left),
        pb::MemberStatus::Failed => Some(MemberStatus::Failed),
    }
}

fn bound(field: &str, count: usize, limit: usize) -> Result<(), FilterError> {
    if count > limit {
        let message = format!("{count} entries, at most {limit} are allowed");
        return Err(invalid("TOO_MANY_ENTRIES", field, message));
    }
    Ok(())
}

fn statuses(given: &[i32]) -> Result<BTreeSet<MemberStatus>, FilterError> {
    let known = |number: &i32| {
        let status = pb::MemberStatus::try_from(*number).ok();
        status.and_then(status_from).ok_or_else(|| {
            let message = format!("{number} is no member status");
            invalid("BAD_STATUS", "filter.statuses", message)
        })
    };
    given.iter().map(known).collect()
}

/// Compiles an expression so that it must match the whole text.
fn regex(field: &str, pattern: &str) -> Result<Regex, FilterError> {
    if pattern.len() > REGEX_BYTES_MAX {
        let bytes = pattern.len();
        let message = format!("{bytes} bytes, at most {REGEX_BYTES_MAX} are allowed");
        return Err(invalid("BAD_REGEX", field, message));
    }
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(REGEX_COMPILED_BYTES_MAX)
            .dfa_size_limit(REGEX_COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| invalid("BAD_REGEX", field, error))
    };
    // Alone first: `a)|(?:b` would escape the anchors and compile.
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests;
