//! Messages of gRPC in a stream of bytes.

use bytes::{Buf as _, Bytes};

/// First byte of a `WatchEventsResponse` that carries a gap: an event was lost.
const TAG_GAP: u8 = 0x1a;

/// Cuts a stream of bytes into gRPC messages without keeping them.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; 5],
    have: usize,
    /// Bytes of the message that are still to come.
    rest: usize,
    fresh: bool,
}

/// What some bytes held.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
    /// Messages that ended.
    pub(crate) messages: u64,
    /// Messages that began as gaps do.
    pub(crate) gaps: u64,
}

impl Frames {
    pub(crate) fn take(&mut self, mut data: Bytes) -> anyhow::Result<Found> {
        let mut found = Found::default();
        while !data.is_empty() {
            if self.rest > 0 {
                if std::mem::take(&mut self.fresh) {
                    found.gaps += u64::from(data[0] == TAG_GAP);
                }
                let step = self.rest.min(data.len());
                data.advance(step);
                self.rest -= step;
                found.messages += u64::from(self.rest == 0);
                continue;
            }
            let step = (5 - self.have).min(data.len());
            data.copy_to_slice(&mut self.header[self.have..self.have + step]);
            self.have += step;
            if self.have == 5 {
                self.have = 0;
                let [_, length @ ..] = self.header;
                self.rest = usize::try_from(u32::from_be_bytes(length))?;
                anyhow::ensure!(self.rest > 0, "an empty message");
                self.fresh = true;
            }
        }
        Ok(found)
    }
}
