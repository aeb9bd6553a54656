//! The children of a node that it starts itself: `serfnode.yml`, `DOCKER_RUN`, and the
//! variables of serfnode's image.

pub mod environment;
pub mod forms;
mod near;
pub mod run;
pub mod spec;
pub mod yml;
