//! What became of the files of each child.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of one file of one child.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FileState {
    /// On its way, or waiting for the container to run.
    #[default]
    Pending,
    /// It is there and says what it should.
    Delivered,
    /// It cannot be there: why, and what to do about it.
    Undeliverable(String),
}

/// What became of the files of one child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Full id of the container: one of the same name may follow it.
    pub id: Arc<str>,
    /// `/me.json` in the child.
    pub me: FileState,
    /// The files in `/serfnode` of the child. Those of its own directory are there
    /// before it can be started.
    pub serfnode: FileState,
    /// The lines in its `/etc/hosts`.
    pub hosts: FileState,
}

/// What became of all files for children, by name of the container.
pub type Deliveries = BTreeMap<String, Delivery>;

impl Delivery {
    /// The files, by the path that people know.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &FileState)> {
        let files = [
            ("/me.json", &self.me),
            ("/serfnode", &self.serfnode),
            ("/etc/hosts", &self.hosts),
        ];
        files.into_iter()
    }
}

/// The files that cannot be where they belong, as sentences.
#[must_use]
pub fn undeliverable(deliveries: &Deliveries) -> Vec<String> {
    let mut sentences = Vec::new();
    for (child, delivery) in deliveries {
        for (file, state) in delivery.files() {
            if let FileState::Undeliverable(why) = state {
                sentences.push(format!("{file} of child {child} is undeliverable: {why}"));
            }
        }
    }
    sentences
}
