//! `serfnode.yml`: who a node is and which children it has.
//!
//! The keys are serfnode's, with `directory` as the only new one. Every mistake is told
//! with its line, all at once.

mod read;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;

use super::forms::{Publish, Volume};

/// Largest `serfnode.yml`, bytes; a larger one is refused.
pub const YML_BYTES_MAX: u64 = 256 << 10;

/// Children of one node; a file with more is refused.
pub const CHILDREN_MAX: usize = 256;

/// Longest name of a child, bytes: it becomes part of a container's name and of a path.
pub const NAME_BYTES_MAX: usize = 63;

/// Mistakes of a file that are told; further ones are counted.
pub const MISTAKES_MAX: usize = 100;

/// Characters of one mistake that are told.
pub const MISTAKE_CHARS_MAX: usize = 512;

/// What a `serfnode.yml` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Yml {
    /// Settings of the node, as `setting name: (key, text)` gives them to the
    /// configuration.
    pub settings: Vec<NodeSetting>,
    /// Children, in the order in which they start.
    pub children: Vec<Child>,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

/// A setting of the node that the file gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSetting {
    /// The key below `serfnode`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// Where it stands.
    pub line: u64,
}

/// One child.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Child {
    /// Its name in the file.
    pub name: String,
    /// Image, with or without a tag.
    pub image: String,
    /// Arguments, or those of the image.
    pub command: Option<Vec<String>>,
    /// Program and its first arguments, or that of the image.
    pub entrypoint: Option<Vec<String>>,
    /// Ports to publish.
    pub ports: Vec<Publish>,
    /// Ports to expose, `80/tcp`.
    pub expose: Vec<String>,
    /// Links, `CONTAINER[:ALIAS]`; children by their names in the file.
    pub links: Vec<String>,
    /// Mounts.
    pub volumes: Vec<Volume>,
    /// Containers whose volumes it gets, `CONTAINER[:MODE]`; children by their names in
    /// the file.
    pub volumes_from: Vec<String>,
    /// Variables, each once; without a value it is the daemon's own.
    pub environment: Vec<(String, Option<String>)>,
    /// Working directory, or that of the image.
    pub working_dir: Option<String>,
    /// User, or that of the image.
    pub user: Option<String>,
    /// All capabilities and devices.
    pub privileged: bool,
    /// What is at `/serfnode`.
    pub directory: Directory,
}

impl Child {
    /// Gives it what all children have; its own words are stronger.
    pub fn share(&mut self, shared: &Self) {
        read::merge(self, shared);
    }
}

/// What a child finds at `/serfnode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Directory {
    /// Its own directory, read-only, with a FIFO of its own.
    #[default]
    Own,
    /// All volumes of the parent, as `--volumes-from` gives them, writable.
    Shared,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// Counted from 1; 0: nowhere in particular.
    pub line: u64,
    /// What is wrong and what is allowed.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

/// Reads a file.
///
/// # Errors
/// Every mistake in it.
pub fn parse(text: &str) -> Result<Yml, Vec<Mistake>> {
    let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if bytes > YML_BYTES_MAX {
        let what = format!("it has more than {YML_BYTES_MAX} bytes");
        return Err(vec![Mistake { line: 0, what }]);
    }
    let tree = tree::read(text).map_err(|mistake| vec![mistake])?;
    read::read(&tree)
}

/// Reads a list of texts, as serfnode's variables hold them.
///
/// # Errors
/// Every mistake in it.
pub fn list<T>(
    text: &str,
    what: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<Mistake>> {
    let tree = tree::read(text).map_err(|mistake| vec![mistake])?;
    read::list(&tree, what, read)
}

/// A mistake as it is told: keys and values of the file can be long.
fn cut(mut what: String) -> String {
    if let Some((end, _)) = what.char_indices().nth(MISTAKE_CHARS_MAX) {
        what.truncate(end);
        what.push_str("...");
    }
    what
}
