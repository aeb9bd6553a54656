//! The bytes of foca's messages: its codec, and their shorter form on the wire.
//!
//! foca's form names the destination in full (16 bytes); on the wire a 4-byte check
//! stands for it, since a datagram already is where it should be.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use foca::{Codec, Header, Member as Update, Message, State};

use super::SWIM_BYTES_MAX;
use crate::ident::{IDENT_BYTES, Ident};

/// Bytes of foca's header up to the message: source, its incarnation, destination.
const FOCA_HEAD: usize = IDENT_BYTES + 2 + IDENT_BYTES;

/// The same on the wire: source, its incarnation, destination check.
const WIRE_HEAD: usize = IDENT_BYTES + 2 + 4;

/// Bytes of one update: identity, incarnation, state.
const UPDATE_BYTES: usize = IDENT_BYTES + 2 + 1;

const TAG_PING: u8 = 0;
const TAG_ACK: u8 = 1;
const TAG_PING_REQ: u8 = 2;
const TAG_INDIRECT_PING: u8 = 3;
const TAG_INDIRECT_ACK: u8 = 4;
const TAG_FORWARDED_ACK: u8 = 5;
const TAG_ANNOUNCE: u8 = 6;
const TAG_FEED: u8 = 7;
const TAG_GOSSIP: u8 = 8;
const TAG_BROADCAST: u8 = 9;
const TAG_TURN_UNDEAD: u8 = 10;

/// Why a message was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageError {
    /// Not a message.
    Malformed,
    /// For another identity.
    NotForUs,
}

/// A message as it travels, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// Who sends, alive at its incarnation.
    pub(crate) source: Update<Ident>,
    /// Tag and arguments.
    message: Bytes,
    /// What it tells of members.
    pub(crate) updates: Vec<Update<Ident>>,
}

impl Parts {
    /// Takes the wire form apart. `me` is this node's identity.
    pub(crate) fn parse(wire: &Bytes, me: Ident) -> Result<Self, MessageError> {
        let mut head = wire.get(..WIRE_HEAD).ok_or(MessageError::Malformed)?;
        let ident = Ident::get(&mut head).ok_or(MessageError::Malformed)?;
        let incarnation = head.get_u16();
        let check = head.get_u32();
        let tag = *wire.get(WIRE_HEAD).ok_or(MessageError::Malformed)?;
        if check != me.check() {
            return Err(MessageError::NotForUs);
        }
        let length = message_bytes(tag).ok_or(MessageError::Malformed)?;
        let end = WIRE_HEAD + length;
        // foca builds neither: it would refuse the message, or leave the updates of one
        // that carries none unread, after the table had believed them.
        let restored = FOCA_HEAD - WIRE_HEAD + wire.len();
        if wire.len() < end || restored > SWIM_BYTES_MAX || (bare(tag) && wire.len() > end) {
            return Err(MessageError::Malformed);
        }
        Ok(Self {
            source: Update::new(ident, incarnation, State::Alive),
            message: wire.slice(WIRE_HEAD..end),
            updates: parse_updates(&wire[end..])?,
        })
    }

    /// Whether it says that the sender holds this node for dead.
    pub(crate) fn is_turn_undead(&self) -> bool {
        self.message.first() == Some(&TAG_TURN_UNDEAD)
    }

    /// The number of the probe that it answers, if it is such an answer.
    pub(crate) fn answers(&self) -> Option<u8> {
        match self.message[..] {
            [TAG_ACK, number] => Some(number),
            _ => None,
        }
    }

    /// What foca is handed when a member answered a probe by another way.
    pub(crate) fn ack(from: Ident, number: u8) -> Self {
        Self {
            source: Update::new(from, 0, State::Alive),
            message: Bytes::from(vec![TAG_ACK, number]),
            updates: Vec::new(),
        }
    }

    /// The number of the probe that the sender wants done by this node.
    pub(crate) fn asks(&self) -> Option<u8> {
        let number = (self.message.first() == Some(&TAG_PING_REQ)).then(|| self.message.last());
        number.flatten().copied()
    }

    /// Whose life it proves, and by the answer to which probe: its sender's, or that of
    /// `target` for which the sender probed.
    pub(crate) fn proof(&self, target: Option<Ident>) -> Option<(Ident, u8)> {
        match self.message.first() {
            Some(&TAG_ACK) => Some((*self.source.id(), *self.message.last()?)),
            Some(&TAG_FORWARDED_ACK) => {
                let of = Ident::get(self.message.get(1..1 + IDENT_BYTES)?)?;
                (Some(of) == target).then_some((of, *self.message.last()?))
            }
            _ => None,
        }
    }

