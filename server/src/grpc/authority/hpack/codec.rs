//! The representations in a header block (RFC 7541, sections 5 and 6).

use std::borrow::Cow;

use super::table::Name;
use super::{Malformed, huffman};

/// One representation in a block (RFC 7541, section 6).
pub(super) enum Field<'a> {
    Indexed(usize),
    Literal(Literal<'a>),
    Resize(usize),
}

pub(super) struct Literal<'a> {
    /// Whether the field goes into the dynamic table.
    pub(super) indexing: bool,
    /// Where the name is; zero if it is spelled out.
    pub(super) index: usize,
    pub(super) name: Option<Text<'a>>,
    pub(super) value: Text<'a>,
    /// Where the value begins in the block.
    pub(super) value_at: usize,
}

/// A string literal.
pub(super) struct Text<'a> {
    pub(super) huffman: bool,
    octets: &'a [u8],
    /// With its length in front.
    pub(super) encoded: &'a [u8],
}

impl<'a> Text<'a> {
    pub(super) fn decoded(&self) -> Result<Cow<'a, [u8]>, Malformed> {
        if self.huffman {
            return huffman::decode(self.octets)
                .map(Cow::Owned)
                .ok_or(Malformed);
        }
        Ok(Cow::Borrowed(self.octets))
    }
}

pub(super) struct Reader<'a> {
    block: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self { block, at: 0 }
    }

    pub(super) fn field(&mut self) -> Result<Field<'a>, Malformed> {
        let first = *self.block.get(self.at).ok_or(Malformed)?;
        if first & 0x80 != 0 {
            return self.integer(7).map(Field::Indexed);
        }
        if first & 0xe0 == 0x20 {
            return self.integer(5).map(Field::Resize);
        }
        let indexing = first & 0x40 != 0;
        let index = self.integer(if indexing { 6 } else { 4 })?;
        let name = if index == 0 { Some(self.text()?) } else { None };
        let value_at = self.at;
        let value = self.text()?;
        Ok(Field::Literal(Literal {
            indexing,
            index,
            name,
            value,
            value_at,
        }))
    }

    fn text(&mut self) -> Result<Text<'a>, Malformed> {
        let start = self.at;
        let huffman = self.block.get(start).ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let octets = self.block[self.at..].get(..length).ok_or(Malformed)?;
        self.at += length;
        Ok(Text {
            huffman,
            octets,
            encoded: &self.block[start..self.at],
        })
    }

    /// An integer whose first octet has `prefix` bits of it; like h2 we allow
    /// four octets more.
    pub(super) fn integer(&mut self, prefix: u32) -> Result<usize, Malformed> {
        let most = (1usize << prefix) - 1;
        let mut value = usize::from(self.octet()?) & most;
        if value < most {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let octet = self.octet()?;
            value += usize::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn octet(&mut self) -> Result<u8, Malformed> {
        let octet = *self.block.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(octet)
    }
}

/// The block with the replacements so far. Nothing is copied before the first.
pub(super) struct Output<'a> {
    block: &'a [u8],
    /// Octets of the block that are dealt with.
    copied: usize,
    pub(super) rewritten: Vec<u8>,
    changed: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self {
            block,
            copied: 0,
            rewritten: Vec::new(),
            changed: false,
        }
    }

    /// Takes the block over up to `start` and leaves out what is before `end`.
    pub(super) fn replace(&mut self, start: usize, end: usize) {
        self.rewritten
            .extend_from_slice(&self.block[self.copied..start]);
        self.copied = end;
        self.changed = true;
    }

    /// A field that goes into no table.
    pub(super) fn literal(&mut self, name: &Name, value: &[u8]) {
        self.name(name);
        self.string(value, false);
    }

    /// The first part of a field that goes into no table.
    pub(super) fn name(&mut self, name: &Name) {
        match name {
            Name::Static(index) => self.integer(0, 4, *index),
            Name::Literal(name) => {
                self.rewritten.push(0);
                self.string(name, false);
            }
        }
    }

    pub(super) fn string(&mut self, octets: &[u8], huffman: bool) {
        if !huffman {
            self.integer(0, 7, octets.len());
            self.rewritten.extend_from_slice(octets);
            return;
        }
        let mut encoded = Vec::with_capacity(octets.len());
        huffman::encode(octets, &mut encoded);
        self.integer(0x80, 7, encoded.len());
        self.rewritten.extend_from_slice(&encoded);
    }

    pub(super) fn integer(&mut self, flags: u8, prefix: u32, value: usize) {
        let most = (1usize << prefix) - 1;
        if value < most {
            self.rewritten.push(flags | value as u8);
            return;
        }
        self.rewritten.push(flags | most as u8);
        let mut rest = value - most;
        while rest >= 0x80 {
            self.rewritten.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        self.rewritten.push(rest as u8);
    }

    /// The rewritten block, if anything was replaced.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        if !self.changed {
            return None;
        }
        self.replace(self.block.len(), self.block.len());
        Some(self.rewritten)
    }
}
