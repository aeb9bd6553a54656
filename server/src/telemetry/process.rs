//! Metrics of the process itself, from `/proc`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Reads `/proc/self` at each scrape. What cannot be read is left out.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    started_unix_s: f64,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started_unix_s: now.unwrap_or_default().as_secs_f64(),
        }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value),
            None => Ok(()),
        };
        let status = read("status");
        let resident = field(&status, "VmRSS:").map(|kib| kib * 1_024.0);
        gauge("process_resident_memory_bytes", "Resident memory", resident)?;
        gauge("process_threads", "Threads", field(&status, "Threads:"))?;
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        let limits = read("limits");
        let most = field(&limits, "Max open files");
        gauge("process_max_fds", "Most file descriptors allowed", most)?;
        let started = Some(self.started_unix_s);
        gauge(
            "process_start_time_seconds",
            "Start, seconds since 1970",
            started,
        )?;
        if let Some(seconds) = cpu_seconds(&read("stat")) {
            encoder
                .encode_descriptor(
                    "process_cpu_seconds",
                    "CPU time used",
                    None,
                    MetricType::Counter,
                )?
                .encode_counter::<NoLabelSet, f64, f64>(&seconds, None)?;
        }
        Ok(())
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default()
}

/// The first number after a label.
fn field(text: &str, label: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn open_files() -> Option<f64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // The listing itself holds one.
    u32::try_from(entries.saturating_sub(1)).ok().map(f64::from)
}

/// User and system time: fields 14 and 15 of `stat`, counted after the name in
/// brackets, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<u32>);
    let user = ticks.next()?.ok()?;
    let system = ticks.next()?.ok()?;
    let rate = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 200 100 0 0 20";
        let rate = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap());
        assert_eq!(cpu_seconds(stat), Some(300.0 / rate));
        assert_eq!(cpu_seconds("nonsense"), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn fields_are_found_by_label() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t3\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234.0));
        assert_eq!(field(status, "VmSwap:"), None);
    }
}
