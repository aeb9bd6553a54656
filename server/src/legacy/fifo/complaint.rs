//! Keeps a flood of bad lines from being a flood of log. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// One FIFO complains at most once in this time; the rest is counted.
const EVERY: Duration = Duration::from_secs(10);

/// Complaints of one FIFO.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    next: Option<Instant>,
    kept_back: u64,
}

impl Complaints {
    /// Whether to tell one now: then how many were kept back since the last.
    pub(super) fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.kept_back += 1;
            return None;
        }
        self.next = Some(now + EVERY);
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_one_in_a_while_with_the_number() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        assert_eq!(complaints.tell(now), Some(0));
        assert_eq!(complaints.tell(now), None);
        assert_eq!(complaints.tell(now + EVERY / 2), None);
        assert_eq!(complaints.tell(now + EVERY), Some(2));
        assert_eq!(complaints.tell(now + 3 * EVERY), Some(0));
    }
}
