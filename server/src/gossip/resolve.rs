//! Names of peers to addresses, off the engine's path.

mod lookup;
mod seed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;

use super::mdns::Found;
use super::metrics::Counters;
pub use seed::{DEFAULT_PORT, Seed, SeedError};

/// Seeds of one node, and addresses of one join call. More are refused.
pub const SEEDS_MAX: usize = 64;

/// Addresses taken of one name; further ones are left out.
pub const ADDRESSES_PER_NAME_MAX: usize = 64;

/// What one text resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// As given.
    pub(crate) text: String,
    /// Its addresses, at least one, or what went wrong.
    pub(crate) addrs: Result<Vec<SocketAddr>, String>,
}

/// Resolves texts, all at once. Takes at most 5 s.
pub(crate) async fn resolve(texts: Vec<String>, counters: &Counters) -> Vec<Resolved> {
    let resolver = lookup::Names::for_texts(&texts).await;
    let resolver = &resolver;
    let all = texts.into_iter().map(|text| async move {
        let addrs = match text.parse::<Seed>() {
            Ok(seed) => resolver.addresses(&seed).await,
            Err(error) => Err(error.to_string()),
        };
        if addrs.is_err() {
            counters.resolve_failures.add(1);
        }
        Resolved { text, addrs }
    });
    join_all(all).await
}

/// The configured seeds: resolved again and again, each change told once.
#[derive(Debug)]
pub(crate) struct Seeds {
    texts: Vec<String>,
    /// What each failed with last.
    failures: BTreeMap<String, String>,
    /// Addresses found by other means.
    found: Option<Found>,
    counters: Arc<Counters>,
}

impl Seeds {
    /// Checks the texts.
    ///
    /// # Errors
    /// All that are no seeds, or that there are too many.
    pub(crate) fn new(texts: Vec<String>, counters: Arc<Counters>) -> anyhow::Result<Self> {
        if texts.len() > SEEDS_MAX {
            anyhow::bail!(
                "{} seeds are given, at most {SEEDS_MAX} are taken",
                texts.len()
            );
        }
        let bad: Vec<String> = texts
            .iter()
            .filter_map(|text| Some(format!("{text:?}: {}", text.parse::<Seed>().err()?)))
            .collect();
        if !bad.is_empty() {
            anyhow::bail!("cannot join {}", bad.join("; "));
        }
        Ok(Self {
            texts,
            failures: BTreeMap::new(),
            found: None,
            counters,
        })
    }

    /// Adds what is found by other means, whatever that is at the time.
    pub(crate) fn and_found(mut self, found: Option<Found>) -> Self {
        self.found = found;
        self
    }

    /// All addresses of all seeds now, without doubles.
    pub(crate) async fn resolve(&mut self) -> Vec<SocketAddr> {
        let mut addrs = BTreeSet::new();
        for resolved in resolve(self.texts.clone(), &self.counters).await {
            addrs.extend(self.note(resolved));
        }
        if let Some(found) = &self.found {
            addrs.extend(found.borrow().iter().copied());
        }
        addrs.into_iter().collect()
    }

    /// Logs what changed since the last time.
    fn note(&mut self, resolved: Resolved) -> Vec<SocketAddr> {
        let seed = resolved.text;
        match resolved.addrs {
            Ok(addrs) => {
                if self.failures.remove(&seed).is_some() {
                    tracing::info!(seed, "a seed resolves again");
                }
                addrs
            }
            Err(error) => {
                if self.failures.get(&seed) != Some(&error) {
                    tracing::warn!(seed, error, "cannot resolve a seed");
                    self.failures.insert(seed, error);
                }
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests;
