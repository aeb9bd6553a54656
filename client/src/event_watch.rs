//! Watching events: each one once, or covered by a gap, also across restarts of the daemon.

use std::collections::VecDeque;
use std::time::Duration;

use tonic::transport::Channel;

use crate::error::Error;
use crate::link::{HEARTBEAT, Link, LinkEvent, Lost};
use crate::pb;
use crate::pb::event_service_client::EventServiceClient;
use crate::position::EventPositions;
use pb::watch_events_response::Event as Message;

const CALL: &str = "WatchEvents";

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct EventWatchOptions {
    /// Exact event names, or prefixes with a final `*`; at most 64; empty: all.
    pub names: Vec<String>,
    /// Where to go on, from [`EventWatch::positions`]; `None`: from now.
    pub resume: Option<EventPositions>,
    /// Without `resume`: first everything that the daemon still remembers.
    pub replay: bool,
    /// Merge events that were sent to be merged: only the newest of a name comes.
    pub coalesce: Option<Coalescing>,
}

/// How long events wait to be merged; `None`: serf's times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coalescing {
    /// Since the first that waits; 3 s.
    pub window: Option<Duration>,
    /// Since the last that came; 1 s.
    pub quiet: Option<Duration>,
}

/// One news of a watch.
#[derive(Debug)]
#[non_exhaustive]
pub enum EventUpdate {
    /// The daemon took the subscription: every event from here on comes.
    Subscribed,
    /// An event; in order per origin and boot.
    Event(Box<pb::Event>),
    /// Events that will never come.
    Gap(pb::EventGap),
    /// The daemon is gone. The watch goes on by itself and loses nothing silently.
    Disconnected(Lost),
    /// The daemon is back; what happened meanwhile follows.
    Reconnected,
}

/// A watch on events. Made by [`crate::Client::watch_events`].
#[derive(Debug)]
pub struct EventWatch {
    client: EventServiceClient<Channel>,
    options: EventWatchOptions,
    link: Link<pb::WatchEventsResponse>,
    cursor: Cursor,
    pending: VecDeque<EventUpdate>,
    lost: bool,
}

/// Position and the rules of the stream; no I/O.
#[derive(Debug, Default)]
struct Cursor {
    /// `None` until the first `begin`, unless the caller brought one.
    positions: Option<EventPositions>,
    subscribed: bool,
    repeated: u64,
}

impl EventWatch {
    pub(crate) fn new(channel: Channel, mut options: EventWatchOptions) -> Self {
        let cursor = Cursor {
            positions: options.resume.take(),
            ..Cursor::default()
        };
        Self {
            client: EventServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            options,
            link: Link::new(CALL),
            cursor,
            pending: VecDeque::new(),
            lost: false,
        }
    }

    /// Waits for the next news. Never ends by itself. Cancel-safe.
    ///
    /// # Errors
    /// When the daemon refuses the request itself (bad pattern, no permission, a
    /// token that the caller made up): no later try can change that.
    pub async fn next(&mut self) -> Result<EventUpdate, Error> {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Ok(update);
            }
            let (client, options, cursor) = (&self.client, &self.options, &self.cursor);
            let open = || {
                let mut client = client.clone();
                let request = cursor.request(options);
                Box::pin(async move { client.watch_events(request).await }) as _
            };
            match self.link.next(open).await? {
                LinkEvent::Message { first, message } => self.take(first, message),
                LinkEvent::Lost(lost) => self.push_lost(lost),
            }
        }
    }

    /// Position after the last update that was handed out: resume with it later, also
    /// at another daemon of the cluster. `None` until [`EventUpdate::Subscribed`].
    #[must_use]
    pub const fn positions(&self) -> Option<&EventPositions> {
        self.cursor.positions.as_ref()
    }

    /// Events that the daemon sent again and that were dropped here.
    #[must_use]
    pub const fn repeated(&self) -> u64 {
        self.cursor.repeated
    }

    fn take(&mut self, first: bool, message: pb::WatchEventsResponse) {
        if first && std::mem::take(&mut self.lost) && self.cursor.subscribed {
            self.pending.push_back(EventUpdate::Reconnected);
        }
        match self.cursor.take(first, message) {
            Ok(update) => self.pending.extend(update),
            Err(what) => {
                if let LinkEvent::Lost(lost) = self.link.violated(what) {
                    self.push_lost(lost);
                }
            }
        }
    }

    fn push_lost(&mut self, lost: Lost) {
        self.lost = true;
        self.pending.push_back(EventUpdate::Disconnected(lost));
    }
}

/// Largest message: the highest payload limit that a daemon can be set to, and its frame.
const MESSAGE_BYTES_MAX: usize = (1 << 20) + (16 << 10);

impl Cursor {
    fn request(&self, options: &EventWatchOptions) -> pb::WatchEventsRequest {
        // Without one the token stays empty: "from now".
        let token = self.positions.as_ref().map(EventPositions::encode);
        pb::WatchEventsRequest {
            names: options.names.clone(),
            replay_buffered: token.is_none() && options.replay,
            resume_token: token.unwrap_or_default().into(),
            coalesce: options.coalesce.map(|times| pb::EventCoalescing {
                window: times.window.and_then(|time| time.try_into().ok()),
                quiet: times.quiet.and_then(|time| time.try_into().ok()),
            }),
            heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT).ok(),
        }
    }

    /// Takes a message. `Err` names the rule that the daemon broke.
    fn take(
        &mut self,
        first: bool,
        message: pb::WatchEventsResponse,
    ) -> Result<Option<EventUpdate>, &'static str> {
        let event = message.event.ok_or("a message without content")?;
        if first != matches!(event, Message::Begin(_)) {
            return Err("`begin` must be the first message, and only that");
        }
        match event {
            Message::Begin(begin) => {
                self.set_token(&begin.token)?;
                let news = !std::mem::replace(&mut self.subscribed, true);
                Ok(news.then_some(EventUpdate::Subscribed))
            }
            Message::Heartbeat(heartbeat) => {
                self.set_token(&heartbeat.token)?;
                Ok(None)
            }
            Message::Item(event) => {
                let positions = self.positions.get_or_insert_default();
                let id = event.id.as_ref().ok_or("an event without an id")?;
                if positions.fold(id) {
                    Ok(Some(EventUpdate::Event(Box::new(event))))
                } else {
                    self.repeated += 1;
                    Ok(None)
                }
            }
            Message::Gap(gap) => {
                let positions = self.positions.get_or_insert_default();
                Ok(positions.fold_gap(gap).map(EventUpdate::Gap))
            }
        }
    }

    fn set_token(&mut self, token: &[u8]) -> Result<(), &'static str> {
        let Ok(positions) = EventPositions::decode(token) else {
            return Err("a token that is no token");
        };
        self.positions = Some(positions);
        Ok(())
    }
}
