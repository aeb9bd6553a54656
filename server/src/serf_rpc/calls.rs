//! Commands that are answered once.

use std::net::SocketAddr;
use std::time::Duration;

use muster_engine::{EventDraft, EventError, Member, Status};

use super::Shared;
use super::filter::MemberFilter;
use super::limits::{JOIN_ADDRESS_BYTES_MAX, JOIN_ADDRESSES_MAX};
use super::record::{self, Joined, Located, Members, NoMembers};
use super::request;
use super::stats;
use crate::gossip::{CommandError, JoinOutcome};

/// How long a command waits for the members to show what it did.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Sends a user event; returns the error, empty if there is none.
pub(crate) async fn event(shared: &Shared, request: request::Event) -> String {
    let draft = EventDraft {
        coalesce: request.coalesce,
        ..EventDraft::new(request.name, request.payload.0)
    };
    match shared.handle.send_event(draft).await {
        Ok(_accepted) => String::new(),
        // In serf's words.
        Err(CommandError::Event(EventError::TooLarge { limit, .. })) => {
            format!("user event exceeds configured limit of {limit} bytes before encoding")
        }
        Err(error) => error.to_string(),
    }
}

/// The members that are wanted, by name.
pub(crate) fn members(shared: &Shared, wanted: impl Fn(&Member) -> bool) -> Members {
    // From the beginning there is always an answer.
    let changes = shared.hub.members().changes_since(0);
    let items = changes.map(|changes| changes.items).unwrap_or_default();
    let mut found: Vec<_> = items
        .into_iter()
        .filter(|change| !change.removed && wanted(&change.entry.value))
        .collect();
    found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let members = found.iter().map(|change| (&*change.entry.value).into());
    Members {
        members: members.collect(),
    }
}

/// The answer to `members-filtered`.
pub(crate) fn members_filtered(
    shared: &Shared,
    seq: u64,
    request: &request::MembersFiltered,
) -> Vec<u8> {
    match MemberFilter::compile(request) {
        Ok(filter) => {
            let members = members(shared, |member| filter.matches(member));
            record::with_body(seq, "", &members)
        }
        Err(error) => {
            let members = [];
            record::with_body(seq, &error, &NoMembers { members, seq })
        }
    }
}

/// Where a member is in the network, if that is known.
pub(crate) fn coordinate(shared: &Shared, request: &request::Coordinate) -> Located {
    match shared.hooks.coordinate(&request.node) {
        Some(coord) => Located { coord, ok: true },
        None => Located::default(),
    }
}

/// The answer to `stats`.
pub(crate) async fn stats(shared: &Shared, seq: u64) -> Vec<u8> {
    match shared.handle.report().await {
        Ok(report) => record::with_body(seq, "", &stats::stats(shared, &report)),
        Err(error) => record::with_body(seq, &error.to_string(), &record::Stats::new()),
    }
}

/// Joins through addresses; the answer.
pub(crate) async fn join(shared: &Shared, seq: u64, request: request::Join) -> Vec<u8> {
    let addresses = match addresses(request.existing) {
        Ok(addresses) => addresses,
        Err(error) => return record::with_body(seq, &error, &Joined { num: 0 }),
    };
    let outcomes = if addresses.is_empty() {
        Ok(Vec::new())
    } else {
        shared.handle.join(addresses).await
    };
    let (num, error) = match outcomes {
        Ok(outcomes) => joined(&outcomes),
        Err(error) => (0, error.to_string()),
    };
    record::with_body(seq, &error, &Joined { num })
}

/// The addresses, without the names that serf lets stand before them.
fn addresses(given: Vec<String>) -> Result<Vec<String>, String> {
    if given.len() > JOIN_ADDRESSES_MAX {
        let count = given.len();
        return Err(format!(
            "{count} addresses, at most {JOIN_ADDRESSES_MAX} are allowed"
        ));
    }
    let bare = |address: String| {
        if address.len() > JOIN_ADDRESS_BYTES_MAX {
            let bytes = address.len();
            return Err(format!(
                "an address of {bytes} bytes, at most {JOIN_ADDRESS_BYTES_MAX} are allowed"
            ));
        }
        let bare = address.split_once('/').map(|(_name, address)| address);
        Ok(bare.map(str::to_owned).unwrap_or(address))
    };
    given.into_iter().map(bare).collect()
}

/// How many answered, and what is wrong if none did.
fn joined(outcomes: &[JoinOutcome]) -> (u64, String) {
    let met = outcomes.iter().filter(|o| o.result.is_ok()).count();
    if met > 0 || outcomes.is_empty() {
        return (met as u64, String::new());
    }
    let failures = outcomes.iter().filter_map(|outcome| {
        let error = outcome.result.as_ref().err()?;
        let (host, error) = dialled(&outcome.address, error);
        Some(format!("\t* Failed to join {host}: {error}\n"))
    });
    let failures: Vec<_> = failures.collect();
    let head = match failures.len() {
        1 => "1 error occurred:".to_owned(),
        count => format!("{count} errors occurred:"),
    };
    (0, format!("{head}\n{}\n", failures.concat()))
}

/// A failure as serf's agent words it, where it is of a kind that it has.
fn dialled(address: &str, error: &str) -> (String, String) {
    let Ok(addr) = address.parse::<SocketAddr>() else {
        return (address.to_owned(), error.to_owned());
    };
    let refused = error.to_lowercase().contains("connection refused");
    let error = if refused {
        format!("dial tcp {addr}: connect: connection refused")
    } else {
        error.to_owned()
    };
    (addr.ip().to_string(), error)
}

/// Changes the tags of this node; the answer.
pub(crate) async fn tags(shared: &Shared, seq: u64, request: request::Tags) -> Vec<u8> {
    let request::Tags { tags, delete_tags } = request;
    // What is set stays, also if it is to be deleted.
    let delete = delete_tags
        .into_iter()
        .filter(|tag| !tags.contains_key(tag));
    let delete = delete.collect();
    let error = match shared.handle.update_tags(tags, delete).await {
        Ok(me) => {
            let same = |seen: Option<&Member>| seen.is_some_and(|seen| seen.tags == me.tags);
            shown(shared, me.display_name(), same).await;
            String::new()
        }
        Err(error) => error.to_string(),
    };
    record::head(seq, &error)
}

/// Turns a failed member into a left one, or forgets it; the answer.
pub(crate) async fn force_leave(
    shared: &Shared,
    seq: u64,
    request: request::ForceLeave,
) -> Vec<u8> {
    let request::ForceLeave { node, prune } = request;
    if shared.hub.member(&node).is_none() {
        return record::head(seq, &format!("no member is called {node:?}"));
    }
    let error = match shared.handle.force_leave(node.clone(), prune).await {
        Ok(()) => {
            let gone = |seen: Option<&Member>| match seen {
                Some(seen) => !prune && seen.status == Status::Left,
                None => true,
            };
            shown(shared, &node, gone).await;
            String::new()
        }
        Err(error) => error.to_string(),
    };
    record::head(seq, &error)
}

/// Waits until a member looks as wanted, so that who asks next sees it, but not long.
async fn shown(shared: &Shared, name: &str, wanted: impl Fn(Option<&Member>) -> bool) {
    let mut changes = shared.hub.members().subscribe();
    let looks = async {
        loop {
            changes.mark_unchanged();
            let member = shared.hub.member(name);
            let fits = wanted(member.as_ref().map(|member| &*member.value));
            if fits || changes.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(SHOWN_WITHIN, looks).await.is_err() {
        tracing::debug!(member = name, "a command does not show yet");
    }
}

#[cfg(test)]
mod tests;
