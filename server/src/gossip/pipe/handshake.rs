//! How two peers come to a sealed stream.

use std::io;
use std::time::Duration;

use muster_engine::crypto::{Key, KeyId, Keyring};
use sha2::{Digest as _, Sha256};
use snow::HandshakeState;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use super::stream::{Codec, SealedStream};

const MAGIC: [u8; 4] = *b"mstr";
const VERSION: u8 = 1;
const SUITE_PLAIN: u8 = 0;
const SUITE_SEALED: u8 = 1;
const PREAMBLE: usize = 10;
const REPLY: usize = 6;
/// Both Noise messages: an ephemeral key and the tag of an empty payload.
const NOISE_MESSAGE: usize = 48;
const NOISE: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// What is still read from a refused peer, so that it gets to read the reason:
/// closing over unread bytes would reset the connection.
const LINGER_BYTES_MAX: u64 = 4 << 10;
/// Keys that one peer is offered; more are only held during several rotations at once.
const OFFERED_KEYS_MAX: usize = 4;
/// And for how long.
const LINGER: Duration = Duration::from_millis(250);

/// Who this node is to its peers. Its keys may change while pipes are open.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Name of the cluster.
    cluster: String,
    /// Keys; `None` talks in clear.
    keyring: watch::Sender<Option<Keyring>>,
}

/// How a pipe is offered to a peer.
#[derive(Debug, Clone)]
pub(crate) enum Offer {
    /// In clear.
    Plain,
    /// Under this key.
    Key(Key),
}

/// Which offer comes first while a cluster is on its way to encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// What the stage says.
    Stage,
    /// A key, if there is one: what is said must not be read by others.
    Sealed,
}

/// Why there is no pipe. The texts are read by whoever asked to join.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// Something else listens or calls there.
    #[error("the other side does not talk like a Muster peer")]
    NotMuster,
    /// No common version.
    #[error("the other side speaks pipe version {0}, this one {VERSION}")]
    Version(u8),
    /// No common suite.
    #[error("the way of sealing is not known (suite {0})")]
    Suite(u8),
    /// One side talks in clear, the other has a key.
    #[error("{initiator} talks without encryption, {responder} has a key")]
    PlaintextRefused {
        initiator: &'static str,
        responder: &'static str,
    },
    /// One side has a key, the other talks in clear.
    #[error("{initiator} has a key, {responder} talks without encryption")]
    SealedRefused {
        initiator: &'static str,
        responder: &'static str,
    },
    /// The responder does not have the initiator's key.
    #[error("wrong key or other cluster (key {0} is not known to both)")]
    UnknownKey(KeyId),
    /// The keys or the cluster names differ.
    #[error("wrong key or other cluster")]
    WrongKeyOrCluster,
    /// The responder has too many pipes.
    #[error("the peer has too many pipes open")]
    Busy,
    /// It took too long.
    #[error("it took too long")]
    Slow,
}

/// What the responder thinks of a preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Go = 0,
    Version = 1,
    Suite = 2,
    PlaintextRefused = 3,
    SealedRefused = 4,
    UnknownKey = 5,
    WrongKeyOrCluster = 6,
    Busy = 7,
}

impl Status {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Go,
            Self::Version,
            Self::Suite,
            Self::PlaintextRefused,
            Self::SealedRefused,
            Self::UnknownKey,
            Self::WrongKeyOrCluster,
            Self::Busy,
        ]
        .into_iter()
        .find(|status| *status as u8 == byte)
    }

    fn reply(self) -> [u8; REPLY] {
        let [a, b, c, d] = MAGIC;
        [a, b, c, d, self as u8, VERSION]
    }
}

/// The reply to a peer that cannot be served now.
pub(crate) fn busy_reply() -> [u8; REPLY] {
    Status::Busy.reply()
}

impl Identity {
    /// A node of a cluster; without keys it talks in clear.
    pub(crate) fn new(cluster: String, keyring: Option<Keyring>) -> Self {
        Self {
            cluster,
            keyring: watch::Sender::new(keyring),
        }
    }

    /// The keys as they are now.
    pub(crate) fn keyring(&self) -> Option<Keyring> {
        self.keyring.borrow().clone()
    }

    /// Goes on with other keys. Pipes that they do not allow see it by
    /// [`Identity::revoked`].
    pub(crate) fn set_keyring(&self, keyring: Option<Keyring>) {
        self.keyring.send_replace(keyring);
    }

    /// What to offer a peer, one connection each, the best first. What comes after
    /// is for peers whose keys or whose stage are behind.
    pub(crate) fn offers(&self, prefer: Prefer) -> Vec<Offer> {
        let Some(ring) = self.keyring() else {
            return vec![Offer::Plain];
        };
        let primary = ring.primary().clone();
        let others = ring.keys().filter(|key| key.id() != primary.id()).cloned();
        let keys = std::iter::once(primary.clone()).chain(others);
        let mut offers: Vec<Offer> = keys.take(OFFERED_KEYS_MAX).map(Offer::Key).collect();
        if ring.stage().accepts_plaintext() {
            let first = prefer == Prefer::Stage && !ring.stage().seals();
            offers.insert(if first { 0 } else { offers.len() }, Offer::Plain);
        }
        offers
    }

