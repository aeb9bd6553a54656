//! As much of msgpack as serf's RPC speaks: the old format without bin and str8.

use std::io::{self, Read};

use anyhow::{Context as _, bail};

/// Longest text or list that an agent may send us.
const LENGTH_MAX: usize = 1 << 20;

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The entry of a map under a textual key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        let found = entries.iter().find(|(k, _)| k.bytes() == key.as_bytes());
        found.map(|(_, value)| value)
    }

    /// Text or bytes; empty for every other value.
    pub(crate) fn bytes(&self) -> &[u8] {
        if let Self::Bytes(bytes) = self {
            bytes
        } else {
            &[]
        }
    }

    /// The items of a list; none for every other value.
    pub(crate) fn items(&self) -> &[Self] {
        if let Self::List(items) = self {
            items
        } else {
            &[]
        }
    }
}

/// Writes messages.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// Begins a map of fewer than 16 entries.
    pub(crate) fn map(mut self, entries: u8) -> Self {
        self.0.push(0x80 | entries);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
            (Ok(length @ ..32), _) => self.0.push(0xa0 | length),
            (_, Ok(length)) => {
                self.0.push(0xda);
                self.0.extend(length.to_be_bytes());
            }
            (_, Err(_)) => {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                self.0.push(0xdb);
                self.0.extend(length.to_be_bytes());
            }
        }
        self.0.extend(bytes);
        self
    }

    pub(crate) fn int(mut self, value: u32) -> Self {
        self.0.push(0xce);
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn bool(mut self, value: bool) -> Self {
        self.0.push(0xc2 | u8::from(value));
        self
    }
}

/// Reads one value.
pub(crate) fn read(from: &mut impl Read) -> anyhow::Result<Value> {
    let tag = u8::from_be_bytes(array(from)?);
    Ok(match tag {
        0x00..=0x7f => Value::Int(i64::from(tag)),
        0x80..=0x8f => map(from, usize::from(tag & 0x0f))?,
        0x90..=0x9f => list(from, usize::from(tag & 0x0f))?,
        0xa0..=0xbf => bytes(from, usize::from(tag & 0x1f))?,
        0xc0 => Value::Nil,
        0xc2 | 0xc3 => Value::Bool(tag == 0xc3),
        0xc4 | 0xd9 => {
            let length = u8::from_be_bytes(array(from)?);
            bytes(from, usize::from(length))?
        }
        0xc5 | 0xda => {
            let length = u16::from_be_bytes(array(from)?);
            bytes(from, usize::from(length))?
        }
        0xc6 | 0xdb => {
            let length = u32::from_be_bytes(array(from)?);
            bytes(from, usize::try_from(length)?)?
        }
        0xca => Value::Float(f64::from(f32::from_be_bytes(array(from)?))),
        0xcb => Value::Float(f64::from_be_bytes(array(from)?)),
        0xcc => Value::Int(i64::from(u8::from_be_bytes(array(from)?))),
        0xcd => Value::Int(i64::from(u16::from_be_bytes(array(from)?))),
        0xce => Value::Int(i64::from(u32::from_be_bytes(array(from)?))),
        // Lamport times and the like stay far below the sign.
        0xcf | 0xd3 => Value::Int(i64::from_be_bytes(array(from)?)),
        0xd0 => Value::Int(i64::from(i8::from_be_bytes(array(from)?))),
        0xd1 => Value::Int(i64::from(i16::from_be_bytes(array(from)?))),
        0xd2 => Value::Int(i64::from(i32::from_be_bytes(array(from)?))),
        0xdc => {
            let length = u16::from_be_bytes(array(from)?);
            list(from, usize::from(length))?
        }
        0xdd => {
            let length = u32::from_be_bytes(array(from)?);
            list(from, usize::try_from(length)?)?
        }
        0xde => {
            let length = u16::from_be_bytes(array(from)?);
            map(from, usize::from(length))?
        }
        0xdf => {
            let length = u32::from_be_bytes(array(from)?);
            map(from, usize::try_from(length)?)?
        }
        0xe0..=0xff => Value::Int(i64::from(tag.cast_signed())),
        0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => bail!("an agent sent msgpack {tag:#x}"),
    })
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn bounded(length: usize) -> anyhow::Result<usize> {
    let fits = (length <= LENGTH_MAX).then_some(length);
    fits.context("an agent sent a value that is too long")
}

fn bytes(from: &mut impl Read, length: usize) -> anyhow::Result<Value> {
    let mut bytes = vec![0; bounded(length)?];
    from.read_exact(&mut bytes)?;
    Ok(Value::Bytes(bytes))
}

fn list(from: &mut impl Read, length: usize) -> anyhow::Result<Value> {
    let items = (0..bounded(length)?).map(|_| read(from));
    Ok(Value::List(items.collect::<anyhow::Result<_>>()?))
}

fn map(from: &mut impl Read, length: usize) -> anyhow::Result<Value> {
    let entries = (0..bounded(length)?).map(|_| Ok((read(from)?, read(from)?)));
    Ok(Value::Map(entries.collect::<anyhow::Result<_>>()?))
}
