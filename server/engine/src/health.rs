//! How well this node itself does (Lifeguard's local health multiplier, arXiv
//! 1707.00788 section IV-A): a node that hears badly or stands still probes slower and
//! is slower to believe that others are dead.
//!
//! Lifeguard adds one for each helper that did not say that it was asked to probe. Where
//! helpers are gone themselves, as on the smaller side of a cut, that says nothing of this
//! node: the points remember whom they are owed to, and count while it is held for alive.

use std::collections::VecDeque;

/// Highest score: everything takes nine times as long.
pub(crate) const SCORE_MAX: u32 = 8;

/// From this score on a node calls itself degraded.
const DEGRADED_FROM: u32 = 3;

/// Points against this node, [`SCORE_MAX`] of them at most; at the bound the oldest goes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    points: VecDeque<Point>,
    /// The score: 0 is well.
    score: u32,
}

/// What speaks against this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// What it saw of itself.
    Own,
    /// A member, by name hash, was asked for help and did not even say so.
    Unheard(u64),
}

impl Health {
    /// 0 to [`SCORE_MAX`].
    pub(crate) const fn score(&self) -> u32 {
        self.score
    }

    /// Whether an operator should look.
    pub(crate) const fn is_degraded(&self) -> bool {
        self.score >= DEGRADED_FROM
    }

    /// A probe was answered.
    pub(crate) fn better(&mut self) {
        self.points.pop_front();
    }

    /// Something went wrong that speaks against this node.
    pub(crate) fn worse(&mut self) {
        self.add(Point::Own);
    }

    /// A member that is held for alive was asked for help and did not even say so.
    pub(crate) fn unheard(&mut self, member: u64) {
        self.add(Point::Unheard(member));
    }

    /// A member is dead: that it was not heard was not this node's fault.
    pub(crate) fn forgive(&mut self, member: u64) {
        self.points.retain(|point| *point != Point::Unheard(member));
    }

    /// Finds the score: what is owed to members counts while they are held for alive.
    pub(crate) fn settle(&mut self, is_alive: impl Fn(u64) -> bool) {
        let counts = |point: &&Point| match point {
            Point::Own => true,
            Point::Unheard(member) => is_alive(*member),
        };
        let score = self.points.iter().filter(counts).count();
        self.score = u32::try_from(score).unwrap_or(SCORE_MAX).min(SCORE_MAX);
    }

    fn add(&mut self, point: Point) {
        if self.points.len() >= SCORE_MAX as usize {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_has_bounds_and_recovers() {
        let mut health = Health::default();
        let score = |health: &mut Health| {
            health.settle(|_| true);
            health.score()
        };
        health.better();
        assert_eq!(score(&mut health), 0);
        health.worse();
        health.unheard(7);
        assert_eq!(score(&mut health), 2);
        assert!(!health.is_degraded());
        (0..1_000).for_each(|member| health.unheard(member));
        assert_eq!(score(&mut health), SCORE_MAX);
        assert!(health.is_degraded());
        (0..SCORE_MAX).for_each(|_| health.better());
        assert_eq!(score(&mut health), 0);
    }

    #[test]
    fn who_is_gone_itself_is_no_witness() {
        let mut health = Health::default();
        health.worse();
        [1, 2, 2, 3].into_iter().for_each(|of| health.unheard(of));
        health.settle(|_| true);
        assert_eq!(health.score(), 5);
        health.settle(|member| member != 2);
        assert_eq!(health.score(), 3, "a suspect does not count");
        health.settle(|_| true);
        assert_eq!(health.score(), 5, "it lived: it counts again");
        health.forgive(2);
        health.settle(|_| true);
        assert_eq!(health.score(), 3, "what the dead are owed is forgotten");
    }
}
