//! Messages of foca as protocol 1 first sent them.

use bytes::Bytes;
use foca::{Codec as _, Header, Message};

use super::{IdentCodec, Parts, to_wire};
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
            let suspect = crate::swim::Update::new(B, 1, crate::swim::State::Suspect);
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
