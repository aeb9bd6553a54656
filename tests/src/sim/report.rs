//! What was measured of a cluster, for people and for programs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Nodes.
    pub nodes: usize,
    /// How the network treated everybody.
    pub weather: Conditions,
    /// Seed.
    pub seed: u64,
    /// Datagrams were sealed.
    pub sealed: bool,
    /// When the last node knew everybody, seconds after the first start; absent
    /// if it took longer than the time given.
    pub converge_s: Option<f64>,
    /// Traffic until then.
    pub start: Option<Rate>,
    /// Traffic at rest.
    pub rest: Option<Rate>,
    /// Events one at a time.
    pub event: Option<Coverage>,
    /// Events back to back.
    pub burst: Option<Coverage>,
    /// Kills.
    pub kills: Vec<Detection>,
    /// After something that happened to the whole cluster was over: seconds until
    /// all know all again.
    pub recover_s: Option<f64>,
    /// Times that a node that runs was shown as failed, by anybody.
    pub false_failures: u64,
    /// Virtual time, seconds.
    pub virtual_s: f64,
    /// Real time, seconds.
    pub wall_s: f64,
    /// Most memory that the simulating process held so far, MiB; absent where the
    /// system does not tell.
    pub memory_mib: Option<f64>,
    /// Things that happened.
    pub steps: u64,
    /// Equal for equal seeds and options.
    pub trace: String,
    /// Broken invariants, and parts that took longer than the time given.
    pub violations: Vec<String>,
}

/// What the network did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Conditions {
    /// Datagrams lost, percent.
    pub loss_percent: f64,
    /// Datagrams that came twice, percent.
    pub duplicate_percent: f64,
    /// Datagrams held back, percent.
    pub reorder_percent: f64,
    /// One-way latency, from and to, milliseconds.
    pub delay_ms: (f64, f64),
}

/// Mean traffic of one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rate {
    /// Over how long, seconds.
    pub over_s: f64,
    /// Datagrams sent, per second.
    pub datagrams_per_s: f64,
    /// Bytes sent in datagrams with their headers, per second.
    pub datagram_bytes_per_s: f64,
    /// Bytes sent on streams, per second.
    pub stream_bytes_per_s: f64,
    /// Exchanges begun, per second.
    pub exchanges_per_s: f64,
    /// Streams opened, per second.
    pub connects_per_s: f64,
}

/// How a death was learnt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detection {
    /// The first one shows it failed, seconds after the kill.
    pub first_s: Option<f64>,
    /// The last one does.
    pub last_s: Option<f64>,
}

/// How events spread.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Coverage {
    /// Events sent.
    pub sent: usize,
    /// Deliveries per member due, 1.0 when everybody got everything.
    pub delivered: f64,
    /// Median of the time to the last member, milliseconds.
    pub median_ms: f64,
    /// The slowest, milliseconds.
    pub slowest_ms: f64,
    /// From the first one sent to the last delivery, seconds.
    pub all_s: f64,
    /// The last one was replicated, seconds after the first was sent.
    pub replicated_s: f64,
    /// How long the sender was kept waiting, seconds.
    pub waited_s: f64,
}

impl Report {
    /// Everything was reached in time and nothing was broken.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.converge_s.is_some() && self.violations.is_empty()
    }
}

impl Rate {
    /// All bytes sent, per second.
    #[must_use]
    pub fn bytes_per_s(&self) -> f64 {
        self.datagram_bytes_per_s + self.stream_bytes_per_s
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weather = &self.weather;
        writeln!(
            f,
            "{} nodes, {} % lost, {} % doubled, {} % held back, {} to {} ms, seed {}",
            self.nodes,
            weather.loss_percent,
            weather.duplicate_percent,
            weather.reorder_percent,
            weather.delay_ms.0,
            weather.delay_ms.1,
            self.seed
        )?;
        writeln!(f, "all know all after   {}", seconds(self.converge_s))?;
        for (what, rate) in [("start", &self.start), ("rest", &self.rest)] {
            if let Some(rate) = rate {
                writeln!(f, "node and second, {what:5}: {rate}")?;
            }
        }
        for (what, events) in [("one at a time", &self.event), ("at once", &self.burst)] {
            if let Some(events) = events {
                writeln!(f, "events {what}: {events}")?;
            }
        }
        for kill in &self.kills {
            let (first, last) = (seconds(kill.first_s), seconds(kill.last_s));
            writeln!(f, "kill shown failed    first {first}, last {last}")?;
        }
        if let Some(recover) = self.recover_s {
            writeln!(f, "all know all again   {recover:.3} s after it was over")?;
        }
        writeln!(f, "false failures       {}", self.false_failures)?;
        for violation in &self.violations {
            writeln!(f, "BROKEN {violation}")?;
        }
        if let Some(memory) = self.memory_mib {
            writeln!(f, "memory               {memory:.0} MiB")?;
        }
        write!(
            f,
            "{:.1} virtual s in {:.1} s, {} steps, trace {}",
            self.virtual_s, self.wall_s, self.steps, self.trace
        )
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} datagrams, {:.0} B datagrams, {:.0} B streams, {:.3} exchanges, \
             {:.3} connects (over {:.1} s)",
            self.datagrams_per_s,
            self.datagram_bytes_per_s,
            self.stream_bytes_per_s,
            self.exchanges_per_s,
            self.connects_per_s,
            self.over_s
        )
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {:.4} delivered, median {:.1} ms, slowest {:.1} ms, all in {:.3} s, \
             replicated in {:.3} s, sender waited {:.3} s",
            self.sent,
            self.delivered,
            self.median_ms,
            self.slowest_ms,
            self.all_s,
            self.replicated_s,
            self.waited_s
        )
    }
}

fn seconds(time: Option<f64>) -> String {
    time.map_or("never".to_owned(), |s| format!("{s:.3} s"))
}
