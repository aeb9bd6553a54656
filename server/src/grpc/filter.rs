//! Compiled member filters.

use std::collections::{BTreeMap, BTreeSet};

use muster_engine::{Member, Status as MemberStatus};
use muster_proto::v1 as pb;
use prost::Message as _;
use regex::{Regex, RegexBuilder};
use tonic::Status;

use super::convert;
use super::limits::{
    FILTER_NAMES_MAX, FILTER_ROLES_MAX, FILTER_TAGS_MAX, REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX,
};
use super::status::invalid;

/// A filter that was checked. Equal filters have equal keys, in whatever order
/// their parts were given.
#[derive(Debug)]
pub(crate) struct Filter {
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
    /// INVALID_ARGUMENT that names the part.
    pub(crate) fn compile(filter: pb::MemberFilter) -> Result<Self, Status> {
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

    /// The filter that only asks for a role.
    pub(crate) fn role(role: &str) -> Result<Self, Status> {
        Self::compile(pb::MemberFilter {
            roles: vec![role.to_owned()],
            ..pb::MemberFilter::default()
        })
    }

    /// Equal for equal filters.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether a member is in the view.
    pub(crate) fn matches(&self, member: &Member) -> bool {
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
    let statuses = statuses
        .iter()
        .map(|status| convert::status(*status).into());
    let filter = pb::MemberFilter {
        names: names.iter().cloned().collect(),
        roles: roles.iter().cloned().collect(),
        statuses: statuses.collect(),
        tags,
        name_regex,
    };
    filter.encode_to_vec()
}

fn bound(field: &str, count: usize, limit: usize) -> Result<(), Status> {
    if count > limit {
        let message = format!("{count} entries, at most {limit} are allowed");
        return Err(invalid("TOO_MANY_ENTRIES", field, message));
    }
    Ok(())
}

fn statuses(given: &[i32]) -> Result<BTreeSet<MemberStatus>, Status> {
    let known = |number: &i32| {
        let status = pb::MemberStatus::try_from(*number).ok();
        status.and_then(convert::status_from).ok_or_else(|| {
            let message = format!("{number} is no member status");
            invalid("BAD_STATUS", "filter.statuses", message)
        })
    };
    given.iter().map(known).collect()
}

/// Compiles an expression so that it must match the whole text.
fn regex(field: &str, pattern: &str) -> Result<Regex, Status> {
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
