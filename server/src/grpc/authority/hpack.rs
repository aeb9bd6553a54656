//! Header blocks (RFC 7541) with a legal `:authority`.
//!
//! The table of the decoder behind us must stay in step with the encoder of the
//! client. An illegal value is therefore replaced octet for octet: entries keep
//! their sizes, and both sides evict the same ones. An empty value leaves no
//! octet to replace; where the client puts one into its table, the connection is
//! *detached*: from there on we resolve the table ourselves and hand on literals
//! that touch no table, so the two need not agree any more.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use http::uri::Authority;

use super::huffman;

/// Octets that the dynamic table may hold. It is the default of
/// SETTINGS_HEADER_TABLE_SIZE, which our server never changes.
const TABLE_LIMIT: usize = 4096;

/// What an entry costs besides its octets (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// Octets of a detached block; beyond them it counts as malformed. h2 ends a
/// connection whose header list is four times the 16 KiB that we accept.
const DETACHED_LIMIT: usize = 128 * 1024;

/// What stands for an empty authority: what gRPC clients that know better send.
const LOCALHOST: &[u8] = b"localhost";

/// What stands for an octet that no authority may hold.
const FILLER: u8 = b'-';

/// Where `:authority` is in the static table.
const AUTHORITY: usize = 1;

/// A header block that no decoder accepts: index zero.
pub(super) const POISON: &[u8] = &[0x80];

/// The names of the static table (RFC 7541, appendix A), from index 1.
const STATIC_NAMES: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// The block is not HPACK, or needs more than we allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Follows the header blocks of one connection.
#[derive(Debug, Default)]
pub(super) struct Corrector {
    table: Table,
    detached: bool,
}

impl Corrector {
    /// Whether the decoder behind us no longer shares the client's table, so
    /// that it must not see a block that was not rewritten.
    pub(super) fn is_detached(&self) -> bool {
        self.detached
    }

    /// The block to hand on in place of `block`, or `None` if it is right as it
    /// is. Blocks must come in the order of the connection, each once.
    pub(super) fn correct(&mut self, block: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        let mut output = Output {
            block,
            copied: 0,
            rewritten: Vec::new(),
            changed: false,
        };
        let mut reader = Reader { block, at: 0 };
        let mut resizable = true;
        while reader.at < block.len() {
            let start = reader.at;
            match reader.field()? {
                Field::Resize(size) if resizable && size <= TABLE_LIMIT => {
                    self.table.resize(size);
                    if self.detached {
                        output.replace(start, reader.at);
                    }
                    continue;
                }
                Field::Resize(_) => return Err(Malformed),
                Field::Indexed(index) => self.indexed(index, start, reader.at, &mut output)?,
                Field::Literal(literal) => self.literal(literal, start, reader.at, &mut output)?,
            }
            resizable = false;
            if output.rewritten.len() > DETACHED_LIMIT {
                return Err(Malformed);
            }
        }
        Ok(output.finish())
    }

    fn indexed(
        &self,
        index: usize,
        start: usize,
        end: usize,
        output: &mut Output<'_>,
    ) -> Result<(), Malformed> {
        if index == AUTHORITY {
            output.replace(start, end);
            output.literal(&Name::Static(AUTHORITY), LOCALHOST);
            return Ok(());
        }
        if (1..=STATIC_NAMES.len()).contains(&index) {
            return Ok(());
        }
        let entry = self.table.get(index)?;
        if self.detached {
            output.replace(start, end);
            let empty = entry.name.is_authority() && entry.value.is_empty();
            output.literal(&entry.name, if empty { LOCALHOST } else { &entry.value });
        }
        Ok(())
    }

    fn literal(
        &mut self,
        literal: Literal<'_>,
        start: usize,
        end: usize,
        output: &mut Output<'_>,
    ) -> Result<(), Malformed> {
        let name = self.name(&literal)?;
        if name.is_authority() {
            return self.authority(&literal, start, end, output);
        }
        if self.detached {
            output.replace(start, end);
            output.name(&name);
            output.rewritten.extend_from_slice(literal.value.encoded);
        }
        if literal.indexing {
            self.table.insert(name, literal.value.decoded()?.into());
        }
        Ok(())
    }

    fn authority(
        &mut self,
        literal: &Literal<'_>,
        start: usize,
        end: usize,
        output: &mut Output<'_>,
    ) -> Result<(), Malformed> {
        let name = Name::Static(AUTHORITY);
        let mut value = literal.value.decoded()?;
        if value.is_empty() {
            self.detached |= literal.indexing;
            output.replace(start, end);
            output.literal(&name, LOCALHOST);
        } else if let Some(legal) = legalised(&value) {
            value = Cow::Owned(legal);
            if self.detached {
                output.replace(start, end);
                output.name(&name);
            } else {
                // Index and name stay as they are.
                output.replace(literal.value_at, end);
            }
            output.string(&value, literal.value.huffman);
        } else if self.detached {
            output.replace(start, end);
            output.literal(&name, &value);
        }
        if literal.indexing {
            self.table.insert(name, value.into());
        }
        Ok(())
    }

