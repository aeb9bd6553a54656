//! The watch streams that peers hold to this node.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::WATCHED_MAX;
use crate::gossip::metrics::{Counters, Gauge};

/// Places of streams that stand idle, the oldest first. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched(Arc<Mutex<VecDeque<CancellationToken>>>);

/// The place of one stream, free again when dropped.
pub(crate) struct Place {
    watched: Watched,
    given_up: CancellationToken,
    _gauge: Gauge<fn(&Counters) -> &crate::gossip::metrics::Count>,
}

impl Watched {
    /// Takes a place; at the bound the oldest stream must go.
    pub(crate) fn enter(&self, counters: &Arc<Counters>) -> Place {
        let given_up = CancellationToken::new();
        let oldest = self.with(|places| {
            places.push_back(given_up.clone());
            (places.len() > WATCHED_MAX).then(|| places.pop_front())
        });
        if let Some(oldest) = oldest.flatten() {
            counters.watch_streams_given_up.add(1);
            oldest.cancel();
        }
        Place {
            watched: self.clone(),
            given_up,
            _gauge: Gauge::up(counters, |c| &c.watch_streams_incoming),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<CancellationToken>) -> T) -> T {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| !place.is_cancelled());
        work(&mut places)
    }
}

impl Place {
    /// Waits until this stream has to go. Cancel-safe.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.given_up.cancel();
        self.watched.with(|_| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (watched, counters) = (Watched::default(), Arc::<Counters>::default());
        let mut places: Vec<_> = (0..WATCHED_MAX).map(|_| watched.enter(&counters)).collect();
        assert!(places.iter().all(|place| !place.given_up.is_cancelled()));
        places.remove(1);
        let newer = [watched.enter(&counters), watched.enter(&counters)];
        let gone = places.iter().filter(|place| place.given_up.is_cancelled());
        assert_eq!(gone.count(), 1);
        assert!(places[0].given_up.is_cancelled(), "the oldest");
        assert!(newer.iter().all(|place| !place.given_up.is_cancelled()));
        assert_eq!(counters.watch_streams_given_up.get(), 1);
        drop((places, newer));
        assert_eq!(counters.watch_streams_incoming.get(), 0);
    }
}
