//! User events that may be merged: of one name only the newest is told, once nothing
//! new came for a second, three seconds after the first at the latest. serf's agent
//! does so for every consumer; here a stream does, for events whose sender wished it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_engine::Event;
use tokio::time::Instant;

/// Longest wait of a merged event.
const WINDOW: Duration = Duration::from_secs(3);

/// Silence that ends the wait.
const QUIET: Duration = Duration::from_secs(1);

/// Names that wait at once. With one more all are told.
const COALESCED_NAMES_MAX: usize = 1_024;

/// Events that wait, by name.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    waiting: BTreeMap<String, Newest>,
    /// When the wait ends by window and by silence.
    until: Option<(Instant, Instant)>,
    arrivals: u64,
}

/// The newest events of one name: those of the highest Lamport time.
#[derive(Debug)]
struct Newest {
    lamport: u64,
    arrived: u64,
    events: Vec<Arc<Event>>,
}

impl Coalescer {
    /// Takes an event; says how many it replaced.
    pub(crate) fn put(&mut self, now: Instant, event: &Arc<Event>) -> usize {
        let window = self.until.map_or(now + WINDOW, |(window, _)| window);
        self.until = Some((window, now + QUIET));
        self.arrivals += 1;
        let newest = Newest {
            lamport: event.lamport,
            arrived: self.arrivals,
            events: vec![Arc::clone(event)],
        };
        match self.waiting.get_mut(&event.name) {
            None => {
                self.waiting.insert(event.name.clone(), newest);
                0
            }
            Some(known) if event.lamport > known.lamport => {
                std::mem::replace(known, newest).events.len()
            }
            // Two nodes sent at once: none is newer, and both are told.
            Some(known) if event.lamport == known.lamport => {
                known.events.push(Arc::clone(event));
                0
            }
            Some(_) => 1,
        }
    }

    /// When to call [`Coalescer::take`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.until.map(|(window, quiet)| window.min(quiet))
    }

    /// Whether there is no room for one more name.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= COALESCED_NAMES_MAX
    }

    /// Whether what waits is to be told now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_full() || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// All that waits, in the order of arrival.
    pub(crate) fn take(&mut self) -> Vec<Arc<Event>> {
        self.until = None;
        let waiting = std::mem::take(&mut self.waiting);
        let mut waiting: Vec<_> = waiting.into_values().collect();
        waiting.sort_unstable_by_key(|newest| newest.arrived);
        waiting
            .into_iter()
            .flat_map(|newest| newest.events)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, lamport: u64, payload: &'static str) -> Arc<Event> {
        Arc::new(Event {
            name: name.to_owned(),
            lamport,
            payload: payload.into(),
            ..Event::default()
        })
    }

    fn told(coalescer: &mut Coalescer) -> Vec<String> {
        let told = coalescer.take();
        let text = |event: Arc<Event>| String::from_utf8_lossy(&event.payload).into_owned();
        told.into_iter().map(text).collect()
    }

    #[test]
    fn only_the_newest_of_a_name_is_told() {
        let (mut c, now) = (Coalescer::default(), Instant::now());
        assert_eq!(c.put(now, &event("deploy", 1, "a")), 0);
        assert_eq!(c.put(now, &event("other", 2, "b")), 0);
        assert_eq!(c.put(now, &event("deploy", 3, "c")), 1);
        assert_eq!(c.put(now, &event("deploy", 2, "late")), 1);
        assert_eq!(c.put(now, &event("deploy", 3, "d")), 0);
        assert_eq!(c.put(now, &event("deploy", 4, "e")), 2);
        assert_eq!(c.put(now, &event("deploy", 4, "f")), 0);
        assert_eq!(told(&mut c), ["b", "e", "f"]);
        assert_eq!(told(&mut c), [""; 0]);
        assert_eq!(c.deadline(), None);
    }

    #[test]
    fn silence_or_the_window_ends_the_wait() {
        let (mut c, start) = (Coalescer::default(), Instant::now());
        assert!(!c.is_due(start));
        let mut now = start;
        while now < start + WINDOW {
            c.put(now, &event("deploy", 1, "a"));
            assert!(!c.is_due(now));
            assert_eq!(c.deadline(), Some((now + QUIET).min(start + WINDOW)));
            now += QUIET / 2;
        }
        assert!(c.is_due(start + WINDOW));
        c.take();
        c.put(now, &event("deploy", 1, "a"));
        assert!(!c.is_due(now + QUIET / 2) && c.is_due(now + QUIET));
    }

    #[test]
    fn names_beyond_the_bound_end_the_wait() {
        let (mut c, now) = (Coalescer::default(), Instant::now());
        for number in 0..COALESCED_NAMES_MAX {
            assert!(!c.is_due(now));
            c.put(now, &event(&format!("n{number}"), 1, "x"));
        }
        assert!(c.is_due(now));
        assert_eq!(c.take().len(), COALESCED_NAMES_MAX);
    }
}
