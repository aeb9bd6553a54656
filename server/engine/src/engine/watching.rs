//! Streams that stand idle, so that their end tells of a death.
//!
//! Each member holds streams to its successors on the ring of name hashes. A process
//! that dies while its host lives ends them: the kernel says so. A stream that ends
//! without a goodbye is opened anew at once; if that is refused, or finds no host, the
//! watcher suspects its member and says what it saw ([`Evidence`]). The words of two
//! watchers are a verdict. A process that stands still ends no stream, and its kernel
//! goes on accepting: it is never mistaken for a dead one.

mod ring;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::Engine;
use super::datagrams::ident_bytes;
use super::doubting::Doubt;
use crate::api::{Output, WatchEvent, WatchFailure, WatchId};
use crate::history::Seen;
use crate::ident::{Ident, NodeRef};
use crate::suspicion::Evidence;
use crate::time::{Now, Time};
use crate::wire::Hello;

use ring::Ring;
pub(crate) use ring::SUCCESSORS;
pub(super) use ring::successors;
use words::Lone;

/// How long a stream may take to open while nothing speaks against the peer.
const OPEN_WITHIN: Duration = Duration::from_secs(3);

/// How long opening one anew may take after it broke, the second try included.
const REOPEN_WITHIN: Duration = Duration::from_millis(150);

/// Pause before the second try: a listener that dies still accepts for an instant.
const REOPEN_AGAIN: Duration = Duration::from_millis(5);

/// Pause before a stream is opened that could not be, or that was closed; doubles up
/// to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Looks at members on behalf of others under way at once; more are left out, and the
/// asker has asked another member as well.
const LOOKS_MAX: usize = 16;

/// One stream, by where it stands.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// To be opened then, for the so manieth time.
    Waiting { at: Time, tries: u32 },
    /// Being opened.
    Opening { id: WatchId, tries: u32 },
    /// It stands idle.
    Open { id: WatchId },
    /// It broke and is being opened anew: until when, and whether again.
    Reopening {
        id: WatchId,
        until: Time,
        again: bool,
    },
    /// The first try after it broke did not succeed: the second one is due then.
    Pausing { at: Time, until: Time },
}

/// A stream of this node.
#[derive(Debug)]
struct Stream {
    to: NodeRef,
    stage: Stage,
}

/// Why a stream is tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Aim {
    /// To be held.
    Hold(NodeRef),
    /// Another watcher lost its stream and is alone with that.
    Look(Ident),
    /// This node's probe with that number was not answered.
    Probe(Ident, u8),
    /// Another member's verdict is doubted.
    Doubt(Doubt),
}

/// The streams of a node.
#[derive(Debug, Default)]
pub(super) struct Watching {
    streams: BTreeMap<u64, Stream>,
    aims: BTreeMap<WatchId, Aim>,
    next: u64,
    ring: Ring,
    lone: Lone,
}

impl Watching {
    /// When [`Engine::tick_watching`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let due = |stream: &Stream| match stream.stage {
            Stage::Waiting { at, .. } | Stage::Pausing { at, .. } => Some(at),
            Stage::Opening { .. } | Stage::Open { .. } | Stage::Reopening { .. } => None,
        };
        let streams = self.streams.values().filter_map(due).min();
        let others = [self.ring.next_deadline(), self.lone.next_deadline()];
        others.into_iter().chain([streams]).flatten().min()
    }

    /// Streams that stand idle.
    pub(super) fn open(&self) -> usize {
        let open = |stream: &&Stream| matches!(stream.stage, Stage::Open { .. });
        self.streams.values().filter(open).count()
    }

    fn looks(&self) -> usize {
        let look = |aim: &&Aim| matches!(aim, Aim::Look(_));
        self.aims.values().filter(look).count()
    }

    /// Doubts under way, and whether one is about this member.
    pub(super) fn doubts(&self, subject: Ident) -> (usize, bool) {
        let doubts = self.aims.values().filter_map(|aim| match aim {
            Aim::Doubt(doubt) => Some(doubt.subject),
            Aim::Hold(_) | Aim::Look(_) | Aim::Probe(..) => None,
        });
        doubts.fold((0, false), |(n, same), of| (n + 1, same || of == subject))
    }

    fn stage(&mut self, node: NodeRef, stage: Stage) {
        if let Some(stream) = self.streams.get_mut(&node.hash) {
            stream.stage = stage;
        }
    }
}