    /// Waits until a pipe under this key, or in clear, must not be used any more: the key
    /// was removed, or plaintext is accepted no longer. Cancel-safe.
    pub(crate) async fn revoked(&self, key: Option<KeyId>) {
        let mut keyring = self.keyring.subscribe();
        let gone = keyring.wait_for(|ring| match (key, ring) {
            (None, ring) => ring
                .as_ref()
                .is_some_and(|ring| !ring.stage().accepts_plaintext()),
            (Some(id), Some(ring)) => ring.get(id).is_none(),
            (Some(_), None) => true,
        });
        // The sender is this identity: the channel cannot be closed.
        let _closed = gone.await.is_err();
    }

    fn cluster_hash(&self) -> [u8; 32] {
        Sha256::digest(self.cluster.as_bytes()).into()
    }

    fn noise(
        &self,
        key: &Key,
        preamble: &[u8; PREAMBLE],
        build: fn(snow::Builder<'_>) -> Result<HandshakeState, snow::Error>,
    ) -> Result<HandshakeState, HandshakeError> {
        let prologue = [b"muster pipe\0", &preamble[..], self.cluster.as_bytes()].concat();
        let psk = key.psk(&self.cluster);
        let params = NOISE.parse().map_err(io::Error::other)?;
        let state = snow::Builder::new(params)
            .prologue(&prologue)
            .and_then(|builder| builder.psk(0, &psk))
            .and_then(build);
        Ok(state.map_err(io::Error::other)?)
    }
}

impl Offer {
    fn preamble(&self) -> [u8; PREAMBLE] {
        let (suite, id) = match self {
            Self::Key(key) => (SUITE_SEALED, key.id().to_bytes()),
            Self::Plain => (SUITE_PLAIN, [0; 4]),
        };
        let mut preamble = [0; PREAMBLE];
        preamble[..4].copy_from_slice(&MAGIC);
        preamble[4] = VERSION;
        preamble[5] = suite;
        preamble[6..].copy_from_slice(&id);
        preamble
    }
}

impl HandshakeError {
    /// Whether the peer may take another offer.
    pub(crate) const fn may_take_another(&self) -> bool {
        matches!(
            self,
            Self::PlaintextRefused { .. } | Self::SealedRefused { .. } | Self::UnknownKey(_)
        )
    }
}

/// Opens a pipe over a new connection.
///
/// # Errors
/// Why there is none. Takes as long as the peer takes: set a deadline.
pub(crate) async fn initiate<T>(
    mut io: T,
    me: &Identity,
    offer: &Offer,
) -> Result<SealedStream<T>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let preamble = offer.preamble();
    let Offer::Key(key) = offer else {
        io.write_all(&[&preamble[..], &me.cluster_hash()].concat())
            .await?;
        io.flush().await?;
        read_reply(&mut io, offer).await?;
        return Ok(SealedStream::new(io, Codec::Plain, None));
    };
    let mut state = me.noise(key, &preamble, |builder| builder.build_initiator())?;
    let mut hello = [0; PREAMBLE + NOISE_MESSAGE];
    hello[..PREAMBLE].copy_from_slice(&preamble);
    write_noise(&mut state, &mut hello[PREAMBLE..])?;
    io.write_all(&hello).await?;
    io.flush().await?;
    read_reply(&mut io, offer).await?;
    let mut answer = [0; NOISE_MESSAGE];
    io.read_exact(&mut answer).await?;
    read_noise(&mut state, &answer)?;
    into_stream(io, state, key.id())
}

/// Takes a pipe from a new connection. A peer that is refused is told why.
///
/// # Errors
/// Why there is none. Takes as long as the peer takes: set a deadline.
pub(crate) async fn accept<T>(mut io: T, me: &Identity) -> Result<SealedStream<T>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    match agree(&mut io, me).await {
        Ok(None) => Ok(SealedStream::new(io, Codec::Plain, None)),
        Ok(Some((state, key))) => into_stream(io, *state, key),
        Err(error) => {
            if let Some(status) = status_of(&error)
                && !matches!(timeout(LINGER, tell(io, status)).await, Ok(Ok(())))
            {
                tracing::trace!("a refused peer did not wait for the reason");
            }
            Err(error)
        }
    }
}

