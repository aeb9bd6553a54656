//! Changes of the whole cluster. Each asks everybody first, so that it builds on what
//! all were told and knows who is not ready; then it changes this node and tells all.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_engine::Stage;
use muster_engine::crypto::KeyId;
use muster_proto::token::KeyBytes;
use zeroize::Zeroizing;

use super::exchange::{Answered, Held};
use super::report::KeyReport;
use super::ring::{Ring, RingError};
use super::{Keys, KeysError, show, unix_ms};

/// Longest that a replaced key is still accepted.
pub const OVERLAP_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What a rotation came to.
#[derive(Debug, Clone)]
pub struct Rotated {
    /// The new key.
    pub id: KeyId,
    /// The one that it replaces.
    pub retired: KeyId,
    /// When that one is removed, milliseconds since 1970; 0 if it is removed by now.
    pub retire_at_unix_ms: u64,
    /// Everybody.
    pub report: KeyReport,
}

impl Keys {
    /// Which member holds which key.
    ///
    /// # Errors
    /// The engine stops. Members that do not answer are in the report.
    pub async fn list(&self) -> Result<KeyReport, KeysError> {
        let keys = self.clone();
        self.detached(async move {
            let _alone = keys.shared.operation.lock().await;
            keys.tell(|_| None).await
        })
        .await
    }

    /// The keys as base64, by id: for an operator who asked to see them.
    pub async fn texts(&self) -> BTreeMap<KeyId, Zeroizing<String>> {
        let ring = self.shared.ring.lock().await;
        ring.installed()
            .map(|(id, key)| (id, key.to_text()))
            .collect()
    }

    /// Gives a key to every member.
    ///
    /// # Errors
    /// [`KeysError::Ring`].
    pub async fn install(&self, key: KeyBytes) -> Result<(KeyId, KeyReport), KeysError> {
        let keys = self.clone();
        self.detached(async move {
            let _alone = keys.shared.operation.lock().await;
            keys.ask_everybody().await?;
            let id = keys.change(|ring| ring.install(&key)).await?;
            let report = keys.tell(|held| lacks(held, id)).await?;
            Ok((id, report))
        })
        .await
    }

    /// Gives a key to this node only. A node without keys goes on sending in clear.
    ///
    /// # Errors
    /// [`KeysError::Ring`], [`KeysError::Refused`] on public addresses.
    pub async fn install_locally(&self, key: KeyBytes) -> Result<(KeyId, KeyReport), KeysError> {
        let keys = self.clone();
        self.detached(async move {
            let id = keys.change(|ring| ring.install_locally(&key)).await?;
            let ring = keys.ring().await;
            let answered = vec![keys.mine(&ring)];
            Ok((id, KeyReport::of(answered, &ring, |_| None)))
        })
        .await
    }

    /// Seals with a key everywhere. Unless forced every member must hold it.
    ///
    /// # Errors
    /// [`KeysError::Ring`], [`KeysError::NotReady`].
    pub async fn use_key(&self, id: KeyId, force: bool) -> Result<KeyReport, KeysError> {
        let keys = self.clone();
        self.detached(async move {
            let _alone = keys.shared.operation.lock().await;
            let answered = keys.ask_everybody().await?;
            if !keys.ring().await.holds(id) {
                return Err(RingError::Unknown(id).into());
            }
            if !force {
                ready(&answered, |held| lacks(held, id))?;
            }
            keys.change(|ring| ring.use_key(id)).await?;
            keys.tell(|held| seals_otherwise(held, id)).await
        })
        .await
    }

    /// Takes a key away everywhere. Unless forced every member must say that it seals
    /// with another one.
    ///
    /// # Errors
    /// [`KeysError::Ring`], [`KeysError::NotReady`].
    pub async fn remove(&self, id: KeyId, force: bool) -> Result<KeyReport, KeysError> {
        let keys = self.clone();
        self.detached(async move {
            let _alone = keys.shared.operation.lock().await;
            let answered = keys.ask_everybody().await?;
            keys.ring().await.remove(id)?;
            if !force {
                ready(&answered, |held| {
                    (held.primary == Some(id)).then(|| format!("it seals with {id}"))
                })?;
            }
            keys.change(|ring| ring.remove(id)).await?;
            keys.tell(|held| still_has(held, id)).await
        })
        .await
    }

    /// Installs a new key, seals with it, and plans the removal of the present one.
    ///
    /// # Errors
    /// [`KeysError::NotReady`] if a member did not take the new key: it is installed
    /// where it could be, and sealed with nowhere.
    pub async fn rotate(&self, key: KeyBytes, overlap: Duration) -> Result<Rotated, KeysError> {
        if overlap > OVERLAP_MAX {
            let days = OVERLAP_MAX.as_secs() / 86_400;
            return Err(KeysError::Refused(format!(
                "an overlap of at most {days} days is allowed"
            )));
        }
        let keys = self.clone();
        self.detached(async move {
            let _alone = keys.shared.operation.lock().await;
            keys.rotate_alone(&key, overlap).await
        })
        .await
    }

