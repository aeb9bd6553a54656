//! The children of a node that it starts itself: `serfnode.yml`, `DOCKER_RUN`, and the
//! variables of serfnode's image.
//!
//! Everything but [`launcher`] and [`files`] is pure.

pub mod engine;
pub mod environment;
pub mod files;
pub mod forms;
#[cfg(test)]
mod fuzz;
pub mod launcher;
mod metrics;
mod near;
pub mod run;
pub mod spec;
pub mod yml;

use std::time::Duration;

pub use metrics::Metrics;
use run::Run;
use yml::Child;

/// Which children a node should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether anybody asked for children: with an empty file, those of before go.
    pub asked: bool,
    /// Those of its `serfnode.yml`, in the order in which they start.
    pub children: Vec<Child>,
    /// That of `DOCKER_RUN`, which waits for none of them.
    pub run: Option<Run>,
    /// How long they have to stop when the daemon ends, all together.
    pub stop_timeout: Duration,
}

/// How one child is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// As its node calls it.
    pub child: String,
    /// Name of its container; empty where it has none.
    pub container: String,
    /// It was started, or found running.
    pub settled: bool,
    /// Why it is not as it should be.
    pub problem: Option<String>,
}

impl Report {
    /// What an operator should know of it.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!("child {:?} does not start: {problem}", self.child))
    }
}
