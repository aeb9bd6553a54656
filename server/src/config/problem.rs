//! What is wrong with a configuration, all of it at once.

use std::fmt;
use std::path::PathBuf;

use super::schema::Setting;

/// Where a value came from, weakest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody gave it.
    Default,
    /// What serf's agent takes where nobody gave it.
    SerfDefault,
    /// The file.
    File(PathBuf),
    /// A key in a JSON file of serf's agent.
    SerfFile(PathBuf, &'static str),
    /// A key below `serfnode` in a serfnode.yml.
    SerfnodeYml(PathBuf, &'static str),
    /// A variable of serfnode's image.
    SerfnodeVariable(&'static str),
    /// The environment.
    Environment,
    /// A flag.
    Flag,
    /// A flag of serf's agent, without its dash.
    SerfFlag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::SerfDefault => f.write_str("default of serf"),
            Self::File(path) | Self::SerfFile(path, _) | Self::SerfnodeYml(path, _) => {
                write!(f, "file {}", path.display())
            }
            Self::Environment | Self::SerfnodeVariable(_) => f.write_str("environment"),
            Self::Flag | Self::SerfFlag(_) => f.write_str("flag"),
        }
    }
}

impl Source {
    /// How a setting is called where it was given.
    #[must_use]
    pub fn key(&self, setting: &Setting) -> String {
        match self {
            Self::Default | Self::SerfDefault | Self::File(_) => setting.name.to_owned(),
            Self::SerfFile(_, key) => (*key).to_owned(),
            Self::SerfnodeYml(_, key) => format!("serfnode.{key}"),
            Self::SerfnodeVariable(name) => (*name).to_owned(),
            Self::SerfFlag(flag) => format!("-{flag}"),
            Self::Environment => setting.env().unwrap_or_else(|| setting.name.to_owned()),
            Self::Flag => format!("--{}", setting.name),
        }
    }
}

/// One mistake: one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where and what, as in `flag --bind "x"`.
    pub place: String,
    /// What is wrong and what is allowed.
    pub why: String,
}

impl Problem {
    /// A value of a setting that is not allowed.
    #[must_use]
    pub fn value(source: &Source, setting: &Setting, value: &str, why: &str) -> Self {
        let key = source.key(setting);
        let place = if setting.is_secret() {
            format!("{source} {key}")
        } else {
            format!("{source} {key} {value:?}")
        };
        Self {
            place,
            why: format!("{why}; allowed: {}", setting.allowed),
        }
    }

    /// Something else at a place.
    #[must_use]
    pub fn at(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            why: why.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.why)
        } else {
            write!(f, "{}: {}", self.place, self.why)
        }
    }
}

/// Every mistake of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
