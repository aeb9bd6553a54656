//! What must always be true, one small function each.
//!
//! The cheap ones are called on every output of every node, the others at
//! intervals and at the end of a run. Each gives `Err` with what it saw.

use muster_engine::{Gap, Member, Status};

use crate::sim::record::{Cursor, Listener, Sent};

/// What one check found.
pub(crate) type Check = Result<(), String>;

/// Per origin and boot, an event comes after its predecessor: none is doubled,
/// left out or overtaken.
pub(crate) fn event_in_order(cursor: Option<&Cursor>, sequence: u64) -> Check {
    let expected = cursor.map_or(1, |cursor| cursor.last + 1);
    if sequence == expected {
        return Ok(());
    }
    Err(format!("event {sequence} came where {expected} was due"))
}

/// A gap begins where the last event ended and is not empty, so that nothing is
/// covered twice or both handed over and covered.
pub(crate) fn gap_in_order(cursor: Option<&Cursor>, gap: &Gap) -> Check {
    let expected = cursor.map_or(1, |cursor| cursor.last + 1);
    if gap.first == expected && gap.last >= gap.first {
        return Ok(());
    }
    Err(format!(
        "gap {}..={} came where {expected} was due",
        gap.first, gap.last
    ))
}

/// A base comes before everything else of its origin.
pub(crate) fn base_comes_first(cursor: Option<&Cursor>, sequence: u64) -> Check {
    match cursor {
        None => Ok(()),
        Some(cursor) => Err(format!(
            "base {sequence} came after position {}",
            cursor.last
        )),
    }
}

/// An event is what its origin sent, under the number that it got there.
pub(crate) fn event_untouched(sent: Option<&Sent>, content: u64) -> Check {
    match sent {
        Some(sent) if sent.content == content => Ok(()),
        Some(_) => Err("the content is not what was sent".to_owned()),
        None => Err("nobody sent it".to_owned()),
    }
}

/// Events of an older boot never come after those of a newer one.
pub(crate) fn event_boots_in_order(newest: u64, boot: u64) -> Check {
    if boot >= newest {
        return Ok(());
    }
    Err(format!("an event of boot {boot} came after boot {newest}"))
}

/// The replicated position grows and stays within what was accepted.
pub(crate) fn replicated_grows(before: u64, after: u64, accepted: u64) -> Check {
    if (before..=accepted).contains(&after) {
        return Ok(());
    }
    Err(format!(
        "replicated went from {before} to {after}, {accepted} were accepted"
    ))
}

/// Every replicated event reached a member, or exactly one gap covers it; no gap
/// touches what was sent while nothing disturbed the member.
pub(crate) fn replicated_reached(
    cursor: Option<&Cursor>,
    listener: &Listener,
    replicated: u64,
) -> Check {
    if replicated < listener.from {
        return Ok(());
    }
    let Some(cursor) = cursor else {
        return Err(format!("nothing came of {}..={replicated}", listener.from));
    };
    if cursor.last < replicated {
        return Err(format!(
            "it stands at {}, but {replicated} are replicated",
            cursor.last
        ));
    }
    if cursor.base >= listener.from {
        return Err(format!(
            "its base is {}, but it was a member from {} on",
            cursor.base, listener.from
        ));
    }
    let spoilt = |gap: &&(u64, u64)| gap.1 >= listener.calm_from && gap.0 <= replicated;
    match cursor.gaps.iter().find(spoilt) {
        None => Ok(()),
        Some((first, last)) => Err(format!("gap {first}..={last}, but nothing disturbed it")),
    }
}

/// A query is handed over once, and not after its position was passed or was
/// before the node's time.
pub(crate) fn query_once(cursor: Option<&Cursor>, fresh: bool, sequence: u64) -> Check {
    if !fresh {
        return Err(format!("query {sequence} came twice"));
    }
    match cursor.filter(|cursor| sequence <= cursor.last) {
        None => Ok(()),
        Some(cursor) => Err(format!(
            "query {sequence} came when {} was over",
            cursor.last
        )),
    }
}

/// A position is passed only over a query that was handed over.
pub(crate) fn query_before_passed(handed_over: bool, sequence: u64) -> Check {
    if handed_over {
        return Ok(());
    }
    Err(format!("{sequence} was passed, but no query came"))
}

/// No query from before the node's time was handed over: `early` is one.
pub(crate) fn query_not_before_base(early: Option<u64>) -> Check {
    early.map_or(Ok(()), |early| {
        Err(format!("query {early} was before the node's time"))
    })
}

/// A restart is never shown as an older boot afterwards.
pub(crate) fn boot_never_falls(newest: u64, member: &Member) -> Check {
    if member.alias.is_some() || member.boot >= newest {
        return Ok(());
    }
    Err(format!(
        "{} is shown with boot {} after {newest}",
        member.name, member.boot
    ))
}

