//! Orphans: where this process is the first one, as in a container, whoever lost its
//! parent is its child, and stays a zombie until it is waited for.
//!
//! Children that were started here are waited for by who started them. They are told
//! apart by their numbers, which are noted while nobody looks for orphans.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::Child;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, waitid};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often is looked without a signal.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Shortest time between two looks: orphans that end in swarms are taken together.
const PAUSE: Duration = Duration::from_millis(100);

/// Held for reading from before a child is forked until its number is noted.
static FORKING: RwLock<()> = RwLock::new(());

/// Numbers of the children that somebody here waits for.
static OWN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A child that is waited for as long as this lives.
#[derive(Debug)]
pub(super) struct Own(i32);

/// Starts a child that no look for orphans takes away.
pub(super) fn start(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<(Child, Own)> {
    let _forking = FORKING.read().unwrap_or_else(PoisonError::into_inner);
    let child = spawn()?;
    let pid = Pid::from_child(&child).as_raw_nonzero().get();
    OWN.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(pid);
    Ok((child, Own(pid)))
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        own.remove(&self.0);
    }
}

/// Whether orphans become children of this process: it is the first one.
#[must_use]
pub fn are_ours() -> bool {
    getpid().as_raw_nonzero().get() == 1
}

/// Waits for those that end, until `stop`.
pub async fn reap(stop: CancellationToken) {
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(error) => {
            tracing::warn!(%error, "orphans that end stay zombies");
            return;
        }
    };
    loop {
        if let Err(error) = tokio::task::spawn_blocking(take).await {
            tracing::warn!(%error, "cannot look for orphans");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _signal = ended.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Waits for all that have ended.
fn take() {
    let me = getpid().as_raw_nonzero().get();
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    let zombies = processes.flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read(entry.path().join("stat")).ok()?;
        (ended_child_of(me, &String::from_utf8_lossy(&stat))).then_some(pid)
    });
    for pid in zombies {
        let _nobody_forks = FORKING.write().unwrap_or_else(PoisonError::into_inner);
        let own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(zombie) = Pid::from_raw(pid).filter(|_| !own.contains(&pid)) else {
            continue;
        };
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(zombie), ended) {
            Ok(_status) => tracing::debug!(pid, "an orphan has ended"),
            Err(error) => tracing::debug!(pid, %error, "cannot wait for an orphan"),
        }
    }
}

/// Reads `/proc/PID/stat`: `PID (NAME) STATE PARENT ...`, with anything in the name.
fn ended_child_of(parent: i32, stat: &str) -> bool {
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return false;
    };
    let mut words = rest.split(' ');
    words.next() == Some("Z") && words.next().and_then(|word| word.parse().ok()) == Some(parent)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn zombies_of_a_parent_are_found_whatever_they_call_themselves() {
        assert!(ended_child_of(1, "12 (sleep) Z 1 12 12 0 -1"));
        assert!(ended_child_of(1, "12 (a) S 7 (b) Z 1 12"));
        assert!(!ended_child_of(1, "12 (sleep) S 1 12 12"));
        assert!(!ended_child_of(1, "12 (sleep) Z 12 1"));
        assert!(!ended_child_of(1, "12 (a) Z 1 (b) S 7 12"));
        for odd in ["", "12", "12 (sleep)", "12 (sleep) Z", "12 (sleep) Z x"] {
            assert!(!ended_child_of(1, odd), "{odd:?}");
        }
    }

    #[test]
    fn a_child_is_our_own_as_long_as_somebody_waits_for_it() {
        let (mut child, own) = start(|| Command::new("true").spawn()).unwrap();
        let pid = own.0;
        let is_own = || OWN.lock().unwrap().contains(&pid);
        assert!(is_own());
        child.wait().unwrap();
        drop(own);
        assert!(!is_own());
    }
}