impl Engine {
    /// First words of this node, and its answer to those of others.
    pub(super) fn hello(&mut self, now: Now) -> Bytes {
        let hello = Hello {
            ident: ident_bytes(self.own.ident),
            incarnation: u32::from(self.own.incarnation),
            digest: self.digest(now),
        };
        Bytes::from(hello.encode_to_vec())
    }

    /// A peer opens a stream to this node.
    pub(super) fn on_hello(&mut self, now: Now, body: &[u8]) -> Option<Bytes> {
        let (caller, said) = understand(body)?;
        self.probing.heard(now.at);
        self.on_sign_of_life(now, caller, said.incarnation);
        Some(self.hello(now))
    }

    /// Something happened to a stream.
    pub(super) fn on_watch(&mut self, now: Now, id: WatchId, event: WatchEvent) {
        let Some(aim) = self.watching.aims.get(&id).copied() else {
            // It was given up meanwhile.
            return;
        };
        let opened = matches!(event, WatchEvent::Opened(_));
        if !opened || !matches!(aim, Aim::Hold(_)) {
            self.watching.aims.remove(&id);
        }
        match (aim, event) {
            (Aim::Hold(to), WatchEvent::Opened(answer)) => self.stream_opened(now, id, to, &answer),
            (Aim::Hold(to), WatchEvent::Closed) => {
                self.count("watch_streams_closed");
                self.try_later(now, to, 0);
            }
            (Aim::Hold(to), WatchEvent::Lost) => self.stream_lost(now, to),
            (Aim::Hold(to), WatchEvent::Failed(failure)) => self.stream_failed(now, to, failure),
            (Aim::Look(subject), WatchEvent::Failed(failure)) => self.looked(now, subject, failure),
            (Aim::Look(_), WatchEvent::Opened(_)) => self.unwatch(id),
            (Aim::Probe(subject, number), WatchEvent::Opened(answer)) => {
                self.answered_by_tcp(now, id, (subject, number), &answer);
            }
            (Aim::Probe(subject, _), WatchEvent::Failed(failure)) => {
                self.missed_by_tcp(now, subject, failure);
            }
            (Aim::Doubt(doubt), WatchEvent::Opened(answer)) => {
                self.doubt_answered(now, id, doubt, &answer);
            }
            (Aim::Doubt(doubt), WatchEvent::Failed(failure)) => {
                self.doubt_unanswered(now, doubt, failure);
            }
            (
                Aim::Look(_) | Aim::Probe(..) | Aim::Doubt(_),
                WatchEvent::Closed | WatchEvent::Lost,
            ) => {}
        }
    }

    /// Does what is due.
    pub(super) fn tick_watching(&mut self, now: Now) {
        let due: Vec<_> = self
            .watching
            .streams
            .values()
            .map(|s| (s.to, s.stage))
            .collect();
        for (to, stage) in due {
            match stage {
                Stage::Waiting { at, tries } if at <= now.at => {
                    if let Some(id) = self.try_stream(now, to, OPEN_WITHIN) {
                        self.watching.stage(to, Stage::Opening { id, tries });
                    }
                }
                Stage::Pausing { at, until } if at <= now.at => self.reopen(now, to, until, true),
                Stage::Waiting { .. }
                | Stage::Pausing { .. }
                | Stage::Opening { .. }
                | Stage::Open { .. }
                | Stage::Reopening { .. } => {}
            }
        }
        self.ask_for_words(now);
    }

    /// Begins to open a stream to a member of the table.
    fn try_stream(&mut self, now: Now, to: NodeRef, within: Duration) -> Option<WatchId> {
        let addr = self.table.run(to)?.record.parsed().addr;
        Some(self.try_watch(now, addr, Aim::Hold(to), within))
    }

    pub(super) fn try_watch(
        &mut self,
        now: Now,
        to: std::net::SocketAddr,
        aim: Aim,
        within: Duration,
    ) -> WatchId {
        self.watching.next += 1;
        let id = WatchId(self.watching.next);
        self.watching.aims.insert(id, aim);
        let hello = self.hello(now);
        self.outputs.push_back(Output::Watch {
            id,
            to,
            hello,
            within,
        });
        id
    }

    /// Closes a stream that served its purpose.
    pub(super) fn unwatch(&mut self, id: WatchId) {
        self.outputs.push_back(Output::Unwatch { id });
    }

