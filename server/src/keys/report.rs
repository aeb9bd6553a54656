//! What an operation came to, member by member.

use std::collections::BTreeMap;

use muster_engine::Stage;
use muster_engine::crypto::KeyId;

use super::exchange::{Answered, Held};
use super::ring::Ring;

/// The keys of the cluster after an operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyReport {
    /// By id.
    pub keys: Vec<KeySummary>,
    /// Everybody that was asked, by name.
    pub members: Vec<MemberKeys>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// Its id.
    pub id: KeyId,
    /// Members that hold it.
    pub members: usize,
    /// Members that seal with it.
    pub primary_members: usize,
    /// When it will be removed, milliseconds since 1970.
    pub retire_at_unix_ms: Option<u64>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberKeys {
    /// Its name, or alias.
    pub member: String,
    /// Why it is not as it was asked to be.
    pub error: Option<String>,
    /// What it holds.
    pub keys: Vec<KeyId>,
    /// What it seals with.
    pub primary: Option<KeyId>,
    /// How far it is on its way from plaintext; `None` without keys.
    pub stage: Option<Stage>,
}

impl KeyReport {
    /// Whether every member is as it was asked to be.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.members.iter().all(|member| member.error.is_none())
    }

    /// Of what was answered; `wanted` says what a member lacks.
    pub(super) fn of(
        answered: Vec<Answered>,
        ring: &Ring,
        wanted: impl Fn(&Held) -> Option<String>,
    ) -> Self {
        let mut counts: BTreeMap<KeyId, (usize, usize)> = BTreeMap::new();
        let mut members = Vec::with_capacity(answered.len());
        for Answered { member, held } in answered {
            let member = member.to_string();
            members.push(match held {
                Ok(held) => {
                    for id in &held.keys {
                        counts.entry(*id).or_default().0 += 1;
                    }
                    if let Some(id) = held.primary {
                        counts.entry(id).or_default().1 += 1;
                    }
                    let problem = (!held.problem.is_empty()).then(|| held.problem.clone());
                    MemberKeys {
                        member,
                        error: wanted(&held).or(problem),
                        keys: held.keys,
                        primary: held.primary,
                        stage: held.stage,
                    }
                }
                Err(error) => MemberKeys {
                    member,
                    error: Some(error),
                    keys: Vec::new(),
                    primary: None,
                    stage: None,
                },
            });
        }
        let keys = counts
            .into_iter()
            .map(|(id, (members, primary_members))| KeySummary {
                id,
                members,
                primary_members,
                retire_at_unix_ms: ring.retires_at(id),
            });
        Self {
            keys: keys.collect(),
            members,
        }
    }
}
