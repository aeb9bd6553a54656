//! The engine's notes as log lines.

use muster_engine::Note;

/// Logs one note.
pub(super) fn log(note: &Note) {
    match note {
        Note::ConflictLost { other } => {
            tracing::warn!(%other, "another live node has this node's name and keeps it");
        }
        Note::ConflictWon { other } => {
            tracing::warn!(%other, "another live node claims this node's name and loses it");
        }
        Note::BootRaised { boot } => {
            tracing::info!(boot, "raised the boot number above an earlier life's");
        }
        Note::LaggardLetGo { member, behind } => {
            tracing::warn!(%member, behind, "a member fell behind in events and is not waited for");
        }
        Note::ClockDistrusted {
            said_unix_ms,
            used_unix_ms,
        } => {
            tracing::warn!(said_unix_ms, used_unix_ms, "the wall clock is off");
        }
        Note::Joined { through } => tracing::info!(%through, "joined the cluster"),
        Note::UnknownKey { key } => {
            tracing::debug!(%key, "a datagram came under a key that is not known here");
        }
        Note::Alone => tracing::info!("no other member is reachable"),
    }
}
