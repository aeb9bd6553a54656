//! Words for enums of the API.

use crate::pb;

/// The word for a status in output and JSON: `alive`, `suspect`, `leaving`, `left`,
/// `failed`; `unknown` for one that this version does not know.
#[must_use]
pub const fn status_name(status: pb::MemberStatus) -> &'static str {
    match status {
        pb::MemberStatus::Alive => "alive",
        pb::MemberStatus::Suspect => "suspect",
        pb::MemberStatus::Leaving => "leaving",
        pb::MemberStatus::Left => "left",
        pb::MemberStatus::Failed => "failed",
        pb::MemberStatus::Unspecified => "unknown",
    }
}

/// What people are shown for a member: its alias if it lost a name conflict, else its name.
#[must_use]
pub fn display_name(member: &pb::Member) -> &str {
    if member.alias.is_empty() {
        &member.name
    } else {
        &member.alias
    }
}
