//! A client that makes every frame by hand: an HPACK encoder that picks its
//! representations at random, and frames that are split and padded at random.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::huffman;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

/// The fields of the static table that the client knows.
const STATIC: [(u8, &str, &str); 11] = [
    (1, ":authority", ""),
    (2, ":method", "GET"),
    (3, ":method", "POST"),
    (4, ":path", "/"),
    (6, ":scheme", "http"),
    (16, "accept-encoding", "gzip, deflate"),
    (19, "accept", ""),
    (31, "content-type", ""),
    (32, "cookie", ""),
    (58, "user-agent", ""),
    (60, "via", ""),
];

/// Name and value.
pub(super) type Field = (Vec<u8>, Vec<u8>);

pub(super) struct Client {
    pub(super) rng: StdRng,
    pub(super) bytes: Vec<u8>,
    table: VecDeque<Field>,
    limit: usize,
}

impl Client {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let mut bytes = PREFACE.to_vec();
        frame(&mut bytes, 4, 0, 0, &[]);
        Self {
            rng,
            bytes,
            table: VecDeque::new(),
            limit: 4096,
        }
    }

    /// A header block in as many frames as it happens to get.
    pub(super) fn headers(&mut self, stream: u32, flags: u8, fields: &[Field]) {
        let mut block = Vec::new();
        while self.rng.random_ratio(1, 8) {
            self.limit = if self.rng.random() {
                4096
            } else {
                self.rng.random_range(0..=4096)
            };
            integer(&mut block, 0x20, 5, self.limit);
            self.evict();
        }
        for (name, value) in fields {
            self.field(&mut block, name, value);
        }
        self.frames(stream, flags, &block);
    }

    pub(super) fn frames(&mut self, stream: u32, flags: u8, block: &[u8]) {
        let fragments = if self.rng.random() {
            1
        } else {
            self.rng.random_range(1..=5)
        };
        let mut cuts: Vec<usize> = (1..fragments)
            .map(|_| self.rng.random_range(0..=block.len()))
            .collect();
        cuts.sort_unstable();
        cuts.push(block.len());
        let mut start = 0;
        for (place, &end) in cuts.iter().enumerate() {
            let last = if place + 1 == cuts.len() {
                END_HEADERS
            } else {
                0
            };
            if place > 0 {
                frame(&mut self.bytes, 9, last, stream, &block[start..end]);
            } else {
                self.first_frame(stream, flags | last, &block[..end]);
            }
            start = end;
        }
    }

    fn first_frame(&mut self, stream: u32, mut flags: u8, fragment: &[u8]) {
        let padding: u8 = if self.rng.random_ratio(1, 3) {
            self.rng.random()
        } else {
            0
        };
        let mut payload = Vec::new();
        if padding > 0 {
            flags |= 0x8;
            payload.push(padding);
        }
        if self.rng.random_ratio(1, 4) {
            flags |= 0x20;
            let exclusive = u32::from(self.rng.random::<bool>()) << 31;
            payload.extend_from_slice(&((stream + 2) | exclusive).to_be_bytes());
            payload.push(self.rng.random());
        }
        payload.extend_from_slice(fragment);
        payload.resize(payload.len() + usize::from(padding), 0);
        frame(&mut self.bytes, 1, flags, stream, &payload);
    }

    /// Something that is no header block.
    pub(super) fn noise(&mut self) {
        match self.rng.random_range(0..4) {
            0 => frame(&mut self.bytes, 6, 0, 0, b"pingpong"),
            1 => frame(&mut self.bytes, 8, 0, 0, &1u32.to_be_bytes()),
            2 => frame(&mut self.bytes, 4, 0, 0, &[]),
            _ => {
                let length = self.rng.random_range(0..400);
                frame(&mut self.bytes, 0xfa, 0xff, 7, &vec![9; length]);
            }
        }
    }

    fn field(&mut self, block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let whole = self.index(|field| field.0 == name && field.1 == value);
        if let Some(index) = whole
            && self.rng.random_ratio(7, 8)
        {
            return integer(block, 0x80, 7, index);
        }
        let (flags, prefix) = match self.rng.random_range(0..4) {
            0 => (0, 4),
            1 => (0x10, 4),
            _ => (0x40, 6),
        };
        let by_name = self.index(|field| field.0 == name);
        match by_name.filter(|_| self.rng.random_ratio(7, 8)) {
            Some(index) => integer(block, flags, prefix, index),
            None => {
                block.push(flags);
                self.string(block, name);
            }
        }
        self.string(block, value);
        if flags == 0x40 {
            self.table.push_front((name.to_vec(), value.to_vec()));
            self.evict();
        }
    }

    fn string(&mut self, block: &mut Vec<u8>, octets: &[u8]) {
        if self.rng.random() {
            integer(block, 0, 7, octets.len());
            block.extend_from_slice(octets);
        } else {
            let mut encoded = Vec::new();
            huffman::encode(octets, &mut encoded);
            integer(block, 0x80, 7, encoded.len());
            block.extend_from_slice(&encoded);
        }
    }

    /// One of the places in the tables that match.
    fn index(&mut self, matches: impl Fn(&Field) -> bool) -> Option<usize> {
        let fixed = STATIC.iter().map(|&(index, name, value)| {
            (
                usize::from(index),
                (name.as_bytes().to_vec(), value.as_bytes().to_vec()),
            )
        });
        let all = fixed.chain(
            self.table
                .iter()
                .cloned()
                .enumerate()
                .map(|(i, f)| (i + 62, f)),
        );
        let found: Vec<usize> = all
            .filter(|(_, field)| matches(field))
            .map(|(i, _)| i)
            .collect();
        (!found.is_empty()).then(|| found[self.rng.random_range(0..found.len())])
    }

    fn evict(&mut self) {
        let size = |field: &Field| field.0.len() + field.1.len() + 32;
        while self.table.iter().map(size).sum::<usize>() > self.limit {
            self.table.pop_back();
        }
    }
}

pub(super) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

pub(super) fn integer(out: &mut Vec<u8>, flags: u8, prefix: u32, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return out.push(flags | value as u8);
    }
    out.push(flags | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
