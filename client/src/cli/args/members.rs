//! Who is there.

use clap::Args;

use crate::cli::text;
use crate::{pb, status_name};

#[derive(Debug, Args)]
pub(in crate::cli) struct MemberList {
    #[command(flatten)]
    pub(in crate::cli) filter: Members,
    /// Also versions, protocols, boots and when each member came
    #[arg(long)]
    pub(in crate::cli) detailed: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct Members {
    /// Only these states, or those that an anchored regular expression matches: alive, suspect,
    /// leaving, left, failed (repeatable)
    #[arg(long, value_name = "STATUS", value_parser = some_statuses)]
    pub(in crate::cli) status: Vec<Statuses>,
    /// Only members with one of these roles (repeatable)
    #[arg(long)]
    pub(in crate::cli) role: Vec<String>,
    /// Only names that this anchored regular expression matches
    #[arg(long, value_name = "REGEX")]
    pub(in crate::cli) name: Option<String>,
    /// Only tags that match (repeatable; all must hold)
    #[arg(long = "tag", value_name = "KEY=REGEX", value_parser = text::parse_pair)]
    pub(in crate::cli) tags: Vec<(String, String)>,
}

/// Largest compiled regular expression on states, bytes: there are five short words to
/// tell apart.
const STATUS_REGEX_BYTES_MAX: usize = 64 << 10;

/// States of one `--status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Statuses(pub(in crate::cli) Vec<pb::MemberStatus>);

/// Reads an anchored regular expression on states, as serf's `-status`. One that
/// matches no state is most likely a slip.
fn some_statuses(text: &str) -> Result<Statuses, String> {
    let statuses = statuses(text)?;
    if statuses.0.is_empty() {
        return Err(format!(
            "{text:?} matches no state: expected alive, suspect, leaving, left or failed"
        ));
    }
    Ok(statuses)
}

/// States that an anchored regular expression matches.
pub(in crate::cli) fn statuses(text: &str) -> Result<Statuses, String> {
    use pb::MemberStatus::{Alive, Failed, Leaving, Left, Suspect};
    let regex = regex::RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(STATUS_REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("{text:?} is no regular expression: {error}"))?;
    let states = [Alive, Suspect, Leaving, Left, Failed];
    let matching = states
        .into_iter()
        .filter(|status| regex.is_match(status_name(*status)));
    Ok(Statuses(matching.collect()))
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WatchMembers {
    #[command(flatten)]
    pub(in crate::cli) filter: Members,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Wait {
    /// How many alive members, this node included
    #[arg(long, value_name = "N")]
    pub(in crate::cli) members: usize,
    /// Count only members with this role
    #[arg(long)]
    pub(in crate::cli) role: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rtt {
    /// Name or alias of a member
    #[arg(value_name = "NODE1")]
    pub(in crate::cli) member: String,
    /// Name or alias of another one [default: this node]
    #[arg(value_name = "NODE2")]
    pub(in crate::cli) other: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// Name or alias of a member
    #[arg(value_name = "NAME")]
    pub(in crate::cli) member: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ForceLeave {
    /// Name or alias of the member
    pub(in crate::cli) name: String,
    /// Forget it at once instead of showing it as left
    #[arg(long)]
    pub(in crate::cli) prune: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Reachability {
    /// Also print each sign
    #[arg(long, short)]
    pub(in crate::cli) verbose: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_that_a_regular_expression_matches() {
        use pb::MemberStatus::{Alive, Failed, Leaving, Left};
        let read = |text| some_statuses(text).map(|statuses| statuses.0);
        assert_eq!(read("alive"), Ok(vec![Alive]));
        assert_eq!(read("left|failed"), Ok(vec![Left, Failed]));
        assert_eq!(read("(alive|left)"), Ok(vec![Alive, Left]));
        assert_eq!(read("le.*"), Ok(vec![Leaving, Left]));
        for text in ["", "Alive", "(alive", "dead", "(.{1000}){1000}"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(statuses("dead"), Ok(Statuses(Vec::new())));
    }
}
