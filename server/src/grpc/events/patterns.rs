//! Which events a watch wants.

use std::collections::BTreeSet;

use muster_engine::name::{NAME_BYTES_MAX, check_name};
use tonic::Status;

use super::super::limits::EVENT_PATTERNS_MAX;
use super::super::status::invalid;

/// Names and prefixes; equal for requests that mean the same. Empty: every event.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Patterns {
    names: BTreeSet<String>,
    prefixes: BTreeSet<String>,
}

impl Patterns {
    /// Checks patterns: event names, or prefixes of such with a final `*`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub(crate) fn compile(given: &[String]) -> Result<Self, Status> {
        let refuse = |message: String| invalid("BAD_PATTERN", "names", message);
        if given.len() > EVENT_PATTERNS_MAX {
            let count = given.len();
            let limit = EVENT_PATTERNS_MAX;
            return Err(refuse(format!(
                "{count} patterns, at most {limit} are allowed"
            )));
        }
        let mut patterns = Self::default();
        for pattern in given {
            match pattern.strip_suffix('*') {
                Some("") => return Ok(Self::default()),
                Some(prefix) => {
                    // A prefix may end in what a name may not end in.
                    let stem = prefix.trim_end_matches(['.', '_', '-']);
                    let short = prefix.len() <= NAME_BYTES_MAX;
                    if !short || check_name(stem).is_err() {
                        return Err(refuse(format!("{pattern:?} is no prefix of a name")));
                    }
                    patterns.prefixes.insert(prefix.to_owned());
                }
                None => {
                    let checked = check_name(pattern);
                    checked.map_err(|error| refuse(format!("{pattern:?}: {error}")))?;
                    patterns.names.insert(pattern.clone());
                }
            }
        }
        Ok(patterns)
    }

    /// Whether an event of that name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let all = self.names.is_empty() && self.prefixes.is_empty();
        let prefixed = |prefix: &String| name.starts_with(prefix.as_str());
        all || self.names.contains(name) || self.prefixes.iter().any(prefixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(given: &[&str]) -> Result<Patterns, Status> {
        let given: Vec<_> = given.iter().map(|text| (*text).to_owned()).collect();
        Patterns::compile(&given)
    }

    #[test]
    fn names_are_exact_and_prefixes_end_in_a_star() {
        let patterns = compile(&["deploy", "web.*", "db-*"]).unwrap();
        for (name, wanted) in [
            ("deploy", true),
            ("deploy2", false),
            ("web.up", true),
            ("web", false),
            ("db-1", true),
            ("other", false),
        ] {
            assert_eq!(patterns.wants(name), wanted, "{name}");
        }
        assert!(compile(&[]).unwrap().wants("x"));
        assert_eq!(compile(&["deploy", "*"]).unwrap(), Patterns::default());
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["", "a b", "*a", "a*b", ".*", "a**"] {
            assert!(compile(&[bad]).is_err(), "{bad:?}");
        }
        assert!(compile(&vec!["a"; EVENT_PATTERNS_MAX + 1]).is_err());
    }
}
