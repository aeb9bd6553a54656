//! What the kernel says about the machine and about processes.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

/// The machine in one line of markdown.
pub(crate) fn facts() -> anyhow::Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .map_or("unknown", str::trim);
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut text = format!("Machine: {cores} cores, {model}, Linux {}", kernel.trim());
    write!(text, ", load before the run {}.", load()?)?;
    Ok(text)
}

/// Load averages over 1, 5 and 15 minutes.
pub(crate) fn load() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let words: Vec<&str> = text.split(' ').take(3).collect();
    Ok(words.join(" "))
}

/// Resident memory of a process, KiB.
pub(crate) fn rss_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words
        .and_then(|kib| kib.parse().ok())
        .with_context(|| format!("process {pid} has no VmRSS"))
}

/// CPU time that the living threads of a process have used.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let first = text.split(' ').next().unwrap_or_default();
        nanos += first.parse::<u64>().context("schedstat")?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// CPU time that this thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is ever negative.
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// CPU time of several processes.
pub(crate) fn cpu_of_all(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| cpu(*pid)).sum()
}

/// What the loopback interface has carried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loopback {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
}

/// The counters of the loopback interface of this network namespace.
pub(crate) fn loopback() -> anyhow::Result<Loopback> {
    let text = fs::read_to_string("/proc/self/net/dev")?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"));
    let numbers: Vec<u64> = line
        .context("no loopback interface")?
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [bytes, packets, ..] => Ok(Loopback { bytes, packets }),
        _ => anyhow::bail!("unreadable counters of lo"),
    }
}
