//! The first and the last frame of a pipe.

use muster_engine::ExchangeKind;
use prost::Message as _;

/// Version of what sync, pull and rpc pipes carry.
pub(crate) const PIPE_VERSION: u32 = 1;

/// Number of watch pipes in an open frame.
const WATCH: u32 = 4;

/// Number of rpc pipes in an open frame.
const RPC: u32 = 5;

/// Number of datagram pipes in an open frame.
const DATAGRAMS: u32 = 6;

/// What a peer wants of a pipe that it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Requests to the engine, one after the other.
    Exchange(ExchangeKind),
    /// One exchange of hellos, then nothing: its end is what matters.
    Watch,
    /// gRPC over HTTP/2 in the byte stream that follows the answer, an open frame.
    Rpc,
    /// Datagrams for the engine, one a frame, without answers.
    Datagrams,
}

/// What a pipe is for. Sent first by whoever opened it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Open {
    /// 2 sync, 3 pull, 4 watch, 5 rpc, 6 datagrams. 1 is kept for later.
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    /// Version of that kind.
    #[prost(uint32, tag = "2")]
    pub(crate) version: u32,
}

/// Why a pipe is closed. A pipe that ends without one broke.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Goodbye {
    /// One of [`Reason`].
    #[prost(enumeration = "Reason", tag = "1")]
    pub(crate) reason: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub(crate) text: String,
}

/// Reasons of a goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Reason {
    /// Nothing more to say.
    Done = 0,
    /// The node stops.
    Stopping = 1,
    /// The kind of pipe is not known.
    UnknownKind = 2,
    /// The version of the kind is not known.
    UnknownVersion = 3,
    /// A frame broke the rules, or a request made no sense.
    BadFrame = 4,
    /// There are too many pipes of this kind.
    Busy = 5,
    /// The pipe's key was removed, or plaintext is accepted no longer.
    KeyRemoved = 6,
}

impl Open {
    /// For a pipe of the engine.
    pub(crate) fn of(kind: ExchangeKind) -> Self {
        let kind = match kind {
            ExchangeKind::Sync => 2,
            ExchangeKind::Pull => 3,
            ExchangeKind::Watch => WATCH,
        };
        Self {
            kind,
            version: PIPE_VERSION,
        }
    }

    /// For a pipe of gRPC; also the answer by which one is taken.
    pub(crate) fn rpc() -> Self {
        Self {
            kind: RPC,
            version: PIPE_VERSION,
        }
    }

    /// For a pipe of datagrams.
    pub(crate) fn datagrams() -> Self {
        Self {
            kind: DATAGRAMS,
            version: PIPE_VERSION,
        }
    }

    /// Decodes and understands one, or says with which goodbye to refuse it.
    pub(crate) fn understand(body: &[u8]) -> Result<Purpose, Goodbye> {
        let open = Self::decode(body)
            .map_err(|error| Goodbye::new(Reason::BadFrame, format!("bad open frame: {error}")))?;
        let kind = match open.kind {
            2 => Purpose::Exchange(ExchangeKind::Sync),
            3 => Purpose::Exchange(ExchangeKind::Pull),
            WATCH => Purpose::Watch,
            RPC => Purpose::Rpc,
            DATAGRAMS => Purpose::Datagrams,
            other => {
                let text = format!("pipes of kind {other} are not known here");
                return Err(Goodbye::new(Reason::UnknownKind, text));
            }
        };
        if open.version != PIPE_VERSION {
            let text = format!("version {} is not known here, only 1 is", open.version);
            return Err(Goodbye::new(Reason::UnknownVersion, text));
        }
        Ok(kind)
    }
}

impl Goodbye {
    /// With a text for people.
    pub(crate) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            text: text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip() {
        for kind in [ExchangeKind::Sync, ExchangeKind::Pull] {
            let understood = Open::understand(&Open::of(kind).encode_to_vec());
            assert_eq!(understood, Ok(Purpose::Exchange(kind)));
        }
        let watch = Open::of(ExchangeKind::Watch).encode_to_vec();
        assert_eq!(Open::understand(&watch), Ok(Purpose::Watch));
        let rpc = Open::rpc().encode_to_vec();
        assert_eq!(Open::understand(&rpc), Ok(Purpose::Rpc));
        let datagrams = Open::datagrams().encode_to_vec();
        assert_eq!(Open::understand(&datagrams), Ok(Purpose::Datagrams));
    }

    #[test]
    fn the_bytes_are_pinned() {
        assert_eq!(Open::of(ExchangeKind::Sync).encode_to_vec(), [8, 2, 16, 1]);
        assert_eq!(Open::of(ExchangeKind::Pull).encode_to_vec(), [8, 3, 16, 1]);
        assert_eq!(Open::of(ExchangeKind::Watch).encode_to_vec(), [8, 4, 16, 1]);
        assert_eq!(Open::rpc().encode_to_vec(), [8, 5, 16, 1]);
        assert_eq!(Open::datagrams().encode_to_vec(), [8, 6, 16, 1]);
        let goodbye = Goodbye::new(Reason::Stopping, "x");
        assert_eq!(goodbye.encode_to_vec(), [8, 1, 18, 1, b'x']);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let cases = [
            (
                Open {
                    kind: 7,
                    version: 1,
                }
                .encode_to_vec(),
                Reason::UnknownKind,
            ),
            (
                Open {
                    kind: 2,
                    version: 9,
                }
                .encode_to_vec(),
                Reason::UnknownVersion,
            ),
            (vec![0xff; 9], Reason::BadFrame),
            (Vec::new(), Reason::UnknownKind),
        ];
        for (body, reason) in cases {
            assert_eq!(Open::understand(&body).unwrap_err().reason(), reason);
        }
    }
}
