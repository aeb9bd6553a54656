//! Header blocks (RFC 7541) with a legal `:authority`.
//!
//! The table of the decoder behind us must stay in step with the encoder of the
//! client. An illegal value is therefore replaced octet for octet: entries keep
//! their sizes, and both sides evict the same ones. An empty value leaves no
//! octet to replace; where the client puts one into its table, the connection is
//! *detached*: from there on we resolve the table ourselves and hand on literals
//! that touch no table, so the two need not agree any more.

mod codec;
mod table;

use std::borrow::Cow;

use http::uri::Authority;

use self::codec::{Field, Literal, Output, Reader};
use self::table::{AUTHORITY, Name, STATIC_NAMES, TABLE_LIMIT, Table};
use super::huffman;

/// Octets of a detached block; beyond them it counts as malformed. h2 ends a
/// connection whose header list is four times the 16 KiB that we accept.
const DETACHED_LIMIT: usize = 128 * 1024;

/// What stands for an empty authority: what gRPC clients that know better send.
const LOCALHOST: &[u8] = b"localhost";

/// What stands for an octet that no authority may hold.
const FILLER: u8 = b'-';

/// A header block that no decoder accepts: index zero.
pub(super) const POISON: &[u8] = &[0x80];

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
        let mut output = Output::new(block);
        let mut reader = Reader::new(block);
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

#[cfg(test)]
mod tests;