    fn try_later(&mut self, now: Now, to: NodeRef, tries: u32) {
        let pause = RETRY_MIN.saturating_mul(1 << tries.min(8)).min(RETRY_MAX);
        let at = now.at + pause;
        let tries = tries + 1;
        self.watching.stage(to, Stage::Waiting { at, tries });
    }

    fn stream_opened(&mut self, now: Now, id: WatchId, to: NodeRef, answer: &[u8]) {
        let broke = self.watching.streams.get(&to.hash).is_some_and(|stream| {
            stream.to == to && matches!(stream.stage, Stage::Reopening { .. })
        });
        match understand(answer) {
            Some((ident, hello)) if ident.node() == to => {
                if broke {
                    self.count("watch_streams_lost_unexplained");
                    self.saw(now, to.hash, Seen::StreamReopened);
                }
                self.watching.stage(to, Stage::Open { id });
                self.on_sign_of_life(now, ident, hello.incarnation);
            }
            Some((ident, _)) => {
                // A restart that was faster than its news, or an address that went to
                // somebody else: whoever it is, it tells of itself.
                let newer = ident.hash == to.hash && ident.boot > to.boot;
                self.count(if newer {
                    "restarts_seen_on_streams"
                } else {
                    "watch_streams_to_others"
                });
                if newer {
                    self.saw(now, to.hash, Seen::RestartAnswered);
                }
                self.drop_stream(to.hash);
                let addr = self.table.run(to).map(|peer| peer.record.parsed().addr);
                if let Some(addr) = addr.filter(|_| self.exchanges.has_room()) {
                    self.compare(now, addr, false, None);
                }
            }
            None => {
                self.count("watch_answers_malformed");
                self.drop_stream(to.hash);
            }
        }
    }

    /// It ended without a goodbye: is the peer still there?
    fn stream_lost(&mut self, now: Now, to: NodeRef) {
        self.count("watch_streams_broken");
        self.saw(now, to.hash, Seen::StreamBroke);
        let until = now.at + REOPEN_WITHIN;
        self.reopen(now, to, until, false);
    }

    fn reopen(&mut self, now: Now, to: NodeRef, until: Time, again: bool) {
        let within = until.since(now.at);
        if let Some(id) = self.try_stream(now, to, within) {
            self.watching
                .stage(to, Stage::Reopening { id, until, again });
        }
    }

    fn stream_failed(&mut self, now: Now, to: NodeRef, failure: WatchFailure) {
        let stream = self.watching.streams.get(&to.hash);
        match stream.filter(|stream| stream.to == to).map(|s| s.stage) {
            Some(Stage::Opening { tries, .. }) => {
                self.count("watch_streams_not_opened");
                self.try_later(now, to, tries);
            }
            Some(Stage::Reopening { until, again, .. }) => {
                let (at, late) = (now.at + REOPEN_AGAIN, now.at + REOPEN_AGAIN >= until);
                if !again && !late {
                    self.watching.stage(to, Stage::Pausing { at, until });
                    return;
                }
                self.try_later(now, to, 0);
                self.saw(now, to.hash, Seen::StreamNotReopened(failure));
                match failure {
                    WatchFailure::Refused => self.witness(now, to, Evidence::StreamRefused),
                    WatchFailure::Unreachable => self.witness(now, to, Evidence::StreamUnreachable),
                    WatchFailure::Silent => self.witness(now, to, Evidence::StreamSilent),
                    WatchFailure::Unanswered | WatchFailure::Broken => {
                        self.witness(now, to, Evidence::Unanswered);
                    }
                    WatchFailure::Rejected => self.count("watch_streams_rejected"),
                    WatchFailure::Local => self.count("watch_streams_failed_locally"),
                }
            }
            Some(Stage::Waiting { .. } | Stage::Open { .. } | Stage::Pausing { .. }) | None => {}
        }
    }

    /// Gives a stream up, with a goodbye if it is open.
    fn drop_stream(&mut self, hash: u64) {
        let Some(stream) = self.watching.streams.remove(&hash) else {
            return;
        };
        match stream.stage {
            Stage::Opening { id, .. } | Stage::Open { id } | Stage::Reopening { id, .. } => {
                self.watching.aims.remove(&id);
                self.outputs.push_back(Output::Unwatch { id });
            }
            Stage::Waiting { .. } | Stage::Pausing { .. } => {}
        }
    }
}

/// Who speaks, and what it says.
pub(super) fn understand(hello: &[u8]) -> Option<(Ident, Hello)> {
    let hello = Hello::decode(hello).ok()?;
    Some((Ident::get(&hello.ident[..])?, hello))
}
