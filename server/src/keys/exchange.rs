//! One exchange of rings with a member, and one with everybody.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use muster_engine::crypto::KeyId;
use muster_engine::{Member, Stage, Status};
use muster_proto::peer as pb;
use tokio::time::timeout;

use super::message::{id_number, id_of, stage_number, stage_of};
use super::ring::Ring;
use super::{Keys, KeysError, keyring};

/// Members that are asked at the same time by one operation; the others wait.
pub(super) const ASKED_MAX: usize = 32;

/// A member that has not answered by then counts as failed in that operation.
pub(super) const MEMBER_DEADLINE: Duration = Duration::from_secs(5);

/// The way to the keys of other members.
pub trait KeyNet: fmt::Debug + Send + Sync + 'static {
    /// Merges a ring at a member, brings back its own. Under a key, or not at all.
    fn exchange(
        &self,
        member: Arc<Member>,
        request: pb::ExchangeRequest,
    ) -> BoxFuture<'static, Result<pb::ExchangeResponse, String>>;

    /// A key went, or with `None` plaintext: connections under it are closed.
    fn close_key(&self, key: Option<KeyId>);
}

/// What one member has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) keys: Vec<KeyId>,
    pub(super) primary: Option<KeyId>,
    pub(super) stage: Option<Stage>,
    pub(super) problem: String,
}

/// What became of asking one member.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) member: Arc<str>,
    pub(super) held: Result<Held, String>,
}

impl Keys {
    /// Members to ask: those believed to run, this node not among them.
    pub(super) fn others(&self) -> Vec<Arc<Member>> {
        let Ok(members) = self.shared.hub.members().changes_since(0) else {
            return Vec::new();
        };
        let members = members.items.into_iter().filter(|item| !item.removed);
        members
            .map(|item| item.entry.value)
            .filter(|member| !member.is_self)
            .filter(|member| matches!(member.status, Status::Alive | Status::Suspect))
            .collect()
    }

    /// Exchanges rings with everybody: this node has what all of them were told after
    /// it, and says what each one has. By name, this node included.
    pub(super) async fn ask_everybody(&self) -> Result<Vec<Answered>, KeysError> {
        let told = self.ring().await.told().to_message();
        let asking = stream::iter(self.others()).map(|member| {
            let told = told.clone();
            async move {
                (
                    Arc::clone(member.display_name()),
                    self.ask(member, told).await,
                )
            }
        });
        let answers: Vec<_> = asking.buffer_unordered(ASKED_MAX).collect().await;
        let mut answered = Vec::with_capacity(answers.len() + 1);
        let mut rings = Vec::new();
        for (member, result) in answers {
            let held = result.map(|(ring, held)| {
                rings.push(ring);
                held
            });
            answered.push(Answered { member, held });
        }
        self.take_over(&rings).await?;
        answered.push(self.mine(&self.ring().await));
        answered.sort_by(|one, two| one.member.cmp(&two.member));
        Ok(answered)
    }

    /// Exchanges rings with one member; its ring is not taken over yet.
    pub(super) async fn ask(
        &self,
        member: Arc<Member>,
        told: pb::KeyState,
    ) -> Result<(Ring, Held), String> {
        self.shared.metrics.exchanges.inc();
        let request = pb::ExchangeRequest { state: Some(told) };
        let asked = timeout(MEMBER_DEADLINE, self.shared.net.exchange(member, request));
        let answer = match asked.await {
            Ok(answer) => answer.and_then(read),
            Err(_) => Err("no answer in time".to_owned()),
        };
        answer.inspect_err(|_| {
            self.shared.metrics.exchanges_failed.inc();
        })
    }

    /// Takes over what others were told later than this node; true if that was news.
    pub(super) async fn take_over(&self, rings: &[Ring]) -> Result<bool, KeysError> {
        let now = super::unix_ms();
        self.change(|ring| {
            let mut news = false;
            for other in rings {
                news |= ring.merge(&other.told())?;
            }
            ring.expire(now);
            Ok(news)
        })
        .await
    }

    /// This node's answer to another one's ring.
    pub(super) async fn answer(
        &self,
        request: pb::ExchangeRequest,
    ) -> Result<pb::ExchangeResponse, KeysError> {
        let bad = |error: super::message::MessageError| KeysError::Refused(error.to_string());
        let other = Ring::from_message(request.state.unwrap_or_default()).map_err(bad)?;
        let full = match self.take_over(&[other]).await {
            Ok(news) => {
                if news {
                    self.shared.metrics.told.inc();
                }
                None
            }
            Err(KeysError::Ring(error)) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        let ring = self.ring().await;
        let held = self.held(&ring);
        Ok(pb::ExchangeResponse {
            state: Some(ring.told().to_message()),
            held: held.keys.into_iter().map(id_number).collect(),
            primary: held.primary.map_or(0, id_number),
            stage: held.stage.map_or(0, stage_number),
            problem: full.unwrap_or(held.problem),
        })
    }

    /// This node, as if it had been asked.
    pub(super) fn mine(&self, ring: &Ring) -> Answered {
        Answered {
            member: Arc::clone(&self.shared.name),
            held: Ok(self.held(ring)),
        }
    }

    fn held(&self, ring: &Ring) -> Held {
        let keyring = keyring(ring, self.shared.public.is_some());
        Held {
            keys: ring.installed().map(|(id, _)| id).collect(),
            primary: ring.primary(),
            stage: keyring.map(|keyring| keyring.stage()),
            problem: self.problem(),
        }
    }
}

fn read(answer: pb::ExchangeResponse) -> Result<(Ring, Held), String> {
    let ring = Ring::from_message(answer.state.unwrap_or_default());
    let ring = ring.map_err(|error| format!("its ring makes no sense: {error}"))?;
    let held = Held {
        primary: answer
            .held
            .contains(&answer.primary)
            .then(|| id_of(answer.primary)),
        keys: answer
            .held
            .into_iter()
            .take(super::KEYS_MAX)
            .map(id_of)
            .collect(),
        stage: stage_of(answer.stage).ok(),
        problem: answer.problem.chars().take(PROBLEM_CHARS_MAX).collect(),
    };
    Ok((ring, held))
}

/// Longest text of a member's problem that is shown, characters.
const PROBLEM_CHARS_MAX: usize = 500;
