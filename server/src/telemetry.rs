//! What the daemon tells about itself: the log and the metrics.

pub mod log;
pub mod metrics;
mod process;

pub use log::{LogFilter, LogFilterError, parse_filter};
pub use metrics::Metrics;
