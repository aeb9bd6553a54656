//! Who has answered: what one query knows of its members. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why a member's answer is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has answered.
    Twice,
    /// It was asked as an earlier or later boot than it says.
    OtherBoot,
}

/// One call of a member that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    /// Tells this call from an earlier one that broke.
    pub(super) turn: u64,
    /// It is the first sign of the member.
    pub(super) first: bool,
}

#[derive(Debug)]
struct Standing {
    boot: u64,
    turn: u64,
    done: bool,
}

/// What is known. Members are known by the names that people see.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Boots of those that were asked.
    expected: BTreeMap<Arc<str>, u64>,
    /// Those of them that failed, left or restarted since.
    gone: BTreeSet<Arc<str>>,
    /// Those that gave a sign.
    standings: BTreeMap<Arc<str>, Standing>,
    turns: u64,
}

impl Progress {
    pub(super) fn new(expected: impl IntoIterator<Item = (Arc<str>, u64)>) -> Self {
        Self {
            expected: expected.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Names that were asked.
    pub(super) fn expected(&self) -> Vec<Arc<str>> {
        self.expected.keys().cloned().collect()
    }

    /// Whether a member was asked when the query began.
    pub(super) fn expects(&self, name: &str, boot: u64) -> bool {
        self.expected.get(name) == Some(&boot)
    }

    /// A member calls. An earlier call of it that is not done is replaced.
    pub(super) fn begin(&mut self, name: &Arc<str>, boot: u64) -> Result<Begun, Refusal> {
        self.turns += 1;
        let turn = self.turns;
        let Some(standing) = self.standings.get_mut(name) else {
            let done = false;
            let standing = Standing { boot, turn, done };
            self.standings.insert(Arc::clone(name), standing);
            return Ok(Begun { turn, first: true });
        };
        if standing.done {
            return Err(Refusal::Twice);
        }
        if boot < standing.boot {
            return Err(Refusal::OtherBoot);
        }
        let first = boot > standing.boot;
        standing.boot = boot;
        standing.turn = turn;
        Ok(Begun { turn, first })
    }

    /// Whether a call is still the one of its member, which is not done.
    pub(super) fn stands(&self, name: &str, turn: u64) -> bool {
        let standing = self.standings.get(name);
        standing.is_some_and(|standing| standing.turn == turn && !standing.done)
    }

    /// The answer of a call was handed over, or there is none.
    pub(super) fn done(&mut self, name: &str, turn: u64) {
        if let Some(standing) = self.standings.get_mut(name)
            && standing.turn == turn
        {
            standing.done = true;
        }
    }

    /// Those that are neither done nor gone, with their boots.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        let open = |(name, _): &(&Arc<str>, &u64)| {
            !self.gone.contains(*name) && !self.standings.get(*name).is_some_and(|s| s.done)
        };
        self.expected
            .iter()
            .filter(open)
            .map(|(name, boot)| (name, *boot))
    }

    /// Nothing more is to be expected of a member.
    pub(super) fn gone(&mut self, name: &Arc<str>) {
        self.gone.insert(Arc::clone(name));
    }

    /// Nothing more is to be expected of anybody.
    pub(super) fn is_complete(&self) -> bool {
        self.awaited().next().is_none()
    }

    /// Those asked that gave no sign, and those that gave one and are not done.
    pub(super) fn rest(&self) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let (mut silent, mut unfinished) = (Vec::new(), Vec::new());
        for name in self.expected.keys() {
            match self.standings.get(name) {
                None => silent.push(Arc::clone(name)),
                Some(standing) if !standing.done => unfinished.push(Arc::clone(name)),
                Some(_) => {}
            }
        }
        (silent, unfinished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Progress {
        Progress::new(names.iter().map(|name| (Arc::from(*name), 1)))
    }

    fn name(text: &str) -> Arc<str> {
        Arc::from(text)
    }

    #[test]
    fn it_is_complete_once_each_is_done_or_gone() {
        let mut progress = of(&["a", "b", "c"]);
        let a = progress.begin(&name("a"), 1).unwrap();
        assert!(a.first);
        progress.done("a", a.turn);
        progress.gone(&name("b"));
        assert!(!progress.is_complete());
        let c = progress.begin(&name("c"), 1).unwrap();
        assert!(!progress.is_complete());
        progress.done("c", c.turn);
        assert!(progress.is_complete());
        assert_eq!(progress.rest(), (vec![name("b")], vec![]));
    }

    #[test]
    fn an_answer_counts_once_and_a_broken_call_may_be_repeated() {
        let mut progress = of(&["a"]);
        let broken = progress.begin(&name("a"), 1).unwrap();
        let again = progress.begin(&name("a"), 1).unwrap();
        assert!(broken.first && !again.first);
        assert!(!progress.stands("a", broken.turn));
        assert!(progress.stands("a", again.turn));
        assert_eq!(progress.rest(), (vec![], vec![name("a")]));
        progress.done("a", broken.turn);
        assert!(!progress.is_complete(), "a replaced call answers nothing");
        progress.done("a", again.turn);
        assert!(progress.is_complete());
        assert_eq!(progress.begin(&name("a"), 1), Err(Refusal::Twice));
    }

    #[test]
    fn a_restarted_member_may_answer_and_its_old_run_may_not() {
        let mut progress = of(&["a"]);
        progress.begin(&name("a"), 1).unwrap();
        assert!(progress.begin(&name("a"), 2).unwrap().first);
        assert_eq!(progress.begin(&name("a"), 1), Err(Refusal::OtherBoot));
        assert!(progress.expects("a", 1) && !progress.expects("a", 2));
    }

    #[test]
    fn those_who_came_later_answer_and_are_not_waited_for() {
        let mut progress = of(&[]);
        assert!(progress.is_complete());
        progress.begin(&name("late"), 1).unwrap();
        assert!(progress.is_complete());
        assert_eq!(progress.rest(), (vec![], vec![]));
    }
}