    /// foca's form again, addressed to `me`.
    pub(crate) fn restore(&self, me: Ident) -> Bytes {
        let updates = self.updates.len() * UPDATE_BYTES;
        let mut out = BytesMut::with_capacity(FOCA_HEAD + self.message.len() + 2 + updates);
        self.source.id().put(&mut out);
        out.put_u16(self.source.incarnation());
        me.put(&mut out);
        out.extend_from_slice(&self.message);
        put_updates(&mut out, self.message[0], self.updates.iter());
        out.freeze()
    }
}

/// The wire form of a message that foca built, and whether it is a direct ping.
/// Updates about earlier identities of `me` stay at home: that an older life is
/// over goes without saying, and "down" would only frighten people. So does what
/// foca says of `former`, the identity under a name that was lost: it may be the
/// winner's as well.
pub(crate) fn to_wire(foca: &Bytes, me: Ident, former: Option<Ident>) -> Option<(Bytes, bool)> {
    let to = Ident::get(foca.get(IDENT_BYTES + 2..FOCA_HEAD)?)?;
    let tag = *foca.get(FOCA_HEAD)?;
    let end = FOCA_HEAD + message_bytes(tag)?;
    let updates = parse_updates(foca.get(end..)?).ok()?;
    let own = incarnation(foca)?;
    let told = updates.into_iter().filter_map(|update| {
        let id = *update.id();
        if id == me && update.state() == State::Down {
            // foca says of itself that it leaves at incarnation 0, which whoever saw
            // it refute a suspicion would take for old news.
            return Some(Update::new(me, own.max(update.incarnation()), State::Down));
        }
        let tell = (id.hash != me.hash || id == me) && Some(id) != former;
        tell.then_some(update)
    });
    let told: Vec<_> = told.collect();
    let mut out = BytesMut::with_capacity(foca.len());
    out.extend_from_slice(foca.get(..IDENT_BYTES + 2)?);
    out.put_u32(to.check());
    out.extend_from_slice(foca.get(FOCA_HEAD..end)?);
    put_updates(&mut out, tag, told.iter());
    Some((out.freeze(), tag == TAG_PING))
}

/// A message that foca built, for another member: what it says is for anybody.
pub(crate) fn redirected(foca: &Bytes, to: Ident) -> Bytes {
    let (Some(head), Some(rest)) = (foca.get(..IDENT_BYTES + 2), foca.get(FOCA_HEAD..)) else {
        return foca.clone();
    };
    let mut out = BytesMut::with_capacity(foca.len());
    out.extend_from_slice(head);
    to.put(&mut out);
    out.extend_from_slice(rest);
    out.freeze()
}

/// The sender's incarnation in a message that foca built.
pub(crate) fn incarnation(foca: &Bytes) -> Option<u16> {
    let mut bytes = foca.get(IDENT_BYTES..IDENT_BYTES + 2)?;
    Some(bytes.get_u16())
}

/// A direct probe, the answer to one, both by number, or a request for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Ping(u8),
    Ack(u8),
    /// Another member is asked to probe.
    Request,
}

/// What a message that foca built has to do with a direct probe.
pub(crate) fn probe(foca: &Bytes) -> Option<Probe> {
    match *foca.get(FOCA_HEAD..FOCA_HEAD + 2)? {
        [TAG_PING, number] => Some(Probe::Ping(number)),
        [TAG_ACK, number] => Some(Probe::Ack(number)),
        [TAG_PING_REQ, _] => Some(Probe::Request),
        _ => None,
    }
}

/// Whether a message that foca built is a direct probe or the answer to one.
pub(crate) fn is_direct(foca: &Bytes) -> bool {
    matches!(probe(foca), Some(Probe::Ping(_) | Probe::Ack(_)))
}

/// Whether a message carries no updates, not even their count.
fn bare(tag: u8) -> bool {
    matches!(tag, TAG_ANNOUNCE | TAG_BROADCAST | TAG_TURN_UNDEAD)
}

/// Bytes of tag and arguments.
fn message_bytes(tag: u8) -> Option<usize> {
    match tag {
        TAG_PING | TAG_ACK => Some(2),
        TAG_PING_REQ..=TAG_FORWARDED_ACK => Some(1 + IDENT_BYTES + 1),
        TAG_ANNOUNCE..=TAG_TURN_UNDEAD => Some(1),
        _ => None,
    }
}

fn parse_updates(mut bytes: &[u8]) -> Result<Vec<Update<Ident>>, MessageError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if bytes.len() < 2 {
        return Err(MessageError::Malformed);
    }
    let count = usize::from(bytes.get_u16());
    if bytes.len() != count * UPDATE_BYTES {
        return Err(MessageError::Malformed);
    }
    bytes.chunks_exact(UPDATE_BYTES).map(get_update).collect()
}

/// foca wants the count where a message carries updates, and nothing elsewhere.
fn put_updates<'a>(out: &mut BytesMut, tag: u8, updates: impl Iterator<Item = &'a Update<Ident>>) {
    if bare(tag) {
        return;
    }
    let at = out.len();
    out.put_u16(0);
    let mut count: u16 = 0;
    for update in updates {
        put_update(out, update);
        count += 1;
    }
    out[at..at + 2].copy_from_slice(&count.to_be_bytes());
}

