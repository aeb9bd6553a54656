//! What several modules test together.

pub(crate) mod golden;
