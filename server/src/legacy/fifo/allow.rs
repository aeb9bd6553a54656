//! Which events a child may send.

use crate::queries::Patterns;

/// Label of a container that lists them: `name,name*`.
pub const EVENTS_LABEL: &str = "muster.events";

/// Which events a child may send. Reserved names are never among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Allow {
    /// All.
    #[default]
    All,
    /// Those with such names.
    Names(Patterns),
    /// None, because the list makes no sense: what is wrong with it.
    Nothing(String),
}

impl Allow {
    /// What the value of [`EVENTS_LABEL`] allows: names, or prefixes with a final `*`,
    /// by comma; no label: all.
    #[must_use]
    pub fn from_label(value: Option<&str>) -> Self {
        let Some(value) = value else {
            return Self::All;
        };
        let names = value.split(',').map(|name| name.trim().to_owned());
        match Patterns::new(names.filter(|name| !name.is_empty()).collect()) {
            Ok(patterns) => Self::Names(patterns),
            Err(error) => Self::Nothing(format!("label {EVENTS_LABEL}: {error}")),
        }
    }

    /// Whether an event of that name may be sent.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        match self {
            Self::All => Ok(()),
            Self::Names(patterns) if patterns.matches(name) => Ok(()),
            Self::Names(_) => Err(format!(
                "the event name {name:?} is not in its label {EVENTS_LABEL}"
            )),
            Self::Nothing(why) => Err(why.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_lists_names_and_prefixes() {
        assert_eq!(Allow::from_label(None), Allow::All);
        assert_eq!(Allow::All.check("anything"), Ok(()));
        let allow = Allow::from_label(Some("deploy, web-* ,"));
        assert!(allow.check("deploy").is_ok() && allow.check("web-up").is_ok());
        let why = allow.check("supervisor").unwrap_err();
        assert!(
            why.contains("supervisor") && why.contains("muster.events"),
            "{why}"
        );
    }

    #[test]
    fn a_label_that_makes_no_sense_allows_nothing() {
        for label in ["", "a b", "-x", "_muster_*", "**"] {
            let why = Allow::from_label(Some(label)).check("a").unwrap_err();
            assert!(why.contains("label muster.events"), "{label:?}: {why}");
        }
    }
}