    fn name(&self, literal: &Literal<'_>) -> Result<Name, Malformed> {
        let Some(name) = &literal.name else {
            return match literal.index {
                index if index <= STATIC_NAMES.len() => Ok(Name::Static(index)),
                index => Ok(self.table.get(index)?.name.clone()),
            };
        };
        let name = name.decoded()?;
        if *name == *STATIC_NAMES[AUTHORITY - 1].as_bytes() {
            return Ok(Name::Static(AUTHORITY));
        }
        Ok(Name::Literal(name.into()))
    }
}

/// The value with every octet that no authority may hold replaced; `None` if it
/// is legal as it is.
fn legalised(value: &[u8]) -> Option<Vec<u8>> {
    let with = |keep: &dyn Fn(u8) -> bool| -> Vec<u8> {
        value
            .iter()
            .map(|&octet| if keep(octet) { octet } else { FILLER })
            .collect()
    };
    if Authority::try_from(value).is_ok() {
        return None;
    }
    // Octets that are legal somewhere stay where they are, if that will do.
    let mild = with(&|octet| octet.is_ascii_alphanumeric() || b"-._~:[]@".contains(&octet));
    if Authority::try_from(mild.as_slice()).is_ok() {
        return Some(mild);
    }
    Some(with(&|octet| {
        octet.is_ascii_alphanumeric() || b"-._~".contains(&octet)
    }))
}

/// The name of an entry.
#[derive(Debug, Clone)]
enum Name {
    /// That of the static table at this index.
    Static(usize),
    Literal(Arc<[u8]>),
}

impl Name {
    fn is_authority(&self) -> bool {
        matches!(self, Self::Static(AUTHORITY))
    }

    fn len(&self) -> usize {
        match self {
            Self::Static(index) => STATIC_NAMES[index - 1].len(),
            Self::Literal(name) => name.len(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    name: Name,
    value: Box<[u8]>,
}

impl Entry {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
    }
}

/// The dynamic table: at most [`TABLE_LIMIT`] octets, the oldest entries go first.
#[derive(Debug)]
struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: TABLE_LIMIT,
        }
    }
}

impl Table {
    /// By the index that blocks use, which counts on after the static table.
    fn get(&self, index: usize) -> Result<&Entry, Malformed> {
        let place = index.checked_sub(STATIC_NAMES.len() + 1).ok_or(Malformed)?;
        self.entries.get(place).ok_or(Malformed)
    }

    fn insert(&mut self, name: Name, value: Box<[u8]>) {
        let entry = Entry { name, value };
        self.evict_to(self.limit.saturating_sub(entry.size()));
        if entry.size() <= self.limit {
            self.size += entry.size();
            self.entries.push_front(entry);
        }
    }

    fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.evict_to(limit);
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size();
        }
    }
}

/// One representation in a block (RFC 7541, section 6).
enum Field<'a> {
    Indexed(usize),
    Literal(Literal<'a>),
    Resize(usize),
}

struct Literal<'a> {
    /// Whether the field goes into the dynamic table.
    indexing: bool,
    /// Where the name is; zero if it is spelled out.
    index: usize,
    name: Option<Text<'a>>,
    value: Text<'a>,
    /// Where the value begins in the block.
    value_at: usize,
}

/// A string literal.
struct Text<'a> {
    huffman: bool,
    octets: &'a [u8],
    /// With its length in front.
    encoded: &'a [u8],
}

impl<'a> Text<'a> {
    fn decoded(&self) -> Result<Cow<'a, [u8]>, Malformed> {
        if self.huffman {
            return huffman::decode(self.octets)
                .map(Cow::Owned)
                .ok_or(Malformed);
        }
        Ok(Cow::Borrowed(self.octets))
    }
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Result<Field<'a>, Malformed> {
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
    fn integer(&mut self, prefix: u32) -> Result<usize, Malformed> {
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
struct Output<'a> {
    block: &'a [u8],
    /// Octets of the block that are dealt with.
    copied: usize,
    rewritten: Vec<u8>,
    changed: bool,
}

impl Output<'_> {
    /// Takes the block over up to `start` and leaves out what is before `end`.
    fn replace(&mut self, start: usize, end: usize) {
        self.rewritten
            .extend_from_slice(&self.block[self.copied..start]);
        self.copied = end;
        self.changed = true;
    }

    /// A field that goes into no table.
    fn literal(&mut self, name: &Name, value: &[u8]) {
        self.name(name);
        self.string(value, false);
    }

    /// The first part of a field that goes into no table.
    fn name(&mut self, name: &Name) {
        match name {
            Name::Static(index) => self.integer(0, 4, *index),
            Name::Literal(name) => {
                self.rewritten.push(0);
                self.string(name, false);
            }
        }
    }

    fn string(&mut self, octets: &[u8], huffman: bool) {
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

    fn integer(&mut self, flags: u8, prefix: u32, value: usize) {
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

    fn finish(mut self) -> Option<Vec<u8>> {
        if !self.changed {
            return None;
        }
        self.replace(self.block.len(), self.block.len());
        Some(self.rewritten)
    }
}

#[cfg(test)]
mod tests;
