//! Resume tokens of WatchEvents: an encoded `EventToken`.
//!
//! An empty text means "from now", so the token of a node that knows no origin yet
//! holds one position without a name.

use std::sync::Arc;

use muster_engine::Origin;
use muster_engine::name::check_name;
use muster_proto::v1 as pb;
use prost::Message as _;
use prost::bytes::Bytes;
use tonic::Status;

use super::super::status::invalid;
use crate::hub::positions::Positions;

/// The token of a consumer that stands at `positions`.
pub(crate) fn encode(positions: &Positions) -> Bytes {
    let position = |(origin, sequence): (&Origin, u64)| pb::EventId {
        origin: origin.name.to_string(),
        boot: origin.boot,
        sequence,
    };
    let mut token = pb::EventToken {
        positions: positions.iter().map(position).collect(),
    };
    if token.positions.is_empty() {
        token.positions.push(pb::EventId::default());
    }
    token.encode_to_vec().into()
}

/// The positions in a token. Of several for one origin the last counts.
///
/// # Errors
/// INVALID_ARGUMENT for what is no token.
pub(crate) fn decode(token: &[u8]) -> Result<Positions, Status> {
    let refuse = |message: String| invalid("BAD_RESUME_TOKEN", "resume_token", message);
    let token = pb::EventToken::decode(token)
        .map_err(|error| refuse(format!("this is no resume token: {error}")))?;
    if token.positions.is_empty() {
        return Err(refuse(
            "this is no resume token: it has no position".to_owned(),
        ));
    }
    let mut positions = Positions::default();
    for id in token.positions {
        if id == pb::EventId::default() {
            continue;
        }
        check_name(&id.origin)
            .map_err(|error| refuse(format!("this is no resume token: origin: {error}")))?;
        let origin = Origin {
            name: Arc::from(id.origin),
            boot: id.boot,
        };
        positions.advance(&origin, id.sequence);
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::hub::testing::origin;

    #[test]
    fn tokens_come_back() {
        let positions: Positions = [(origin("a", 1), 5), (origin("b", 9), 0)]
            .into_iter()
            .collect();
        assert_eq!(decode(&encode(&positions)).unwrap(), positions);
        let none = encode(&Positions::default());
        assert!(!none.is_empty(), "an empty token would mean now");
        assert_eq!(decode(&none).unwrap(), Positions::default());
    }

    #[test]
    fn garbage_is_refused() {
        let bad_name = pb::EventToken {
            positions: vec![pb::EventId {
                origin: "a b".to_owned(),
                boot: 1,
                sequence: 1,
            }],
        };
        // An unknown field only: well-formed, but no token.
        for garbage in [
            &b"\xff\xff\xff"[..],
            b"m1.00.1.0",
            b"\x10\x01",
            &bad_name.encode_to_vec(),
        ] {
            let status = decode(garbage).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{garbage:?}");
        }
    }
}