    async fn rotate_alone(&self, key: &KeyBytes, overlap: Duration) -> Result<Rotated, KeysError> {
        ready(&self.ask_everybody().await?, |_| None)?;
        let retired = self.ring().await.primary().ok_or(RingError::Empty)?;
        let id = Ring::id_of(key)?;
        if id == retired {
            return Err(KeysError::Refused(format!("{id} is the primary already")));
        }
        self.change(|ring| ring.install(key)).await?;
        ready(&self.ask_everybody().await?, |held| lacks(held, id))?;
        let retire_at = unix_ms().saturating_add(millis(overlap));
        self.change(|ring| {
            ring.use_key(id)?;
            match overlap.is_zero() {
                true => Ok(()),
                false => ring.retire(retired, retire_at),
            }
        })
        .await?;
        let mut report = self.tell(|held| seals_otherwise(held, id)).await?;
        if overlap.is_zero() && report.is_complete() {
            self.change(|ring| ring.remove(retired)).await?;
            report = self
                .tell(|held| seals_otherwise(held, id).or_else(|| still_has(held, retired)))
                .await?;
        }
        Ok(Rotated {
            id,
            retired,
            retire_at_unix_ms: if overlap.is_zero() { 0 } else { retire_at },
            report,
        })
    }

    /// Goes one stage on, or back, everywhere. Unless forced every member must be at a
    /// neighbouring stage.
    ///
    /// # Errors
    /// [`KeysError::Ring`], [`KeysError::NotReady`], [`KeysError::Refused`].
    pub async fn set_stage(&self, stage: Stage, force: bool) -> Result<KeyReport, KeysError> {
        if stage.accepts_plaintext()
            && let Some(why) = &self.shared.public
        {
            return Err(KeysError::Refused(format!(
                "plaintext is not accepted here: {why}"
            )));
        }
        let keys = self.clone();
        self.detached(async move {
            let _alone = keys.shared.operation.lock().await;
            let answered = keys.ask_everybody().await?;
            let primary = keys.ring().await.primary().ok_or(RingError::Empty)?;
            if !force {
                ready(&answered, |held| {
                    lacks(held, primary).or_else(|| too_far(held, stage))
                })?;
            }
            keys.change(|ring| ring.set_stage(stage)).await?;
            keys.tell(|held| is_elsewhere(held, stage)).await
        })
        .await
    }

    /// Tells everybody, and reports who is not as wanted then.
    async fn tell(&self, wanted: impl Fn(&Held) -> Option<String>) -> Result<KeyReport, KeysError> {
        let answered = self.ask_everybody().await?;
        Ok(KeyReport::of(answered, &self.ring().await, wanted))
    }
}

/// The first member that did not answer, or of whom `lacks` says something.
fn ready(answered: &[Answered], lacks: impl Fn(&Held) -> Option<String>) -> Result<(), KeysError> {
    for Answered { member, held } in answered {
        let why = match held {
            Ok(held) => lacks(held),
            Err(error) => Some(error.clone()),
        };
        if let Some(why) = why {
            let member = member.to_string();
            return Err(KeysError::NotReady { member, why });
        }
    }
    Ok(())
}

fn lacks(held: &Held, id: KeyId) -> Option<String> {
    let what = || match held.problem.as_str() {
        "" => format!("it does not hold key {id}"),
        problem => format!("it does not hold key {id}: {problem}"),
    };
    (!held.keys.contains(&id)).then(what)
}

fn still_has(held: &Held, id: KeyId) -> Option<String> {
    let holds = held.keys.contains(&id);
    holds.then(|| format!("it still holds key {id}"))
}

fn seals_otherwise(held: &Held, id: KeyId) -> Option<String> {
    let primary = held.primary;
    (primary != Some(id)).then(|| format!("it seals with {}", show(primary)))
}

fn is_elsewhere(held: &Held, stage: Stage) -> Option<String> {
    let at = held.stage.map_or("no stage", Stage::as_str);
    (held.stage != Some(stage)).then(|| format!("it is at {at}"))
}

/// Neighbouring stages understand each other; a member two stages off would be cut off.
fn too_far(held: &Held, stage: Stage) -> Option<String> {
    let number = |stage: Stage| super::message::stage_number(stage);
    let at = held.stage?;
    let off = number(at).abs_diff(number(stage)) > 1;
    off.then(|| format!("it is at {at}: go to stage {} first", Stage::Send))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
