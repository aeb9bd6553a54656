//! Watching: a local copy that stays right across restarts of the daemon. Written once
//! for every kind of item.

mod containers;
mod copy;
mod kind;
mod members;

use std::collections::VecDeque;

use tonic::transport::Channel;

use crate::error::{Code, Error};
use crate::link::{Link, LinkEvent, Lost};
use crate::pb;
use copy::Copy;
use kind::{Ask, Event};

pub use containers::{ContainerWatchOptions, Containers};
pub use kind::Watched;
pub use members::{MemberKey, MemberWatchOptions, Members};

/// A watch on members. Made by [`crate::Client::watch_members`].
pub type MemberWatch = Watch<Members>;

/// A watch on containers. Made by [`crate::Client::watch_containers`].
pub type ContainerWatch = Watch<Containers>;

/// One news of a watch.
#[derive(Debug)]
#[non_exhaustive]
pub enum Update<T> {
    /// The whole view, complete and consistent. Replaces everything before.
    Snapshot {
        /// Why it was sent.
        reason: pb::SnapshotReason,
        /// Members are ordered by name, containers by node, then id.
        items: Vec<T>,
    },
    /// What changed, as one step. Never empty.
    Changes(Vec<Change<T>>),
    /// The daemon is gone; the copy stays as it was. The watch goes on by itself.
    Disconnected(Lost),
    /// The daemon is back.
    Reconnected {
        /// True: only what changed meanwhile follows. False: a snapshot follows.
        resumed: bool,
    },
}

/// One changed item.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<T> {
    /// What happened to it, seen from the copy that the watch holds.
    pub kind: ChangeKind,
    /// What the copy held before.
    pub before: Option<T>,
    /// State after the change; for a removal the last known state.
    pub item: T,
}

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Entered the watched view.
    Added,
    /// Changed.
    Updated,
    /// Left the watched view.
    Removed,
}

/// Items at one position of the daemon's view.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T> {
    /// Members are ordered by name, and whoever holds a name comes before those that lost
    /// it; containers by node, then id.
    pub items: Vec<T>,
    /// The position.
    pub position: Option<pb::Position>,
}

/// A watch on one kind of item.
#[derive(Debug)]
pub struct Watch<W: Watched> {
    channel: Channel,
    options: W::Options,
    link: Link<W::Response>,
    copy: Copy<W>,
    pending: VecDeque<Update<W::Item>>,
    lost: bool,
}

impl<W: Watched> Watch<W> {
    pub(crate) fn new(channel: Channel, options: W::Options) -> Self {
        Self {
            channel,
            options,
            link: Link::new(W::CALL),
            copy: Copy::new(),
            pending: VecDeque::new(),
            lost: false,
        }
    }

    /// Waits for the next news. Never ends by itself. Cancel-safe.
    ///
    /// # Errors
    /// When the daemon refuses the request itself (bad regex, no permission): no
    /// later try can change that.
    pub async fn next(&mut self) -> Result<Update<W::Item>, Error> {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Ok(update);
            }
            let (channel, options, token) = (&self.channel, &self.options, self.copy.token());
            let open = || W::open(channel.clone(), options, Ask::Follow { token });
            match self.link.next(open).await {
                Ok(LinkEvent::Message { first, message }) => self.take(first, message),
                Ok(LinkEvent::Lost(lost)) => self.push_lost(lost),
                // A daemon of another version may not read its predecessor's tokens.
                Err(error)
                    if error.code() == Some(Code::InvalidArgument)
                        && !self.copy.token().is_empty() =>
                {
                    self.copy.forget_token();
                    let event = self.link.retry(error);
                    self.push_event_lost(event);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The local copy: as of the last [`Update`] that was handed out.
    pub fn items(&self) -> impl Iterator<Item = &W::Item> {
        self.copy.items()
    }

    /// Position of the local copy in the daemon's view; `None` before the first snapshot.
    #[must_use]
    pub const fn position(&self) -> Option<&pb::Position> {
        self.copy.position()
    }

    fn take(&mut self, first: bool, message: W::Response) {
        let message = W::read(message);
        if first && self.lost {
            self.lost = false;
            let resumed = matches!(message.event, Some(Event::Resumed));
            self.pending.push_back(Update::Reconnected { resumed });
        }
        match self.copy.take(first, message) {
            Ok(update) => self.pending.extend(update),
            Err(what) => {
                self.copy.forget_token();
                let event = self.link.violated(what);
                self.push_event_lost(event);
            }
        }
    }

    fn push_event_lost(&mut self, event: LinkEvent<W::Response>) {
        if let LinkEvent::Lost(lost) = event {
            self.push_lost(lost);
        }
    }

    fn push_lost(&mut self, lost: Lost) {
        self.lost = true;
        self.copy.forget_partial();
        self.pending.push_back(Update::Disconnected(lost));
    }
}

impl MemberWatch {
    /// One member of the local copy, by name or alias.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&pb::Member> {
        self.items()
            .find(|member| crate::display_name(member) == name)
    }
}

/// One snapshot, and no more.
pub(crate) async fn list<W: Watched>(
    channel: Channel,
    options: &W::Options,
) -> Result<List<W::Item>, Error> {
    let failed = |status| Error::of_call(W::CALL, status);
    let opened = W::open(channel, options, Ask::Once).await;
    let mut stream = opened.map_err(failed)?.into_inner();
    let mut items = Vec::new();
    while let Some(message) = stream.message().await.map_err(failed)? {
        let message = W::read(message);
        match message.event {
            Some(Event::Part(part)) => items.extend(part),
            Some(Event::End { count }) => {
                if usize::try_from(count) != Ok(items.len()) {
                    return Err(Error::protocol(W::CALL, "a snapshot whose count is wrong"));
                }
                let position = message.position;
                return Ok(List { items, position });
            }
            Some(Event::Begin(_) | Event::Resumed | Event::Delta(_) | Event::Heartbeat) | None => {}
        }
    }
    Err(Error::Ended { call: W::CALL })
}
