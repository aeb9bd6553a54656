//! HTTP/2 frames (RFC 9113) as they come from a client: finds the header blocks
//! and has them corrected, lets everything else pass.

use super::hpack::{Corrector, Malformed, POISON};

/// What every HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Octets in front of every payload.
const HEAD: usize = 9;

/// Largest payload that our server takes; it refuses a longer one itself.
const MAX_PAYLOAD: usize = 16 * 1024;

/// Octets of a header block with its frames that are held back to see it whole.
/// Twice the header list that we accept; a longer one passes untouched, and h2
/// refuses it.
const MAX_HELD: usize = 32 * 1024;

const HEADERS: u8 = 0x1;
const PUSH_PROMISE: u8 = 0x5;
const CONTINUATION: u8 = 0x9;

const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What to do with the octets at hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many of them go on as they are.
    Pass(usize),
    /// So many of them go, and others come in their place.
    Replace(usize, Vec<u8>),
    /// They cannot be judged before more are there. They are to be handed in
    /// again, with more behind them.
    More,
}

/// Where the stream of one connection is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    state: State,
    corrector: Corrector,
}

#[derive(Debug)]
enum State {
    /// So many octets of the preface were seen.
    Preface(usize),
    /// At the head of a frame.
    Head,
    /// In a header block that goes on in further frames.
    Block(Block),
    /// So many octets of a payload pass.
    Payload(usize),
    /// Whatever comes passes.
    Off,
}

impl Default for State {
    fn default() -> Self {
        Self::Preface(0)
    }
}

/// A header block of several frames, so far.
#[derive(Debug)]
struct Block {
    /// Octets of its frames that were taken in.
    taken: usize,
    /// The head of its first frame.
    head: Head,
    /// The priority field, if the first frame has one.
    priority: Vec<u8>,
    fragments: Vec<u8>,
}

impl Frames {
    /// Whether the filter has given up on this connection.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.state, State::Off)
    }

    /// Judges the octets at hand, of which there is at least one.
    pub(super) fn step(&mut self, data: &[u8]) -> Step {
        match &mut self.state {
            State::Off => Step::Pass(data.len()),
            State::Payload(left) => {
                let taken = data.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    self.state = State::Head;
                }
                Step::Pass(taken)
            }
            State::Preface(seen) => {
                let rest = &PREFACE[*seen..];
                let taken = data.len().min(rest.len());
                if data[..taken] != rest[..taken] {
                    return self.give_up(data);
                }
                *seen += taken;
                if *seen == PREFACE.len() {
                    self.state = State::Head;
                }
                Step::Pass(taken)
            }
            State::Head => self.head(data),
            State::Block(_) => self.continuation(data),
        }
    }

    fn head(&mut self, data: &[u8]) -> Step {
        let Some(head) = Head::parse(data) else {
            return Step::More;
        };
        if head.length > MAX_PAYLOAD || matches!(head.kind, PUSH_PROMISE | CONTINUATION) {
            return self.give_up(data);
        }
        if head.kind != HEADERS {
            if head.length > 0 {
                self.state = State::Payload(head.length);
            }
            return Step::Pass(HEAD);
        }
        let Some(payload) = data[HEAD..].get(..head.length) else {
            return Step::More;
        };
        let Some((priority, fragment)) = head.split(payload) else {
            return self.give_up(data);
        };
        let taken = HEAD + payload.len();
        if head.flags & END_HEADERS != 0 {
            return self.complete(data, taken, &head, priority, fragment);
        }
        self.state = State::Block(Block {
            taken,
            priority: priority.to_vec(),
            fragments: fragment.to_vec(),
            head,
        });
        self.continuation(data)
    }

    /// Takes in the next frames of the block that `data` begins with.
    fn continuation(&mut self, data: &[u8]) -> Step {
        let State::Block(mut block) = std::mem::replace(&mut self.state, State::Head) else {
            return Step::More;
        };
        loop {
            let rest = &data[block.taken..];
            let Some(head) = Head::parse(rest) else {
                break;
            };
            let taken = block.taken + HEAD + head.length;
            if head.kind != CONTINUATION || head.stream != block.head.stream || taken > MAX_HELD {
                return self.give_up(data);
            }
            let Some(payload) = rest[HEAD..].get(..head.length) else {
                break;
            };
            block.fragments.extend_from_slice(payload);
            block.taken = taken;
            if head.flags & END_HEADERS != 0 {
                return self.complete(data, taken, &block.head, &block.priority, &block.fragments);
            }
        }
        self.state = State::Block(block);
        Step::More
    }

    /// Corrects the block whose frames are the first `taken` octets of `data`.
    fn complete(
        &mut self,
        data: &[u8],
        taken: usize,
        head: &Head,
        priority: &[u8],
        block: &[u8],
    ) -> Step {
        match self.corrector.correct(block) {
            Ok(None) => Step::Pass(taken),
            Ok(Some(block)) => Step::Replace(taken, frames(head, priority, &block)),
            Err(Malformed) => self.give_up(data),
        }
    }

    /// Lets h2 answer what the filter cannot follow. A detached connection has
    /// no way back to the client's own blocks, so h2 gets a malformed one.
    fn give_up(&mut self, data: &[u8]) -> Step {
        self.state = State::Off;
        if !self.corrector.is_detached() {
            return Step::Pass(data.len());
        }
        let head = Head {
            length: 0,
            kind: HEADERS,
            flags: 0,
            stream: 1,
        };
        Step::Replace(data.len(), frames(&head, &[], POISON))
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    /// Without the reserved bit.
    stream: u32,
}