/// Within a boot, incarnations never fall, and who was left or failed comes back
/// only with a higher one, that is, by its own word.
pub(crate) fn no_resurrection(before: Option<&Member>, after: &Member) -> Check {
    let Some(before) = before else { return Ok(()) };
    if before.boot != after.boot {
        return Ok(());
    }
    if after.incarnation < before.incarnation {
        return Err(format!(
            "{} fell from incarnation {} ({}) to {} ({}: {})",
            after.name,
            before.incarnation,
            before.status,
            after.incarnation,
            after.status,
            after.change.reason
        ));
    }
    let risen = !before.status.is_live() && after.status.is_live();
    if risen && after.incarnation == before.incarnation {
        return Err(format!(
            "{} went from {} to {} at incarnation {}",
            after.name, before.status, after.status, after.incarnation
        ));
    }
    Ok(())
}

/// Nobody shows a boot or an incarnation of a member that the member itself
/// never had.
pub(crate) fn owner_said_so(owner: Option<u64>, member: &Member) -> Check {
    match owner {
        Some(highest) if member.incarnation <= highest => Ok(()),
        Some(highest) => Err(format!(
            "{} is shown at incarnation {}, itself it got to {highest}",
            member.name, member.incarnation
        )),
        None => Err(format!("{} never had boot {}", member.name, member.boot)),
    }
}

/// A member that runs undisturbed is not declared failed or left by one that
/// does so too. `excused` says that one of the two was disturbed or cut off.
pub(crate) fn live_not_failed(excused: bool, member: &Member) -> Check {
    if excused || member.status.is_live() {
        return Ok(());
    }
    Err(format!(
        "{} runs undisturbed, but is {}: {}",
        member.name, member.status, member.change.reason
    ))
}

/// Who runs and does not leave is alive in its own eyes.
pub(crate) fn self_alive(leaving: bool, me: &Member) -> Check {
    if leaving || me.status == Status::Alive {
        return Ok(());
    }
    Err(format!("it calls itself {}", me.status))
}

/// One input brings about a bounded number of datagrams and exchanges.
pub(crate) fn sends_bounded(sends: usize, limit: usize) -> Check {
    if sends <= limit {
        return Ok(());
    }
    Err(format!("{sends} sends on one input, at most {limit}"))
}

/// A node speaks no protocol that a live member does not understand: `lowest` is the
/// lowest of those that they understand at best.
pub(crate) fn protocol_understood(spoken: Option<u32>, lowest: Option<u32>) -> Check {
    match (spoken, lowest) {
        (Some(spoken), Some(lowest)) if spoken > lowest => Err(format!(
            "it speaks protocol {spoken}, a live member only {lowest}"
        )),
        _ => Ok(()),
    }
}

/// Queues stay under their limits: pairs of a gauge and its limit.
pub(crate) fn gauges_bounded(counters: &[(&'static str, u64)], limits: &[(&str, u64)]) -> Check {
    for (name, limit) in limits {
        let value = counters.iter().find(|(counter, _)| counter == name);
        if let Some((_, value)) = value.filter(|(_, value)| value > limit) {
            return Err(format!("{name} is {value}, at most {limit}"));
        }
    }
    Ok(())
}

/// A tick moves the next deadline on: no engine spins.
pub(crate) fn time_moves(ticks_at_once: u32) -> Check {
    if ticks_at_once <= TICKS_AT_ONCE_MAX {
        return Ok(());
    }
    Err(format!("{ticks_at_once} ticks within one microsecond"))
}

/// Ticks within one microsecond before an engine counts as spinning.
pub(crate) const TICKS_AT_ONCE_MAX: u32 = 1_000;

/// What an observer must show of a member that is settled: alive, under its
/// boot, at its address, with its tags and its start time.
pub(crate) fn shown_as_it_is(shown: Option<&Member>, truth: &Member) -> Check {
    let Some(shown) = shown else {
        return Err(format!("{} is missing", truth.name));
    };
    if shown.status != Status::Alive {
        return Err(format!("{} is {}", truth.name, shown.status));
    }
    if (shown.boot, shown.addr) != (truth.boot, truth.addr) {
        return Err(format!(
            "{} is shown as boot {} at {}, it is boot {} at {}",
            truth.name, shown.boot, shown.addr, truth.boot, truth.addr
        ));
    }
    let record = |member: &Member| (member.started_unix_ms, member.version.clone());
    if shown.tags != truth.tags || shown.roles != truth.roles || record(shown) != record(truth) {
        return Err(format!("{} is shown with an old record", truth.name));
    }
    Ok(())
}

/// Nobody shows a member as live that does not run.
pub(crate) fn dead_not_live(shown: &Member, runs: bool) -> Check {
    if runs || !shown.status.is_live() {
        return Ok(());
    }
    Err(format!(
        "{} does not run, but is {}",
        shown.name, shown.status
    ))
}

#[cfg(test)]
mod tests;
