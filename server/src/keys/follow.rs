//! Follows the keys of the cluster: asks when this node is back, when something comes
//! under an unknown key, and now and then; removes keys whose time has come.

use std::time::Duration;

use rand::seq::IndexedRandom as _;
use tokio::time::{Instant, sleep_until};

use super::{Keys, unix_ms};

/// Somebody is asked this often without a reason: whoever missed that a key is used asks
/// at once, who missed that one is removed learns it so.
const ASK_EVERY: Duration = Duration::from_secs(300);

/// At most this often for a reason: anybody can send what looks like an unknown key.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Members that are tried each time.
const TRIES_MAX: usize = 3;

/// The task.
pub(super) async fn run(keys: Keys) -> anyhow::Result<()> {
    let shared = &keys.shared;
    let stop = shared.tasks.stop_token();
    let mut members = shared.hub.members().subscribe();
    let mut unknown = shared.handle.unknown_keys();
    let mut last: Option<Instant> = None;
    // The first member that shows is asked: keys may have changed while this node was
    // away.
    let mut wanted = true;
    loop {
        let now = Instant::now();
        let every = if wanted { ASK_AGAIN } else { ASK_EVERY };
        let due = last.map_or(now, |last| last + every);
        let has_others = !keys.others().is_empty();
        if due <= now && has_others {
            wanted = !ask_somebody(&keys).await;
            close_removed(&keys).await;
            last = Some(Instant::now());
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = unknown.changed() => {
                if changed.is_err() {
                    stop.cancelled().await;
                    return Ok(());
                }
                wanted = true;
            }
            changed = members.changed(), if !has_others => {
                if changed.is_err() {
                    stop.cancelled().await;
                    return Ok(());
                }
                wanted = true;
            }
            () = sleep_until(due), if has_others => {}
            // Another time of removal, perhaps.
            () = shared.changed.notified() => {}
            () = expiry(&keys) => expire(&keys).await,
        }
    }
}

/// A connection that was shaking hands while its key was removed may have slipped by.
async fn close_removed(keys: &Keys) {
    for id in keys.ring().await.removed() {
        keys.shared.net.close_key(Some(id));
    }
}

/// Exchanges rings with somebody; false if nobody answered.
async fn ask_somebody(keys: &Keys) -> bool {
    let ring = keys.ring().await;
    if ring.primary().is_none() {
        // Without a key there is nothing that may be asked.
        return true;
    }
    let others = keys.others();
    let chosen: Vec<_> = others
        .sample(&mut rand::rng(), TRIES_MAX)
        .cloned()
        .collect();
    for member in chosen {
        let name = std::sync::Arc::clone(member.display_name());
        match keys.ask(member, ring.told().to_message()).await {
            Ok((told, _)) => match keys.take_over(&[told]).await {
                Ok(news) => {
                    if news {
                        keys.shared.metrics.told.inc();
                        tracing::info!(member = %name, "took over keys that the cluster has by now");
                    }
                    return true;
                }
                Err(error) => {
                    tracing::warn!(member = %name, %error, "cannot take over the cluster's keys");
                }
            },
            Err(error) => tracing::debug!(member = %name, error, "cannot ask for keys"),
        }
    }
    false
}

/// Waits until a key is to be removed, but looks again now and then: the wall clock may
/// be set.
async fn expiry(keys: &Keys) {
    let at = keys.ring().await.next_expiry();
    let Some(at) = at else {
        return std::future::pending().await;
    };
    let left = Duration::from_millis(at.saturating_sub(unix_ms()));
    tokio::time::sleep(left.min(ASK_EVERY)).await;
}

async fn expire(keys: &Keys) {
    let now = unix_ms();
    let removed = keys.change(|ring| Ok(ring.expire(now))).await;
    match removed {
        Ok(removed) => {
            for id in removed {
                tracing::info!(key = %id, "removed a key: its overlap is over");
            }
        }
        Err(error) => tracing::warn!(%error, "cannot remove a key whose overlap is over"),
    }
}
