//! One call of a handler: what happened.

use std::sync::Arc;

use muster_engine::{Event, Member};

use super::spec::MemberKind;
use crate::queries::Query;

/// What a handler is called for.
#[derive(Debug, Clone)]
pub enum Cause {
    /// Members joined, left, failed, changed or were forgotten.
    Members {
        /// Which of it.
        kind: MemberKind,
        /// Who, by name; never empty.
        members: Vec<Arc<Member>>,
    },
    /// A user event.
    User {
        /// The event.
        event: Arc<Event>,
        /// It may have been handed over before a crash.
        redelivered: bool,
    },
    /// A query.
    Query(Arc<Query>),
}

impl Cause {
    /// serf's word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Members { kind, .. } => kind.as_str(),
            Self::User { .. } => "user",
            Self::Query(_) => "query",
        }
    }

    /// Its name: that of the event or query, else serf's word.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Members { .. } => self.word(),
            Self::User { event, .. } => &event.name,
            Self::Query(query) => &query.name,
        }
    }

    /// Its id, for logs and scripts: `ORIGIN/BOOT/SEQUENCE` of a user event, the
    /// query's own of a query.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Members { .. } => None,
            Self::User { event, .. } => Some(format!("{}/{}", event.origin, event.sequence)),
            Self::Query(query) => Some(query.id.to_string()),
        }
    }
}