fn put_update(out: &mut impl BufMut, update: &Update<Ident>) {
    update.id().put(&mut *out);
    out.put_u16(update.incarnation());
    out.put_u8(match update.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
}

fn get_update(mut bytes: &[u8]) -> Result<Update<Ident>, MessageError> {
    let ident = Ident::get(&mut bytes).ok_or(MessageError::Malformed)?;
    if bytes.len() < 3 {
        return Err(MessageError::Malformed);
    }
    let incarnation = bytes.get_u16();
    let state = match bytes.get_u8() {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        _ => return Err(MessageError::Malformed),
    };
    Ok(Update::new(ident, incarnation, state))
}

/// No room, or bytes that are no message. foca wraps it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("not a SWIM message, or no room for one")]
pub(crate) struct CodecError;

/// foca's codec over the layout above.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdentCodec;

impl Codec<Ident> for IdentCodec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<Ident>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        if buf.remaining_mut() < FOCA_HEAD + 1 + IDENT_BYTES + 1 {
            return Err(CodecError);
        }
        header.src.put(&mut buf);
        buf.put_u16(header.src_incarnation);
        header.dst.put(&mut buf);
        let (tag, ident, probe) = match header.message {
            Message::Ping(probe) => (TAG_PING, None, Some(probe)),
            Message::Ack(probe) => (TAG_ACK, None, Some(probe)),
            Message::PingReq {
                target,
                probe_number,
            } => (TAG_PING_REQ, Some(target), Some(probe_number)),
            Message::IndirectPing {
                origin,
                probe_number,
            } => (TAG_INDIRECT_PING, Some(origin), Some(probe_number)),
            Message::IndirectAck {
                target,
                probe_number,
            } => (TAG_INDIRECT_ACK, Some(target), Some(probe_number)),
            Message::ForwardedAck {
                origin,
                probe_number,
            } => (TAG_FORWARDED_ACK, Some(origin), Some(probe_number)),
            Message::Announce => (TAG_ANNOUNCE, None, None),
            Message::Feed => (TAG_FEED, None, None),
            Message::Gossip => (TAG_GOSSIP, None, None),
            Message::Broadcast => (TAG_BROADCAST, None, None),
            Message::TurnUndead => (TAG_TURN_UNDEAD, None, None),
        };
        buf.put_u8(tag);
        if let Some(ident) = ident {
            ident.put(&mut buf);
        }
        if let Some(probe) = probe {
            buf.put_u8(probe);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Ident>, CodecError> {
        if buf.remaining() < FOCA_HEAD + 1 {
            return Err(CodecError);
        }
        let src = Ident::get(&mut buf).ok_or(CodecError)?;
        let src_incarnation = buf.get_u16();
        let dst = Ident::get(&mut buf).ok_or(CodecError)?;
        let tag = buf.get_u8();
        if buf.remaining() + 1 < message_bytes(tag).ok_or(CodecError)? {
            return Err(CodecError);
        }
        let message = match tag {
            TAG_PING => Message::Ping(buf.get_u8()),
            TAG_ACK => Message::Ack(buf.get_u8()),
            TAG_PING_REQ..=TAG_FORWARDED_ACK => {
                let ident = Ident::get(&mut buf).ok_or(CodecError)?;
                indirect(tag, ident, buf.get_u8())
            }
            TAG_ANNOUNCE => Message::Announce,
            TAG_FEED => Message::Feed,
            TAG_GOSSIP => Message::Gossip,
            TAG_BROADCAST => Message::Broadcast,
            _ => Message::TurnUndead,
        };
        Ok(Header {
            src,
            src_incarnation,
            dst,
            message,
        })
    }

    fn encode_member(
        &mut self,
        member: &Update<Ident>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        if buf.remaining_mut() < UPDATE_BYTES {
            return Err(CodecError);
        }
        put_update(&mut buf, member);
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Update<Ident>, CodecError> {
        if buf.remaining() < UPDATE_BYTES {
            return Err(CodecError);
        }
        let mut bytes = [0; UPDATE_BYTES];
        buf.copy_to_slice(&mut bytes);
        get_update(&bytes).map_err(|_e| CodecError)
    }
}

fn indirect(tag: u8, ident: Ident, probe_number: u8) -> Message<Ident> {
    match tag {
        TAG_PING_REQ => Message::PingReq {
            target: ident,
            probe_number,
        },
        TAG_INDIRECT_PING => Message::IndirectPing {
            origin: ident,
            probe_number,
        },
        TAG_INDIRECT_ACK => Message::IndirectAck {
            target: ident,
            probe_number,
        },
        _ => Message::ForwardedAck {
            origin: ident,
            probe_number,
        },
    }
}

#[cfg(test)]
mod tests;
