//! How well this node itself does (Lifeguard's local health multiplier, arXiv
//! 1707.00788 section IV-A): a node that hears badly or stands still probes slower and
//! is slower to believe that others are dead.

/// Highest score: everything takes nine times as long.
pub(crate) const SCORE_MAX: u32 = 8;

/// From this score on a node calls itself degraded.
const DEGRADED_FROM: u32 = 3;

/// The score: 0 is well.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health(u32);

impl Health {
    /// 0 to [`SCORE_MAX`].
    pub(crate) const fn score(self) -> u32 {
        self.0
    }

    /// Whether an operator should look.
    pub(crate) const fn is_degraded(self) -> bool {
        self.0 >= DEGRADED_FROM
    }

    /// A probe was answered.
    pub(crate) const fn better(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// Something went wrong `times` times that speaks against this node.
    pub(crate) fn worse(&mut self, times: u32) {
        self.0 = self.0.saturating_add(times).min(SCORE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_has_bounds_and_recovers() {
        let mut health = Health::default();
        health.better();
        assert_eq!(health.score(), 0);
        health.worse(2);
        assert!(!health.is_degraded());
        health.worse(u32::MAX);
        assert_eq!(health.score(), SCORE_MAX);
        assert!(health.is_degraded());
        (0..SCORE_MAX).for_each(|_| health.better());
        assert_eq!(health.score(), 0);
    }
}
