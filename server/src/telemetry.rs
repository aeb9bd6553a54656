//! What the daemon tells about itself: the log and the metrics.

mod journal;
pub mod log;
pub mod metrics;
mod process;
pub mod tail;
pub mod writer;

pub use log::{Log, LogFilter, LogFilterError, parse_filter};
pub use metrics::Metrics;
pub use tail::Tail;
pub use writer::LogWriter;
