//! The promises of `WatchMembers`.

mod replay;

use std::collections::BTreeMap;

use muster_proto::v1::{Member, MemberFilter, MemberStatus, WatchMembersResponse};

use super::{Breach, History, Promise};
use replay::{Key, Moment, replay};

/// What one consumer recorded. Patterns of the filter's tags are compared as plain texts,
/// and its regular expression on names must not be set.
pub type MemberHistory = History<MemberFilter, WatchMembersResponse>;

/// How much was looked at, so that a test can tell that it looked at something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Messages.
    pub messages: usize,
    /// Snapshots that came to their end.
    pub snapshots: usize,
    /// Streams that went on from a token.
    pub resumed: usize,
    /// Deltas.
    pub deltas: usize,
    /// Snapshots that were cut before their end.
    pub cut: usize,
}

/// All that is wrong with these histories together, and how much they hold.
#[must_use]
pub fn check(histories: &[MemberHistory]) -> (Vec<Breach>, Seen) {
    let mut breaches = Vec::new();
    let mut seen = Seen::default();
    let mut moments = Vec::new();
    for (number, history) in histories.iter().enumerate() {
        let replayed = replay(history, number);
        breaches.extend(replayed.breaches);
        moments.extend(replayed.moments);
        seen.messages += replayed.seen.messages;
        seen.snapshots += replayed.seen.snapshots;
        seen.resumed += replayed.seen.resumed;
        seen.deltas += replayed.seen.deltas;
        seen.cut += replayed.seen.cut;
    }
    breaches.extend(epochs(&moments, histories));
    breaches.extend(same_words(&moments, histories));
    breaches.extend(whole(&moments, histories));
    (breaches, seen)
}

/// The states of a member that a consumer saw one after the other, over all its streams.
/// What happened while it was away may be missing.
#[must_use]
pub fn statuses(history: &MemberHistory, name: &str) -> Vec<MemberStatus> {
    let mut found: Vec<MemberStatus> = Vec::new();
    for moment in replay(history, 0).moments {
        let held = moment.members.values().find(|member| member.name == name);
        if let Some(member) = held
            && found.last() != Some(&member.status())
        {
            found.push(member.status());
        }
    }
    found
}

/// Each member that a consumer saw in this state, with the reason that was given, once each.
#[must_use]
pub fn ever(history: &MemberHistory, status: MemberStatus) -> BTreeMap<String, String> {
    let moments = replay(history, 0).moments;
    let members = moments.iter().flat_map(|moment| moment.members.values());
    let found = members.filter(|member| member.status() == status);
    found
        .map(|member| {
            let change = member.status_change.clone().unwrap_or_default();
            (
                member.name.clone(),
                format!("{} (by {:?})", change.reason, change.by),
            )
        })
        .collect()
}

/// The boots of those who claim this name, each time that the copy of a consumer was
/// complete and held any.
#[must_use]
pub fn runs(history: &MemberHistory, name: &str) -> Vec<Vec<u64>> {
    let moments = replay(history, 0).moments.into_iter().map(|moment| {
        let claim = moment.members.values().filter(|member| member.name == name);
        claim.map(|member| member.boot).collect::<Vec<u64>>()
    });
    moments.filter(|boots| !boots.is_empty()).collect()
}

/// An epoch is one run of one daemon.
fn epochs(moments: &[Moment], histories: &[MemberHistory]) -> Vec<Breach> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut breaches = Vec::new();
    for moment in moments {
        let owner = *owners.entry(&moment.epoch).or_insert(&moment.daemon);
        if owner != moment.daemon {
            breaches.push(Breach {
                promise: Promise::Resumable,
                consumer: histories[moment.history].consumer.clone(),
                what: format!("{} has the epoch of {owner}", moment.daemon),
            });
        }
    }
    breaches
}

/// A state of a member in one run of a daemon: the revision that made it.
type Version<'a> = (&'a str, &'a Key, u64);

/// Whoever sees a version of a member sees the same one.
fn same_words(moments: &[Moment], histories: &[MemberHistory]) -> Vec<Breach> {
    let mut known: BTreeMap<Version<'_>, (&Member, usize)> = BTreeMap::new();
    let mut breaches = Vec::new();
    for moment in moments {
        for (key, member) in &moment.members {
            let version = (moment.epoch.as_str(), key, member.changed_revision);
            let (first, who) = *known.entry(version).or_insert((member, moment.history));
            if first != member {
                breaches.push(Breach {
                    promise: Promise::Atomic,
                    consumer: histories[moment.history].consumer.clone(),
                    what: format!(
                        "{} at revision {} is {member:?}, and {first:?} for {}",
                        key.0, member.changed_revision, histories[who].consumer
                    ),
                });
            }
        }
    }
    breaches
}

/// A version that was made at one revision and held by somebody at a later one stood in
/// between: every copy that is complete there has it, if the filter lets it through.
fn whole(moments: &[Moment], histories: &[MemberHistory]) -> Vec<Breach> {
    let mut lives: BTreeMap<Version<'_>, (u64, &Member)> = BTreeMap::new();
    for moment in moments {
        for (key, member) in &moment.members {
            let version = (moment.epoch.as_str(), key, member.changed_revision);
            let life = lives.entry(version).or_insert((moment.revision, member));
            life.0 = life.0.max(moment.revision);
        }
    }
    // Many moments look at few versions: by epoch, each at its revision.
    let mut by_epoch: BTreeMap<&str, Vec<(&Key, u64, u64, &Member)>> = BTreeMap::new();
    for ((epoch, key, from), (to, member)) in lives {
        let versions = by_epoch.entry(epoch).or_default();
        versions.push((key, from, to, member));
    }
    let mut breaches = Vec::new();
    for moment in moments {
        let history = &histories[moment.history];
        for &(key, from, to, member) in &by_epoch[moment.epoch.as_str()] {
            if moment.revision < from || moment.revision > to || !lets(&history.filter, member) {
                continue;
            }
            let held = moment.members.get(key).map(|held| held.changed_revision);
            if held != Some(from) {
                breaches.push(Breach {
                    promise: if held.is_some_and(|held| held > from) {
                        Promise::Atomic
                    } else {
                        Promise::GapFree
                    },
                    consumer: history.consumer.clone(),
                    what: format!(
                        "at revision {} of {} it holds {} of revision {held:?}, others that of {from}",
                        moment.revision, moment.daemon, key.0
                    ),
                });
            }
        }
    }
    breaches
}

/// Whether a filter lets a member through.
fn lets(filter: &MemberFilter, member: &Member) -> bool {
    let any = |wanted: &[String], has: &dyn Fn(&String) -> bool| {
        wanted.is_empty() || wanted.iter().any(has)
    };
    any(&filter.names, &|name| {
        *name == member.name || *name == member.alias
    }) && any(&filter.roles, &|role| {
        member.roles.iter().any(|has| has.role == *role)
    }) && (filter.statuses.is_empty() || filter.statuses.contains(&member.status))
        && filter.tags.iter().all(|(key, value)| {
            let has = member.tags.get(key).map_or("", String::as_str);
            has == value
        })
}

#[cfg(test)]
mod tests;
