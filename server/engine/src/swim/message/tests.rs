//! Messages of foca as protocol 1 first sent them.

use bytes::{BufMut as _, Bytes, BytesMut};
use foca::{Codec as _, Header, Member as Update, Message, State};

use super::{
    IdentCodec, MessageError, Parts, TAG_BROADCAST, TAG_GOSSIP, TAG_TURN_UNDEAD, put_update,
    to_wire,
};
use crate::tests::golden::{A, B};

#[test]
fn golden_swim_messages() {
    let messages = [
        ("ping", Message::Ping(7)),
        ("ack", Message::Ack(7)),
        (
            "ping_req",
            Message::PingReq {
                target: B,
                probe_number: 7,
            },
        ),
        (
            "indirect_ping",
            Message::IndirectPing {
                origin: B,
                probe_number: 7,
            },
        ),
        (
            "indirect_ack",
            Message::IndirectAck {
                target: B,
                probe_number: 7,
            },
        ),
        (
            "forwarded_ack",
            Message::ForwardedAck {
                origin: B,
                probe_number: 7,
            },
        ),
        ("gossip", Message::Gossip),
        ("turn_undead", Message::TurnUndead),
    ];
    for (name, message) in messages {
        let header = Header {
            src: A,
            src_incarnation: 3,
            dst: B,
            message,
        };
        let mut foca = Vec::new();
        let carries = name != "turn_undead";
        IdentCodec.encode_header(&header, &mut foca).unwrap();
        if carries {
            let suspect = Update::new(B, 1, State::Suspect);
            foca.extend_from_slice(&1_u16.to_be_bytes());
            IdentCodec.encode_member(&suspect, &mut foca).unwrap();
        }
        let foca = Bytes::from(foca);
        let (wire, _) = to_wire(&foca, A, None).unwrap();
        crate::tests::golden::hold(&format!("swim_{name}"), &wire);
        let parts = Parts::parse(&wire, B).unwrap();
        assert_eq!(parts.restore(B), foca, "{name}");
    }
}

#[test]
fn updates_where_none_belong_or_too_many_are_no_message() {
    let foca_head = |tag: u8| {
        let mut wire = BytesMut::new();
        A.put(&mut wire);
        wire.put_u16(0);
        wire.put_u32(B.check());
        wire.put_u8(tag);
        wire
    };
    let update = Update::new(A, 0, State::Alive);
    for (tag, count) in [(TAG_BROADCAST, 1), (TAG_TURN_UNDEAD, 1), (TAG_GOSSIP, 40)] {
        let mut wire = foca_head(tag);
        wire.put_u16(count);
        (0..count).for_each(|_| put_update(&mut wire, &update));
        let parsed = Parts::parse(&wire.freeze(), B);
        assert!(matches!(parsed, Err(MessageError::Malformed)), "{tag}");
    }
    let parsed = Parts::parse(&foca_head(TAG_TURN_UNDEAD).freeze(), B);
    assert!(parsed.is_ok_and(|parts| parts.is_turn_undead()));
}
