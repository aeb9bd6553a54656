//! The promises of `WatchEvents`.

use std::collections::BTreeMap;

use muster_proto::v1::watch_events_response::Event as Content;
use muster_proto::v1::{Event, EventGap, EventId, EventToken, WatchEventsResponse};
use prost::Message as _;

use super::{Breach, History, Promise, Step};

/// What one consumer recorded; the filter is the names that it asked for.
pub type EventHistory = History<Vec<String>, WatchEventsResponse>;

/// One origin in one of its lives.
type Source = (String, u64);

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Events handed over, to all consumers together.
    pub events: usize,
    /// Gap markers.
    pub gaps: usize,
    /// Streams that were opened with a token.
    pub resumed: usize,
}

/// All that is wrong with these histories together, and how much they hold.
#[must_use]
pub fn check(histories: &[EventHistory]) -> (Vec<Breach>, Seen) {
    let tracks: Vec<Track<'_>> = histories.iter().map(Track::of).collect();
    let mut seen = Seen::default();
    let mut known: BTreeMap<(Source, u64), &Event> = BTreeMap::new();
    let mut breaches = Vec::new();
    for track in &tracks {
        breaches.extend(track.breaches.iter().cloned());
        seen.events += track.events.len();
        seen.gaps += track.gaps.len();
        seen.resumed += track.resumed;
        for (id, event) in &track.events {
            let first = *known.entry(id.clone()).or_insert(event);
            if !same(first, event) {
                breaches.push(track.breach(
                    Promise::Atomic,
                    format!("{id:?} is {event:?}, others have {first:?}"),
                ));
            }
        }
    }
    breaches.extend(lamport(&known));
    for track in &tracks {
        breaches.extend(track.left_out(&known));
    }
    (breaches, seen)
}

/// The events of these that a consumer was neither given nor told to have missed.
#[must_use]
pub fn missing(history: &EventHistory, sent: &[EventId]) -> Vec<EventId> {
    let track = Track::of(history);
    let is_missing = |id: &&EventId| {
        let id = ((id.origin.clone(), id.boot), id.sequence);
        !track.events.contains_key(&id) && !track.in_gap(&id)
    };
    sent.iter().filter(is_missing).cloned().collect()
}

/// The gaps that a consumer was told of.
#[must_use]
pub fn gaps(history: &EventHistory) -> Vec<EventGap> {
    Track::of(history).gaps.into_iter().cloned().collect()
}

/// The token to go on with after these steps: the last one that came, with all that was
/// handed over since folded in; empty before the first message.
#[must_use]
pub fn token(history: &EventHistory) -> Vec<u8> {
    let track = Track::of(history);
    if !track.begun {
        return Vec::new();
    }
    let mut positions: Vec<EventId> = track
        .at
        .into_iter()
        .map(|((origin, boot), sequence)| EventId {
            origin,
            boot,
            sequence,
        })
        .collect();
    if positions.is_empty() {
        // Stands for nothing: empty bytes would mean "from now".
        positions.push(EventId::default());
    }
    EventToken { positions }.encode_to_vec()
}

/// What a consumer was handed, and where it stands.
struct Track<'a> {
    history: &'a EventHistory,
    begun: bool,
    at: BTreeMap<Source, u64>,
    /// Where it began with each source: the position before its first event.
    from: BTreeMap<Source, u64>,
    events: BTreeMap<(Source, u64), &'a Event>,
    gaps: Vec<&'a EventGap>,
    resumed: usize,
    breaches: Vec<Breach>,
    /// The next message has to be `begin`.
    opening: bool,
}

impl<'a> Track<'a> {
    fn of(history: &'a EventHistory) -> Self {
        let mut track = Self {
            history,
            begun: false,
            at: BTreeMap::new(),
            from: BTreeMap::new(),
            events: BTreeMap::new(),
            gaps: Vec::new(),
            resumed: 0,
            breaches: Vec::new(),
            opening: false,
        };
        for step in &history.steps {
            match step {
                Step::Opened { token, .. } => track.open(token),
                Step::Message(message) => track.message(message),
                Step::Ended => {}
            }
        }
        track
    }

    fn open(&mut self, token: &[u8]) {
        self.opening = true;
        if token.is_empty() {
            if self.begun {
                self.note(Promise::Resumable, "the token is not used".to_owned());
            }
        } else {
            self.resumed += 1;
        }
    }

    fn message(&mut self, message: &'a WatchEventsResponse) {
        let opening = std::mem::take(&mut self.opening);
        match &message.event {
            Some(Content::Begin(begin)) if opening => {
                // Of a stream that goes on it repeats what the consumer holds already.
                self.begun = true;
                self.stand(&begin.token, "begin");
            }
            Some(content) if opening => {
                self.note(
                    Promise::Ordered,
                    format!("a stream begins with {content:?}"),
                );
            }
            Some(Content::Item(event)) => self.event(event),
            Some(Content::Gap(gap)) => self.gap(gap),
            Some(Content::Heartbeat(beat)) => self.stand(&beat.token, "a heartbeat"),
            Some(Content::Begin(_)) => self.note(Promise::Ordered, "a second begin".to_owned()),
            None => self.note(Promise::Ordered, "a message without content".to_owned()),
        }
    }