/// Tells a refused peer why and waits until it has heard.
async fn tell<T>(mut io: T, status: Status) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    io.write_all(&status.reply()).await?;
    io.shutdown().await?;
    let mut rest = io.take(LINGER_BYTES_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

/// What a sealed handshake came to, and under which key.
type Agreed = (Box<HandshakeState>, KeyId);

/// The responder's side up to its answer; `None` is suite 0.
async fn agree<T>(io: &mut T, me: &Identity) -> Result<Option<Agreed>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut preamble = [0; PREAMBLE];
    io.read_exact(&mut preamble[..4]).await?;
    if preamble[..4] != MAGIC {
        return Err(HandshakeError::NotMuster);
    }
    io.read_exact(&mut preamble[4..]).await?;
    if preamble[4] != VERSION {
        return Err(HandshakeError::Version(preamble[4]));
    }
    let (initiator, responder) = ("the peer", "this node");
    let keyring = me.keyring();
    let plaintext = keyring
        .as_ref()
        .is_none_or(|ring| ring.stage().accepts_plaintext());
    match (preamble[5], &keyring) {
        (SUITE_PLAIN, _) if plaintext => {
            let mut cluster = [0; 32];
            io.read_exact(&mut cluster).await?;
            if cluster != me.cluster_hash() {
                return Err(HandshakeError::WrongKeyOrCluster);
            }
            io.write_all(&Status::Go.reply()).await?;
            io.flush().await?;
            Ok(None)
        }
        (SUITE_SEALED, Some(keyring)) => {
            let id = KeyId::from_bytes([preamble[6], preamble[7], preamble[8], preamble[9]]);
            let key = keyring.get(id).ok_or(HandshakeError::UnknownKey(id))?;
            let mut hello = [0; NOISE_MESSAGE];
            io.read_exact(&mut hello).await?;
            let mut state = me.noise(key, &preamble, |builder| builder.build_responder())?;
            read_noise(&mut state, &hello)?;
            let mut answer = [0; REPLY + NOISE_MESSAGE];
            answer[..REPLY].copy_from_slice(&Status::Go.reply());
            write_noise(&mut state, &mut answer[REPLY..])?;
            io.write_all(&answer).await?;
            io.flush().await?;
            Ok(Some((Box::new(state), id)))
        }
        (SUITE_PLAIN, _) => Err(HandshakeError::PlaintextRefused {
            initiator,
            responder,
        }),
        (SUITE_SEALED, None) => Err(HandshakeError::SealedRefused {
            initiator,
            responder,
        }),
        (suite, _) => Err(HandshakeError::Suite(suite)),
    }
}

async fn read_reply<T>(io: &mut T, offer: &Offer) -> Result<(), HandshakeError>
where
    T: AsyncRead + Unpin,
{
    let mut reply = [0; REPLY];
    io.read_exact(&mut reply).await?;
    let (magic, [status, version]) = (&reply[..4], [reply[4], reply[5]]);
    let status = Status::from_byte(status).filter(|_| magic == MAGIC);
    let (initiator, responder) = ("this node", "the peer");
    Err(match status.ok_or(HandshakeError::NotMuster)? {
        Status::Go => return Ok(()),
        Status::Version => HandshakeError::Version(version),
        Status::Suite => HandshakeError::Suite(offer.preamble()[5]),
        Status::PlaintextRefused => HandshakeError::PlaintextRefused {
            initiator,
            responder,
        },
        Status::SealedRefused => HandshakeError::SealedRefused {
            initiator,
            responder,
        },
        Status::UnknownKey => match offer {
            Offer::Key(key) => HandshakeError::UnknownKey(key.id()),
            Offer::Plain => HandshakeError::NotMuster,
        },
        Status::WrongKeyOrCluster => HandshakeError::WrongKeyOrCluster,
        Status::Busy => HandshakeError::Busy,
    })
}

/// What to tell the initiator; nothing where it would not understand.
fn status_of(error: &HandshakeError) -> Option<Status> {
    match error {
        HandshakeError::Io(_) | HandshakeError::NotMuster | HandshakeError::Slow => None,
        HandshakeError::Version(_) => Some(Status::Version),
        HandshakeError::Suite(_) => Some(Status::Suite),
        HandshakeError::PlaintextRefused { .. } => Some(Status::PlaintextRefused),
        HandshakeError::SealedRefused { .. } => Some(Status::SealedRefused),
        HandshakeError::UnknownKey(_) => Some(Status::UnknownKey),
        HandshakeError::WrongKeyOrCluster => Some(Status::WrongKeyOrCluster),
        HandshakeError::Busy => Some(Status::Busy),
    }
}

fn write_noise(state: &mut HandshakeState, out: &mut [u8]) -> Result<(), HandshakeError> {
    state.write_message(&[], out).map_err(io::Error::other)?;
    Ok(())
}

fn read_noise(state: &mut HandshakeState, message: &[u8]) -> Result<(), HandshakeError> {
    match state.read_message(message, &mut []) {
        Ok(_) => Ok(()),
        Err(_) => Err(HandshakeError::WrongKeyOrCluster),
    }
}

fn into_stream<T>(
    io: T,
    state: HandshakeState,
    key: KeyId,
) -> Result<SealedStream<T>, HandshakeError> {
    let state = state.into_transport_mode().map_err(io::Error::other)?;
    let codec = Codec::Noise(Box::new(state));
    Ok(SealedStream::new(io, codec, Some(key)))
}

#[cfg(test)]
mod tests;
