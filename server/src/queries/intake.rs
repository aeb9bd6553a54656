//! Where answers come in, from peers and from this node itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::asker::{Answered, Asked, Asker, Key, ROOM_UNIT, Told};
use super::metrics::Metrics;
use super::progress::Refusal;
use super::watcher::by_boot;
use super::{ANSWER_BYTES_MAX, Outcome};
use crate::hub::lock;

/// How long an answer waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// Why an answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Nobody waits, or not any more.
    #[error("nobody waits for that answer")]
    Unknown,
    /// It came before.
    #[error("the member has answered")]
    Twice,
    /// The member was not asked.
    #[error("the member was not asked")]
    Stranger,
    /// The member is not known here (yet).
    #[error("the member is not known")]
    NotYet,
    /// Another call of the member took its place.
    #[error("another call took its place")]
    Replaced,
    /// The reader is too slow.
    #[error("there is no room for the answer")]
    NoRoom,
}

/// The call of one member about one query.
#[derive(Debug)]
pub(super) struct Place {
    asked: Arc<Asked>,
    member: Arc<str>,
    turn: u64,
    room: Arc<tokio::sync::Semaphore>,
    metrics: Metrics,
}

impl Asker {
    /// A member got a query and wants to answer it.
    pub(super) async fn begin(&self, key: Key, name: &str, boot: u64) -> Result<Place, Refused> {
        let begun = self.admit(key, name, boot).await;
        let metrics = &self.inner.metrics;
        let counter = match &begun {
            Ok(_) | Err(Refused::NotYet | Refused::Replaced) => return begun,
            Err(Refused::Unknown) => &metrics.late,
            Err(Refused::Twice) => &metrics.duplicates,
            Err(Refused::Stranger) => &metrics.strangers,
            Err(Refused::NoRoom) => &metrics.no_room,
        };
        counter.inc();
        begun
    }

    async fn admit(&self, key: Key, name: &str, boot: u64) -> Result<Place, Refused> {
        let asked = self.find(key).await?;
        let hub = &self.inner.hub;
        let member = by_boot(hub, name, boot).ok_or(Refused::NotYet)?;
        let name = Arc::clone(member.display_name());
        let expected = lock(&asked.progress).expects(&name, boot);
        if !expected {
            let meant = hub.meant(&asked.target);
            if !meant.iter().any(|other| other.key() == member.key()) {
                return Err(Refused::Stranger);
            }
        }
        let begun = lock(&asked.progress).begin(&name, boot);
        let begun = begun.map_err(|refusal| match refusal {
            Refusal::Twice => Refused::Twice,
            Refusal::OtherBoot => Refused::Stranger,
        })?;
        let place = Place {
            asked,
            member: name,
            turn: begun.turn,
            room: Arc::clone(&self.inner.room),
            metrics: self.inner.metrics.clone(),
        };
        if begun.first {
            place.metrics.acks.inc();
            if place.asked.want_ack {
                let member = Arc::clone(&place.member);
                place.tell(Answered::Ack { member }, None).await?;
            }
        }
        Ok(place)
    }
}

impl Place {
    /// Waits until nobody waits for the answer any more.
    pub(super) async fn over(&self) {
        self.asked.over.cancelled().await;
    }

    /// Room for an answer of that size.
    pub(super) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let units = bytes.min(ANSWER_BYTES_MAX).div_ceil(ROOM_UNIT) + 1;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let acquiring = Arc::clone(&self.room).acquire_many_owned(units);
        let acquired = tokio::select! {
            acquired = timeout(ROOM_WAIT, acquiring) => acquired,
            () = self.over() => return Err(Refused::Unknown),
        };
        match acquired {
            Ok(Ok(hold)) => Ok(hold),
            Ok(Err(_)) | Err(_) => {
                self.metrics.no_room.inc();
                Err(Refused::NoRoom)
            }
        }
    }

    /// Hands the answer to whoever asked.
    pub(super) async fn finish(
        self,
        outcome: Outcome,
        hold: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Refused> {
        if !lock(&self.asked.progress).stands(&self.member, self.turn) {
            self.metrics.duplicates.inc();
            return Err(Refused::Replaced);
        }
        let member = Arc::clone(&self.member);
        let answered = match outcome {
            Outcome::Answer(answer) => Some(Answered::answer(member, answer)),
            Outcome::Failed(error) => Some(Answered::Answer {
                member,
                result: Err(error),
                truncated: false,
            }),
            Outcome::Nothing => None,
        };
        if let Some(answered) = answered {
            self.tell(answered, hold).await?;
            self.metrics.answers.inc();
        }
        lock(&self.asked.progress).done(&self.member, self.turn);
        self.asked.changed.notify_one();
        Ok(())
    }

    async fn tell(
        &self,
        answered: Answered,
        hold: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Refused> {
        let told = Told { answered, hold };
        tokio::select! {
            sent = self.asked.told.send(told) => sent.map_err(|_gone| Refused::Unknown),
            () = self.over() => Err(Refused::Unknown),
        }
    }
}
