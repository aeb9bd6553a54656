//! What became of the files of each child.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::hub::containers::summary::{ChildFiles, Files};

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

    /// What keeps files away, `FILE[, FILE]: WHY[; FILE: WHY]`: what is so for several is
    /// said once. Empty where nothing does.
    fn problem(&self) -> String {
        let mut problems: Vec<(String, &str)> = Vec::new();
        for (file, state) in self.files() {
            let FileState::Undeliverable(why) = state else {
                continue;
            };
            match problems.iter_mut().find(|(_, known)| known == why) {
                Some((files, _)) => {
                    files.push_str(", ");
                    files.push_str(file);
                }
                None => problems.push((file.to_owned(), why)),
            }
        }
        let said = problems
            .iter()
            .map(|(files, why)| format!("{files}: {why}"));
        said.collect::<Vec<_>>().join("; ")
    }
}

/// What the cluster is told of it.
#[must_use]
pub fn told(deliveries: &Deliveries) -> ChildFiles {
    let told = deliveries.values().map(|delivery| {
        let bad = delivery.problem();
        let pending = || {
            delivery
                .files()
                .any(|(_, state)| *state == FileState::Pending)
        };
        let files = match bad.is_empty() {
            false => Files::undeliverable(&bad),
            true if pending() => Files::Pending,
            true => Files::Delivered,
        };
        (Arc::clone(&delivery.id), files)
    });
    told.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_told_of_the_worst() {
        let of = |me: FileState, hosts: FileState| {
            let delivery = Delivery {
                id: Arc::from("aa"),
                me,
                serfnode: FileState::Delivered,
                hosts,
            };
            let all = Deliveries::from([("web".to_owned(), delivery)]);
            told(&all).remove("aa").unwrap()
        };
        let bad = |why: &str| FileState::Undeliverable(why.to_owned());
        assert_eq!(
            of(FileState::Delivered, FileState::Delivered),
            Files::Delivered
        );
        assert_eq!(of(FileState::Delivered, FileState::Pending), Files::Pending);
        assert_eq!(
            of(bad("locked"), FileState::Pending),
            Files::undeliverable("/me.json: locked")
        );
        assert_eq!(
            of(bad("locked"), bad("away")).problem(),
            "/me.json: locked; /etc/hosts: away"
        );
        assert_eq!(
            of(bad("locked"), bad("locked")).problem(),
            "/me.json, /etc/hosts: locked"
        );
    }
}
