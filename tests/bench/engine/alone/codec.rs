//! foca's messages in as many bytes as they need.

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};

/// Bytes of an address.
const ADDR: usize = 6;

/// Bytes of a member.
const MEMBER: usize = ADDR + 3;

/// Fields one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed;

/// What cannot be read or written.
#[derive(Debug)]
pub(crate) struct Bad;

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no message of foca, or no room for one")
    }
}

impl std::error::Error for Bad {}

impl Codec<SocketAddrV4> for Fixed {
    type Error = Bad;

    fn encode_header(
        &mut self,
        header: &Header<SocketAddrV4>,
        mut buf: impl BufMut,
    ) -> Result<(), Bad> {
        put_addr(&header.src, &mut buf)?;
        buf.put_u16(header.src_incarnation);
        put_addr(&header.dst, &mut buf)?;
        let (tag, number, third) = match &header.message {
            Message::Ping(number) => (0, *number, None),
            Message::Ack(number) => (1, *number, None),
            Message::PingReq {
                target,
                probe_number,
            } => (2, *probe_number, Some(target)),
            Message::IndirectPing {
                origin,
                probe_number,
            } => (3, *probe_number, Some(origin)),
            Message::IndirectAck {
                target,
                probe_number,
            } => (4, *probe_number, Some(target)),
            Message::ForwardedAck {
                origin,
                probe_number,
            } => (5, *probe_number, Some(origin)),
            Message::Announce => (6, 0, None),
            Message::Feed => (7, 0, None),
            Message::Gossip => (8, 0, None),
            Message::Broadcast => (9, 0, None),
            Message::TurnUndead => (10, 0, None),
        };
        buf.put_u8(tag);
        buf.put_u8(number);
        third.map_or(Ok(()), |third| put_addr(third, &mut buf))
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<SocketAddrV4>, Bad> {
        let src = get_addr(&mut buf)?;
        let src_incarnation = buf.try_get_u16().map_err(short)?;
        let dst = get_addr(&mut buf)?;
        let tag = buf.try_get_u8().map_err(short)?;
        let probe_number = buf.try_get_u8().map_err(short)?;
        let message = match tag {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq {
                target: get_addr(&mut buf)?,
                probe_number,
            },
            3 => Message::IndirectPing {
                origin: get_addr(&mut buf)?,
                probe_number,
            },
            4 => Message::IndirectAck {
                target: get_addr(&mut buf)?,
                probe_number,
            },
            5 => Message::ForwardedAck {
                origin: get_addr(&mut buf)?,
                probe_number,
            },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            10 => Message::TurnUndead,
            _ => return Err(Bad),
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
        member: &Member<SocketAddrV4>,
        mut buf: impl BufMut,
    ) -> Result<(), Bad> {
        if buf.remaining_mut() < MEMBER {
            return Err(Bad);
        }
        put_addr(member.id(), &mut buf)?;
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<SocketAddrV4>, Bad> {
        let id = get_addr(&mut buf)?;
        let incarnation = buf.try_get_u16().map_err(short)?;
        let state = match buf.try_get_u8().map_err(short)? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(Bad),
        };
        Ok(Member::new(id, incarnation, state))
    }
}

fn short(_: bytes::TryGetError) -> Bad {
    Bad
}

fn put_addr(addr: &SocketAddrV4, buf: &mut impl BufMut) -> Result<(), Bad> {
    if buf.remaining_mut() < ADDR {
        return Err(Bad);
    }
    buf.put_slice(&addr.ip().octets());
    buf.put_u16(addr.port());
    Ok(())
}

fn get_addr(buf: &mut impl Buf) -> Result<SocketAddrV4, Bad> {
    let ip = buf.try_get_u32().map_err(short)?;
    let port = buf.try_get_u16().map_err(short)?;
    Ok(SocketAddrV4::new(Ipv4Addr::from(ip), port))
}
