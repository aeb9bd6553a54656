//! The fingerprint of a run, and a readable account of a part of it.

use muster_engine::{Input, Output, WatchEvent};

use crate::sim::rng::mix;

/// Lines kept of a readable window; what comes after is left out.
pub const TRACE_LINES_MAX: usize = 100_000;

/// Keeps the hash away from zero.
const SALT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash over everything that happened, in order: equal for equal seeds.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    window: Option<(u64, u64)>,
    lines: Vec<String>,
}

impl Trace {
    pub(crate) const fn new() -> Self {
        Self {
            hash: SALT,
            window: None,
            lines: Vec::new(),
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Writes down in words what happens from `from` to `to`, microseconds.
    pub(crate) const fn watch(&mut self, from: u64, to: u64) {
        self.window = Some((from, to));
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(crate) fn input(&mut self, now: u64, slot: usize, input: &Input) {
        self.word(now);
        self.word(slot as u64);
        match input {
            // Whose bytes these are was noted when they were sent.
            Input::Datagram { from, bytes } => {
                self.word(1 + u64::from(from.port()));
                self.word(bytes.len() as u64);
            }
            Input::Carried { bytes } => self.word(7 ^ (bytes.len() as u64) << 8),
            Input::Request { id, body, .. } => {
                self.word(2 ^ id.0);
                self.word(body.len() as u64);
            }
            Input::Response { id, result } => {
                self.word(3 ^ id.0);
                self.word(result.as_ref().map_or(u64::MAX, |body| body.len() as u64));
            }
            Input::Tick => self.word(4),
            Input::Watch { id, event } => self.word(6 ^ id.0 << 8 ^ event_number(event) << 56),
            Input::Seeds { addrs } => self.word(5 ^ (addrs.len() as u64) << 8),
        }
        self.line(now, slot, "<-", input);
    }

    pub(crate) fn output(&mut self, now: u64, slot: usize, output: &Output) {
        match output {
            Output::Transmit { to, bytes } => {
                self.word(11 ^ u64::from(to.port()) << 8);
                self.bytes(bytes);
            }
            Output::Carry { to, bytes } => {
                self.word(28 ^ u64::from(to.port()) << 8);
                self.bytes(bytes);
            }
            Output::Request { id, body, .. } => {
                self.word(12 ^ id.0 << 8);
                self.bytes(body);
            }
            Output::Respond { id, body } => {
                self.word(13 ^ id.0 << 8);
                self.bytes(body.as_deref().unwrap_or_default());
            }
            Output::Watch { id, hello, .. } => {
                self.word(26 ^ id.0 << 8);
                self.bytes(hello);
            }
            Output::Unwatch { id } => self.word(27 ^ id.0 << 8),
            Output::MemberUpdated(member) => {
                self.bytes(member.name.as_bytes());
                self.word(member.boot);
                self.word(member.incarnation << 8 | member.status as u64);
            }
            Output::MemberRemoved(key) => self.bytes(key.name.as_bytes()),
            Output::Published { member, published } => {
                self.bytes(member.name.as_bytes());
                self.word(26 ^ (published.changes.len() as u64) << 8);
            }
            Output::Event(event) => {
                self.bytes(event.origin.name.as_bytes());
                self.word(event.sequence);
            }
            Output::Query(query) => {
                self.bytes(query.origin.name.as_bytes());
                self.word(24 ^ query.sequence << 8);
            }
            Output::EventPassed { sequence, .. } => self.word(25 ^ sequence << 8),
            Output::Gap(gap) => self.word(gap.first ^ gap.last << 32),
            Output::EventBase { sequence, .. } => self.word(17 ^ sequence << 8),
            Output::Replicated { sequence } => self.word(18 ^ sequence << 8),
            Output::ResolveSeeds => self.word(19),
            Output::EventRoom => self.word(20),
            Output::Coordinate { me, .. } => self.word(24 ^ me.vec[0].to_bits() << 8),
            Output::JoinResult { attempt, .. } => self.word(21 ^ attempt << 8),
            Output::LeaveDone => self.word(22),
            Output::Note(_) => self.word(23),
        }
        self.line(now, slot, "->", output);
    }

    /// Notes something that is neither input nor output.
    pub(crate) fn script(&mut self, now: u64, slot: usize, what: &impl std::fmt::Debug) {
        self.word(now ^ 31);
        self.line(now, slot, "**", what);
    }

    fn word(&mut self, word: u64) {
        self.hash = mix(self.hash ^ word).wrapping_add(SALT);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut hash = self.hash ^ bytes.len() as u64;
        let mut step = |word: u64| {
            hash = (hash ^ word)
                .wrapping_mul(0x9fb2_1c65_1e98_df25)
                .rotate_left(29);
        };
        for chunk in chunks {
            step(u64::from_le_bytes(*chunk));
        }
        for byte in rest {
            step(u64::from(*byte));
        }
        self.hash = mix(hash).wrapping_add(SALT);
    }

    fn line(&mut self, now: u64, slot: usize, arrow: &str, what: &impl std::fmt::Debug) {
        let wanted = self
            .window
            .is_some_and(|(from, to)| (from..=to).contains(&now));
        if wanted && self.lines.len() < TRACE_LINES_MAX {
            let mut text = format!("{what:?}");
            if text.len() > 400 {
                let end = (0..=400).rev().find(|at| text.is_char_boundary(*at));
                text.truncate(end.unwrap_or(0));
            }
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            self.lines
                .push(format!("{seconds}.{micros:06} #{slot} {arrow} {text}"));
        }
    }
}

/// What happened to a watch stream, as a number.
fn event_number(event: &WatchEvent) -> u64 {
    match event {
        WatchEvent::Opened(_) => 1,
        WatchEvent::Closed => 2,
        WatchEvent::Lost => 3,
        WatchEvent::Failed(failure) => 8 + *failure as u64,
    }
}

/// A short fingerprint of an event's content.
pub(crate) fn content_hash(name: &str, payload: &[u8]) -> u64 {
    let mut trace = Trace::new();
    trace.bytes(name.as_bytes());
    trace.bytes(payload);
    trace.hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_content_and_order() {
        let run = |parts: &[&[u8]]| {
            let mut trace = Trace::new();
            for part in parts {
                trace.bytes(part);
            }
            trace.hash()
        };
        assert_eq!(run(&[b"abcdefghij", b"x"]), run(&[b"abcdefghij", b"x"]));
        assert_ne!(run(&[b"abcdefghij", b"x"]), run(&[b"x", b"abcdefghij"]));
        assert_ne!(run(&[b"abcdefghij"]), run(&[b"abcdefghik"]));
        assert_ne!(run(&[b""]), run(&[b"", b""]));
    }

    #[test]
    fn only_the_window_is_written_down() {
        let mut trace = Trace::new();
        trace.watch(10, 20);
        for now in [5, 10, 20, 25] {
            trace.input(now, 3, &Input::Tick);
        }
        assert_eq!(
            trace.lines(),
            ["0.000010 #3 <- Tick", "0.000020 #3 <- Tick"]
        );
    }
}