    fn event(&mut self, event: &'a Event) {
        let id = event.id.clone().unwrap_or_default();
        let names = &self.history.filter;
        let wanted = names.is_empty() || names.contains(&event.name);
        if !wanted {
            self.note(
                Promise::Filtered,
                format!("{id:?} is called {}", event.name),
            );
        }
        let source = (id.origin, id.boot);
        self.advance(&source, id.sequence, id.sequence);
        self.events.insert((source, id.sequence), event);
    }

    fn gap(&mut self, gap: &'a EventGap) {
        if gap.first_sequence > gap.last_sequence {
            return self.note(Promise::Ordered, format!("a gap of nothing: {gap:?}"));
        }
        let source = (gap.origin.clone(), gap.boot);
        self.advance(&source, gap.first_sequence, gap.last_sequence);
        self.gaps.push(gap);
    }

    /// A source may begin anywhere; from there on it goes forward, and without holes where
    /// everything was asked for.
    fn advance(&mut self, source: &Source, first: u64, last: u64) {
        let at = self.at.get(source).copied();
        match at {
            Some(at) if first <= at => self.note(
                Promise::Unique,
                format!("{source:?}: {first} came after {at}"),
            ),
            Some(at) if first != at + 1 && self.history.filter.is_empty() => self.note(
                Promise::GapFree,
                format!("{source:?}: {first} came after {at}"),
            ),
            Some(_) => {}
            None => {
                self.from.insert(source.clone(), first.saturating_sub(1));
            }
        }
        let at = self.at.entry(source.clone()).or_default();
        *at = last.max(*at);
    }

    /// A token of the daemon: never behind what it handed over, and ahead only of what was
    /// not asked for.
    fn stand(&mut self, token: &[u8], what: &str) {
        let Ok(token) = EventToken::decode(token) else {
            return self.note(Promise::Resumable, format!("{what} has no token"));
        };
        for id in token.positions {
            if id.origin.is_empty() {
                continue;
            }
            let source = (id.origin, id.boot);
            match self.at.get(&source).copied() {
                Some(at) if id.sequence < at => self.note(
                    Promise::Resumable,
                    format!(
                        "{what} says {} of {source:?}, {at} was handed over",
                        id.sequence
                    ),
                ),
                Some(at) if id.sequence > at && self.history.filter.is_empty() => self.note(
                    Promise::GapFree,
                    format!(
                        "{what} says {} of {source:?}, {at} was handed over",
                        id.sequence
                    ),
                ),
                Some(_) => {}
                None => {
                    self.from.insert(source.clone(), id.sequence);
                }
            }
            let at = self.at.entry(source).or_default();
            *at = id.sequence.max(*at);
        }
    }

    fn in_gap(&self, (source, sequence): &(Source, u64)) -> bool {
        self.gaps.iter().any(|gap| {
            (&gap.origin, gap.boot) == (&source.0, source.1)
                && (gap.first_sequence..=gap.last_sequence).contains(sequence)
        })
    }

    /// What others were handed of a stretch that this consumer has behind itself.
    fn left_out(&self, known: &BTreeMap<(Source, u64), &Event>) -> Vec<Breach> {
        let names = &self.history.filter;
        let mut breaches = Vec::new();
        for (source, at) in &self.at {
            let from = self.from.get(source).copied().unwrap_or(0);
            if from >= *at {
                continue;
            }
            let stretch = (source.clone(), from + 1)..=(source.clone(), *at);
            for (id, event) in known.range(stretch) {
                let wanted = names.is_empty() || names.contains(&event.name);
                if wanted && !self.events.contains_key(id) && !self.in_gap(id) {
                    let what = format!("{id:?} ({}) was left out", event.name);
                    breaches.push(self.breach(Promise::GapFree, what));
                }
            }
        }
        breaches
    }

    fn note(&mut self, promise: Promise, what: String) {
        let breach = self.breach(promise, what);
        self.breaches.push(breach);
    }

    fn breach(&self, promise: Promise, what: String) -> Breach {
        Breach {
            promise,
            consumer: self.history.consumer.clone(),
            what,
        }
    }
}

/// Whether two consumers were handed the same event. When it came is each daemon's own.
fn same(one: &Event, other: &Event) -> bool {
    let bare = |event: &Event| Event {
        received_at: None,
        merged: 0,
        ..event.clone()
    };
    bare(one) == bare(other)
}

/// Lamport times of a source grow with its sequence.
fn lamport(known: &BTreeMap<(Source, u64), &Event>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut last: Option<(&Source, u64)> = None;
    for ((source, sequence), event) in known {
        if let Some((before, time)) = last
            && before == source
            && event.lamport_time <= time
        {
            breaches.push(Breach {
                promise: Promise::Ordered,
                consumer: "everybody".to_owned(),
                what: format!(
                    "{source:?} {sequence} has the Lamport time {}, {time} came before",
                    event.lamport_time
                ),
            });
        }
        last = Some((source, event.lamport_time));
    }
    breaches
}

#[cfg(test)]
mod tests;
