//! Lines of `/etc/hosts`: `<service ip> <role>`, the oldest alive member of each role.
//!
//! The file is bind-mounted into containers, so it cannot be replaced; and it is read at
//! any time by programs that know no lock. It is therefore written in place and never
//! made shorter, in *slots*: lines of our own whose end, `# muster`, says whose they are.
//! A slot that begins with `#` is a comment. It is filled while it is one, and then shown
//! by one byte: the `#` becomes the first digit of the address. Hiding it is one byte as
//! well. Whoever reads the file from its start to its end, however slowly and in pieces,
//! finds each role at every moment, at an address that was right meanwhile:
//!
//! - a new address is shown in a slot *behind* the one that it replaces, and only then is
//!   the old one hidden: who passed the first slot when it was hidden finds the second;
//! - a hidden slot is not filled again until no reader can be in the middle of it
//!   ([`plan::QUARANTINE`]);
//! - where there is no room behind, the same line is shown a second time in front first.
//!
//! All other bytes of the file stay as they are.

pub mod file;
pub mod plan;
mod slot;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use muster_engine::{Member, Status};

/// Roles that get a line; further ones, by name, get none.
pub const ROLES_MAX: usize = 512;

/// Names that must mean this machine.
const LOCAL: &str = "localhost";

/// What the lines are to say: roles and addresses.
pub type Answers = BTreeMap<String, IpAddr>;

/// Who answers for each role: the oldest member that is alive, ties by name, as in
/// `ResolveRole`. A suspect one is alive until it is not; a container whose health check
/// fails does not answer. Roles whose names are no names
/// of hosts get no line, nor do addresses that lead nowhere; of roles that differ in case
/// only, the first by name does.
#[must_use]
pub fn answers(members: &[Arc<Member>]) -> Answers {
    let mut alive: Vec<_> = members
        .iter()
        .filter(|member| matches!(member.status, Status::Alive | Status::Suspect))
        .collect();
    alive.sort_by(|a, b| a.seniority().cmp(&b.seniority()));
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    let mut answers = Answers::new();
    let roles = alive.iter().flat_map(|member| &member.roles);
    for role in roles.filter(|role| role.healthy) {
        let ip = role.service_ip.to_canonical();
        if is_host_name(&role.name) && !ip.is_unspecified() && !ip.is_multicast() {
            answers.entry(role.name.clone()).or_insert(ip);
            let name = names.entry(role.name.to_lowercase()).or_insert(&role.name);
            *name = (*name).min(&role.name);
        }
    }
    answers.retain(|name, _| names.get(&name.to_lowercase()) == Some(&name.as_str()));
    while answers.len() > ROLES_MAX {
        answers.pop_last();
    }
    answers
}

/// Whether a role can be looked up: labels of letters, digits and hyphens, none of them
/// at an end of a label, and nothing that a resolver takes for an address.
#[must_use]
pub fn is_host_name(role: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = role.rsplit('.').next().unwrap_or_default();
    let is_number = last.chars().all(|c| c.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()));
    role.len() <= 63
        && role.split('.').all(is_label)
        && !is_number
        && !last.eq_ignore_ascii_case(LOCAL)
}

#[cfg(test)]
mod tests;
