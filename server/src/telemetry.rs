//! What the daemon tells about itself: the log and the metrics.

pub mod log;
pub mod metrics;
mod process;
pub mod writer;

pub use log::{Log, LogFilter, LogFilterError, parse_filter};
pub use metrics::Metrics;
pub use writer::LogWriter;
