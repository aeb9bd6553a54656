//! From the state of the members to serf's five kinds of member events, merged as
//! serf merges them.
//!
//! A handler is told what brings it from what it was told last to what holds now.
//! Suspicion and a leave that is not finished are no news to it, as in serf. A
//! restart is told as the end of the old run and the join of the new one, so that a
//! script which adds a line on a join and removes it on an end never has two lines
//! and never an old address. Who comes and ends between two calls is told as joined and
//! then as gone, for the sake of those who watch for ends; nobody is told as gone who was
//! not told as there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_engine::{Member, MemberKey, Status};
use tokio::time::Instant;

use super::spec::MemberKind;
use crate::coalesce::Windows;
use crate::hub::store::{Change, Store};

/// Lines of one call. More members than that make more calls.
pub const LINES_MAX: usize = 1_024;

/// How long things are collected: serf's proportion, a quiet time of a third of the
/// window.
#[must_use]
pub fn windows(window: Duration) -> Windows {
    Windows {
        window,
        quiet: window / 3,
    }
}

/// Members of one kind, for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// What happened.
    pub kind: MemberKind,
    /// To whom, and as whom they were known before.
    pub members: Vec<Told>,
}

/// One member of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// As it is told.
    pub member: Arc<Member>,
    /// As it was before an update.
    pub before: Option<Arc<Member>>,
}

/// What a handler was told and what has changed since.
#[derive(Debug)]
pub struct Tracker {
    windows: Windows,
    /// Revision of the store that was looked at last.
    revision: u64,
    /// Members that were told as there, or whose end was told.
    told: BTreeMap<Arc<str>, State>,
    /// What holds now, of those that changed.
    changed: BTreeMap<Arc<str>, Now>,
    /// When what changed will be told.
    due: Option<Due>,
}

#[derive(Debug, Clone)]
enum State {
    There(Arc<Member>),
    Gone(MemberKind, Arc<Member>),
}

#[derive(Debug, Default)]
struct Now {
    /// How the last run that ended did.
    ended: Option<MemberKind>,
    /// It was seen there.
    came: Option<Arc<Member>>,
    /// `None`: the store does not have it any more.
    member: Option<Arc<Member>>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    latest: Instant,
    quiet: Instant,
}

impl Tracker {
    /// Nothing was told yet: every member that is there will be told as joined.
    #[must_use]
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            revision: 0,
            told: BTreeMap::new(),
            changed: BTreeMap::new(),
            due: None,
        }
    }

    /// Takes what changed in the store.
    pub fn look(&mut self, store: &Store<MemberKey, Member>, now: Instant) {
        let changes = match store.changes_since(self.revision) {
            Ok(changes) => changes,
            // Removals were forgotten: what is known and no longer there is gone.
            Err(_behind) => {
                let Ok(all) = store.changes_since(0) else {
                    return;
                };
                for name in self.told.keys() {
                    self.changed.entry(Arc::clone(name)).or_default().member = None;
                }
                all
            }
        };
        self.revision = changes.revision;
        let mut any = false;
        for change in changes.items {
            any |= self.take(&change);
        }
        if any {
            let latest = self.due.map_or(now + self.windows.window, |due| due.latest);
            let quiet = now + self.windows.quiet;
            self.due = Some(Due { latest, quiet });
        }
    }

    /// When there is something to tell.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due.map(|due| due.latest.min(due.quiet))
    }

    /// What is to be told, in this order.
    pub fn tell(&mut self) -> Vec<Batch> {
        self.due = None;
        // First what came first of each member.
        let mut batches: BTreeMap<(usize, MemberKind), Vec<Told>> = BTreeMap::new();
        for (name, now) in std::mem::take(&mut self.changed) {
            for (nth, (kind, told)) in self.step(&name, now).into_iter().enumerate() {
                batches.entry((nth, kind)).or_default().push(told);
            }
        }
        let batches = batches.into_iter().flat_map(|((_, kind), members)| {
            let parts = members.chunks(LINES_MAX).map(<[Told]>::to_vec);
            let parts: Vec<_> = parts.collect();
            parts
                .into_iter()
                .map(move |members| Batch { kind, members })
        });
        batches.collect()
    }

    /// Whether it is news for a handler.
    fn take(&mut self, change: &Change<MemberKey, Member>) -> bool {
        // Those that lost a conflict about a name have no name of their own.
        if change.key.conflict_boot != 0 {
            return false;
        }
        let name = &change.key.name;
        let member = (!change.removed).then(|| Arc::clone(&change.entry.value));
        if !self.changed.contains_key(name)
            && let (Some(State::There(old)), Some(new)) = (self.told.get(name), &member)
            && old.boot == new.boot
            && end(new).is_none()
            && shows_the_same(old, new)
        {
            return false;
        }
        let now = self.changed.entry(Arc::clone(name)).or_default();
        now.ended = member.as_deref().and_then(end).or(now.ended);
        if let Some(there) = member.as_ref().filter(|member| end(member).is_none()) {
            now.came = Some(Arc::clone(there));
        }
        now.member = member;
        true
    }

    /// Steps from what was told of a member to what holds now.
    fn step(&mut self, name: &Arc<str>, now: Now) -> Vec<(MemberKind, Told)> {
        use State::{Gone, There};
        let told = |kind, member: &Arc<Member>| {
            (
                kind,
                Told {
                    member: Arc::clone(member),
                    before: None,
                },
            )
        };
        let state = now.member.map(|member| match end(&member) {
            Some(kind) => Gone(kind, member),
            None => There(member),
        });
        let before = match &state {
            Some(state) => self.told.insert(Arc::clone(name), state.clone()),
            None => self.told.remove(name),
        };
        match (before, state) {
            (Some(There(old)), Some(There(new))) if old.boot != new.boot => {
                let ended = now.ended.unwrap_or(MemberKind::Failed);
                vec![told(ended, &old), told(MemberKind::Join, &new)]
            }
            (Some(There(old)), Some(There(new))) if shows_the_same(&old, &new) => Vec::new(),
            (Some(There(old)), Some(There(new))) => {
                let told = Told {
                    member: new,
                    before: Some(old),
                };
                vec![(MemberKind::Update, told)]
            }
            (Some(There(_)), Some(Gone(kind, member))) => vec![told(kind, &member)],
            (Some(Gone(MemberKind::Failed, _)), Some(Gone(MemberKind::Leave, member))) => {
                vec![told(MemberKind::Leave, &member)]
            }
            (None | Some(Gone(..)), Some(There(member))) => vec![told(MemberKind::Join, &member)],
            (None | Some(Gone(..)), Some(Gone(kind, member))) => match now.came {
                Some(came) => vec![told(MemberKind::Join, &came), told(kind, &member)],
                None => Vec::new(),
            },
            (None, None) => Vec::new(),
            (Some(Gone(_, member)), None) => vec![told(MemberKind::Reap, &member)],
            (Some(There(member)), None) => {
                let ended = now.ended.unwrap_or(MemberKind::Leave);
                vec![told(ended, &member), told(MemberKind::Reap, &member)]
            }
        }
    }
}

/// How a member ended, if it did.
fn end(member: &Member) -> Option<MemberKind> {
    match member.status {
        Status::Alive | Status::Suspect | Status::Leaving => None,
        Status::Left => Some(MemberKind::Leave),
        Status::Failed => Some(MemberKind::Failed),
    }
}

/// Whether nothing changed that a script is told.
fn shows_the_same(old: &Member, new: &Member) -> bool {
    old.addr == new.addr && old.tags == new.tags && old.roles == new.roles
}

#[cfg(test)]
mod tests;
