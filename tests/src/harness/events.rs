//! A consumer's record of a `WatchEvents` stream, which holds the daemon to the
//! promise: in order per origin and boot, once, and every hole covered by one gap.

use std::collections::BTreeMap;

use muster_proto::v1::watch_events_response::Event as Content;
use muster_proto::v1::{Event, EventGap, EventGapReason, EventId, EventToken, WatchEventsResponse};
use prost::Message as _;

/// One origin in one of its lives.
type Source = (String, u64);

/// What a consumer took so far.
#[derive(Debug, Clone, Default)]
pub struct EventLog {
    positions: BTreeMap<Source, u64>,
    events: Vec<Event>,
    gaps: Vec<EventGap>,
}

impl EventLog {
    /// A record that begins with the token of `begin`.
    ///
    /// # Errors
    ///
    /// When the token is no [`EventToken`].
    pub fn from_token(token: &[u8]) -> Result<Self, String> {
        let token = EventToken::decode(token).map_err(|error| format!("a bad token: {error}"))?;
        let positions = token
            .positions
            .into_iter()
            .map(|id| ((id.origin, id.boot), id.sequence))
            .collect();
        Ok(Self {
            positions,
            ..Self::default()
        })
    }

    /// Takes one message after `begin`.
    ///
    /// # Errors
    ///
    /// The sentence of the promise that the message breaks.
    pub fn apply(&mut self, message: &WatchEventsResponse) -> Result<(), String> {
        match message.event.as_ref().ok_or("a message without content")? {
            Content::Begin(_) => Err("a second begin".to_owned()),
            Content::Item(event) => self.event(event),
            Content::Gap(gap) => self.gap(gap),
            Content::Heartbeat(beat) => self.heartbeat(&beat.token),
        }
    }

    /// Events taken, in order of arrival.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Gaps taken, in order of arrival.
    #[must_use]
    pub fn gaps(&self) -> &[EventGap] {
        &self.gaps
    }

    /// Events that gaps cover.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.gaps
            .iter()
            .map(|gap| gap.last_sequence - gap.first_sequence + 1)
            .sum()
    }

    /// The token to resume with: that of `begin`, with all that came since folded in.
    #[must_use]
    pub fn token(&self) -> Vec<u8> {
        let positions = self
            .positions
            .iter()
            .map(|((origin, boot), sequence)| EventId {
                origin: origin.clone(),
                boot: *boot,
                sequence: *sequence,
            })
            .collect();
        EventToken { positions }.encode_to_vec()
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        let id = event.id.as_ref().ok_or("an event without an id")?;
        self.advance((id.origin.clone(), id.boot), id.sequence, id.sequence)?;
        self.events.push(event.clone());
        Ok(())
    }

    fn gap(&mut self, gap: &EventGap) -> Result<(), String> {
        if gap.reason() == EventGapReason::Unspecified {
            return Err(format!("a gap without a reason: {gap:?}"));
        }
        if gap.first_sequence > gap.last_sequence {
            return Err(format!("a gap of nothing: {gap:?}"));
        }
        self.advance(
            (gap.origin.clone(), gap.boot),
            gap.first_sequence,
            gap.last_sequence,
        )?;
        self.gaps.push(gap.clone());
        Ok(())
    }

    /// A source may begin anywhere; from there on there are no holes.
    fn advance(&mut self, source: Source, first: u64, last: u64) -> Result<(), String> {
        if first == 0 {
            return Err(format!("{source:?} has a sequence of 0"));
        }
        match self.positions.get(&source) {
            Some(at) if first <= *at => Err(format!(
                "{source:?}: {first} came after {at}: doubled or out of order"
            )),
            Some(at) if first != at + 1 => Err(format!(
                "{source:?}: {first} came after {at}: a hole without a gap"
            )),
            Some(_) | None => {
                self.positions.insert(source, last);
                Ok(())
            }
        }
    }

    /// A heartbeat never lags behind, or runs ahead of, what was handed over.
    fn heartbeat(&mut self, token: &[u8]) -> Result<(), String> {
        let theirs = Self::from_token(token)?.positions;
        for (source, at) in &self.positions {
            match theirs.get(source) {
                Some(said) if said != at => {
                    return Err(format!(
                        "a heartbeat says {said} for {source:?}, {at} was handed over"
                    ));
                }
                // A life that is over and forgotten may leave the token.
                Some(_) | None => {}
            }
        }
        self.positions.extend(theirs);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use muster_proto::v1::{EventBegin, EventHeartbeat};

    use super::*;

    fn message(content: Content) -> WatchEventsResponse {
        WatchEventsResponse {
            event: Some(content),
        }
    }

    fn event(origin: &str, sequence: u64) -> WatchEventsResponse {
        let id = EventId {
            origin: origin.to_owned(),
            boot: 1,
            sequence,
        };
        message(Content::Item(Event {
            id: Some(id),
            ..Event::default()
        }))
    }

    fn gap(first_sequence: u64, last_sequence: u64, reason: EventGapReason) -> WatchEventsResponse {
        message(Content::Gap(EventGap {
            origin: "a".to_owned(),
            boot: 1,
            first_sequence,
            last_sequence,
            reason: reason.into(),
        }))
    }

    #[test]
    fn origins_are_in_order_each_for_itself() {
        let mut log = EventLog::default();
        for message in [event("a", 7), event("b", 1), event("a", 8), event("b", 2)] {
            log.apply(&message).unwrap();
        }
        assert_eq!(log.events().len(), 4);
    }

    #[test]
    fn a_gap_covers_a_hole() {
        let mut log = EventLog::default();
        log.apply(&event("a", 1)).unwrap();
        log.apply(&gap(2, 5, EventGapReason::NotHeld)).unwrap();
        log.apply(&event("a", 6)).unwrap();
        assert_eq!((log.missed(), log.gaps().len()), (4, 1));
    }

    #[test]
    fn holes_doubles_and_empty_gaps_are_found() {
        let mut log = EventLog::default();
        log.apply(&event("a", 3)).unwrap();
        for (words, breach) in [
            ("a hole", event("a", 5)),
            ("doubled", event("a", 3)),
            ("doubled", event("a", 2)),
            ("a hole", gap(5, 6, EventGapReason::NotHeld)),
            ("a gap of nothing", gap(4, 3, EventGapReason::NotHeld)),
            ("without a reason", gap(4, 5, EventGapReason::Unspecified)),
            ("sequence of 0", event("b", 0)),
            (
                "a second begin",
                message(Content::Begin(EventBegin::default())),
            ),
        ] {
            let error = log.clone().apply(&breach).unwrap_err();
            assert!(error.contains(words), "{error} does not tell of {words}");
        }
    }

    #[test]
    fn a_token_fixes_what_comes_next() {
        let mut before = EventLog::default();
        before.apply(&event("a", 9)).unwrap();
        let token = before.token();
        let mut log = EventLog::from_token(&token).unwrap();
        assert!(
            log.clone()
                .apply(&event("a", 11))
                .unwrap_err()
                .contains("a hole")
        );
        log.apply(&event("a", 10)).unwrap();
        let late = message(Content::Heartbeat(EventHeartbeat {
            token: token.into(),
        }));
        assert!(log.apply(&late).unwrap_err().contains("a heartbeat says 9"));
    }
}
