//! Where one msgpack value ends, without decoding it.
//!
//! serf's RPC has no length prefixes: a request is a value (the header) and for most
//! commands another one (the body). The extent is found here, resumably and in bounds,
//! so that the decoder proper only ever sees whole values of a known size.

use bytes::{Buf as _, Bytes, BytesMut};

use super::limits::DEPTH_MAX;

/// Why bytes are no request. The connection is not in step any more and must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// More than the frame may have.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Lists in lists.
    #[error("it is nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// A byte that begins no value.
    #[error("{0:#04x} begins no value")]
    BadMarker(u8),
}

/// Finds the end of one value. Work is proportional to the bytes that are new.
#[derive(Debug, Default)]
struct Extent {
    /// Bytes that belong to the value as far as is known.
    at: usize,
    /// Values that are still to come, by depth; empty before the first.
    open: Vec<u64>,
    begun: bool,
}

impl Extent {
    /// The length of the value that `bytes` begins with, once all of it is there.
    fn find(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
        while !(self.begun && self.open.is_empty()) {
            let Some(head) = bytes.get(self.at..).and_then(head) else {
                // A head has at most 5 bytes, so the value is already too large then.
                return fits(bytes.len(), limit).map(|()| None);
            };
            let (size, children) = head?;
            self.at = usize::try_from(size).map_or(usize::MAX, |size| self.at.saturating_add(size));
            // Each child has a byte at least.
            let least = usize::try_from(children).unwrap_or(usize::MAX);
            fits(self.at.saturating_add(least), limit)?;
            self.count(children)?;
        }
        Ok((bytes.len() >= self.at).then_some(self.at))
    }

    /// One value was read, with as many inside it.
    fn count(&mut self, children: u64) -> Result<(), FrameError> {
        self.begun = true;
        if let Some(left) = self.open.last_mut() {
            *left -= 1;
        }
        if children > 0 {
            if self.open.len() == DEPTH_MAX {
                return Err(FrameError::TooDeep);
            }
            self.open.push(children);
        }
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        Ok(())
    }
}

fn fits(bytes: usize, limit: usize) -> Result<(), FrameError> {
    if bytes > limit {
        return Err(FrameError::TooLarge { limit });
    }
    Ok(())
}

/// Bytes of the value at the front without those inside it, and how many are inside.
/// Nothing if its head is cut off.
fn head(bytes: &[u8]) -> Option<Result<(u64, u64), FrameError>> {
    let marker = *bytes.first()?;
    let number = |width: usize| {
        let digits = bytes.get(1..=width)?;
        let number = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | u64::from(*digit));
        Some((1 + width as u64, number))
    };
    let flat = |size: u64| Some(Ok((size, 0)));
    let text = |width, extra: u64| {
        let (head, length) = number(width)?;
        Some(Ok((head + extra + length, 0)))
    };
    let nested = |width, each: u64| {
        let (head, length) = number(width)?;
        Some(Ok((head, length * each)))
    };
    match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => flat(1),
        0x80..=0x8f => Some(Ok((1, u64::from(marker & 0x0f) * 2))),
        0x90..=0x9f => Some(Ok((1, u64::from(marker & 0x0f)))),
        0xa0..=0xbf => flat(1 + u64::from(marker & 0x1f)),
        0xc1 => Some(Err(FrameError::BadMarker(marker))),
        0xc4 | 0xd9 => text(1, 0),
        0xc5 | 0xda => text(2, 0),
        0xc6 | 0xdb => text(4, 0),
        // Extensions carry a byte for their type.
        0xc7 => text(1, 1),
        0xc8 => text(2, 1),
        0xc9 => text(4, 1),
        0xcc | 0xd0 => flat(2),
        0xcd | 0xd1 => flat(3),
        0xca | 0xce | 0xd2 => flat(5),
        0xcb | 0xcf | 0xd3 => flat(9),
        0xd4..=0xd8 => flat(2 + (1 << (marker - 0xd4))),
        0xdc => nested(2, 1),
        0xdd => nested(4, 1),
        0xde => nested(2, 2),
        0xdf => nested(4, 2),
    }
}

/// Bytes that arrived, cut into values.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) bytes: BytesMut,
    extent: Extent,
}

impl Frames {
    /// The next value, if all of it is there.
    ///
    /// # Errors
    /// The bytes are no value within `limit`; the rest of them means nothing then.
    pub(crate) fn next(&mut self, limit: usize) -> Result<Option<Bytes>, FrameError> {
        let found = self.extent.find(&self.bytes, limit)?;
        Ok(found.map(|length| {
            self.extent = Extent::default();
            self.bytes.copy_to_bytes(length)
        }))
    }

    /// Whether a value has begun to arrive.
    pub(crate) fn is_begun(&self) -> bool {
        !self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests;