impl Head {
    fn parse(data: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, s, t, u, v] = data.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
        Some(Self {
            length,
            kind,
            flags,
            stream,
        })
    }

    /// The priority field and the fragment in the payload of a HEADERS frame;
    /// `None` if h2 would take neither.
    fn split<'a>(&self, mut payload: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let mut padding = 0;
        if self.flags & PADDED != 0 {
            let (first, rest) = payload.split_first()?;
            padding = usize::from(*first);
            payload = rest;
        }
        let mut priority: &[u8] = &[];
        if self.flags & PRIORITY != 0 {
            (priority, payload) = payload.split_at_checked(5)?;
            // h2 resets a stream that depends on itself without decoding its
            // block, and is no longer in step with anybody.
            let on = [priority[0] & 0x7f, priority[1], priority[2], priority[3]];
            if u32::from_be_bytes(on) == self.stream {
                return None;
            }
        }
        let length = payload.len().checked_sub(padding)?;
        (self.stream != 0).then_some((priority, &payload[..length]))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        out.extend_from_slice(&[a, b, c, self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }
}

/// The frames of a rewritten block: unpadded, and as few as possible.
fn frames(head: &Head, priority: &[u8], block: &[u8]) -> Vec<u8> {
    let (mut fragment, mut rest) = block.split_at(block.len().min(MAX_PAYLOAD - priority.len()));
    let mut out = Vec::with_capacity(block.len() + 2 * HEAD + priority.len());
    let mut next = Head {
        length: priority.len() + fragment.len(),
        kind: HEADERS,
        flags: head.flags & !(PADDED | END_HEADERS),
        stream: head.stream,
    };
    loop {
        let first = next.kind == HEADERS;
        if rest.is_empty() {
            next.flags |= END_HEADERS;
        }
        next.write(&mut out);
        if first {
            out.extend_from_slice(priority);
        }
        out.extend_from_slice(fragment);
        if rest.is_empty() {
            return out;
        }
        (fragment, rest) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        next = Head {
            length: fragment.len(),
            kind: CONTINUATION,
            flags: 0,
            stream: head.stream,
        };
    }
}

#[cfg(test)]
mod tests;
