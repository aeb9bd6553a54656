//! What the kernel says about the machine and about processes.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use muster_tests::harness::Binaries;
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
    if cfg!(debug_assertions) {
        text.push_str(" A debug build: no figure counts.");
    }
    text.push_str(crate::sized("", " A quick run: no figure counts."));
    Ok(text)
}

/// What is measured, in one line of markdown.
pub(crate) fn programs(binaries: Binaries) -> anyhow::Result<String> {
    let program = binaries.musterd;
    let bytes = fs::metadata(program).context(program)?.len();
    let statically = match links_dynamically(program)? {
        true => "shared C library",
        false => "static",
    };
    let serf = Command::new("serf").arg("version").output();
    let serf = serf.map_or("no serf".to_owned(), |output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().unwrap_or("serf").to_owned()
    });
    let mb = bytes as f64 / 1e6;
    Ok(format!("musterd: {mb:.1} MB, {statically}. serf: {serf}."))
}

/// Whether a program asks for a loader of shared libraries by one of the usual names.
fn links_dynamically(program: &str) -> anyhow::Result<bool> {
    let mut head = vec![0; 4_096];
    let read = fs::File::open(program)?.read(&mut head)?;
    let name = b"/ld-linux";
    Ok(head[..read].windows(name.len()).any(|found| found == name))
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

/// Resident memory of several processes, KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rss {
    pub(crate) median: u64,
    pub(crate) largest: u64,
}

impl Rss {
    /// KiB as MiB.
    pub(crate) fn shown(kib: u64) -> String {
        format!("{:.1} MiB", kib as f64 / 1024.0)
    }
}

/// Resident memory of these processes.
pub(crate) fn rss_of_all(pids: &[u32]) -> anyhow::Result<Rss> {
    let mut all: Vec<u64> = pids.iter().map(|p| rss_kib(*p)).collect::<Result<_, _>>()?;
    all.sort_unstable();
    let largest = all.last().copied().context("no processes")?;
    let median = all[all.len() / 2];
    Ok(Rss { median, largest })
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

/// The counters of the loopback interface in the network namespace of a process.
pub(crate) fn loopback_of(pid: u32) -> anyhow::Result<Loopback> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev"))?;
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
