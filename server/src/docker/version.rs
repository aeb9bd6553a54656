//! Which version of the engine's API is spoken.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The newest version that is spoken: from 1.52 on `inspect` has lost
/// `NetworkSettings.IPAddress` and its like, and events their `status` and `id`.
const NEWEST: Version = Version(1, 51);

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u16, u16);

/// What was agreed on with an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Api {
    /// The version for paths.
    pub(super) version: Version,
    /// Version of the engine.
    pub(super) engine: String,
    /// The engine's clock at that moment, unix seconds.
    pub(super) clock: u64,
}

/// The answer to `GET /version`, as far as we need it.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(rename = "Version", default)]
    engine: String,
    #[serde(rename = "ApiVersion")]
    newest: String,
    #[serde(rename = "MinAPIVersion", default)]
    oldest: String,
}

impl Api {
    /// Agrees on the newest version that has all fields; an engine that is too new for
    /// that is spoken to in the oldest version that it takes.
    pub(super) fn agree(answer: Answer, clock: u64) -> Result<Self, String> {
        let newest: Version = answer.newest.parse()?;
        let oldest: Version = match answer.oldest.as_str() {
            "" => newest.min(NEWEST),
            text => text.parse()?,
        };
        let version = newest.min(NEWEST).max(oldest);
        Ok(Self {
            version,
            engine: answer.engine,
            clock,
        })
    }

    /// Whether fields are missing in what this engine says.
    pub(super) fn is_too_new(&self) -> bool {
        self.version > NEWEST
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('.').and_then(|(major, minor)| {
            let minor = minor.split('.').next()?;
            Some(Self(major.parse().ok()?, minor.parse().ok()?))
        });
        parsed.ok_or_else(|| format!("{text:?} is no version of the API"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(newest: &str, oldest: &str) -> Result<String, String> {
        let answer = Answer {
            engine: "1".to_owned(),
            newest: newest.to_owned(),
            oldest: oldest.to_owned(),
        };
        Api::agree(answer, 0).map(|api| api.version.to_string())
    }

    #[test]
    fn the_newest_version_with_all_fields_is_spoken() {
        for (newest, oldest, expected) in [
            ("1.41", "1.12", "1.41"),
            ("1.51", "1.24", "1.51"),
            ("1.56", "1.40", "1.51"),
            ("1.40", "", "1.40"),
            // No choice is left.
            ("1.70", "1.54", "1.54"),
            ("2.3", "1.44", "1.51"),
        ] {
            assert_eq!(agreed(newest, oldest), Ok(expected.to_owned()));
        }
        for newest in ["", "1", "a.b", "1.99999", "-1.2"] {
            assert!(agreed(newest, "").is_err(), "{newest:?}");
        }
    }
}
