//! The datagram socket: never waits, survives what networks do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use muster_engine::crypto::seal::DATAGRAM_BYTES_MAX;
use rustix::io::Errno;
use tokio::net::UdpSocket;

use super::metrics::Counters;

/// Room for any datagram. Its pages are touched only as far as datagrams reach.
const BUFFER_BYTES: usize = 65_536;

/// Receive calls that may fail in a row before the socket counts as broken.
const ERRORS_IN_A_ROW_MAX: u32 = 1_000;

/// The socket and its one buffer.
#[derive(Debug)]
pub(crate) struct Udp {
    socket: UdpSocket,
    ipv6: bool,
    buffer: Vec<u8>,
    errors_in_a_row: u32,
    counters: Arc<Counters>,
}

/// What became of a datagram that could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendFailure {
    Full,
    Unreachable,
    Refused,
    TooLong,
    Other,
}

impl Udp {
    /// Over a bound socket.
    pub(crate) fn new(socket: UdpSocket, counters: Arc<Counters>) -> io::Result<Self> {
        let ipv6 = socket.local_addr()?.is_ipv6();
        Ok(Self {
            socket,
            ipv6,
            buffer: vec![0; BUFFER_BYTES],
            errors_in_a_row: 0,
            counters,
        })
    }

    /// Waits until a datagram may be there.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Waits until the socket takes datagrams: once, at the start, as the first
    /// ones would be dropped otherwise.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// The next datagram, if one is there.
    ///
    /// # Errors
    /// The socket is of no more use.
    pub(crate) fn receive(&mut self) -> io::Result<Option<(SocketAddr, &[u8])>> {
        loop {
            match self.socket.try_recv_from(&mut self.buffer) {
                Ok((bytes, _)) if bytes > DATAGRAM_BYTES_MAX => {
                    self.counters.datagrams_dropped_too_long.add(1);
                }
                Ok((bytes, from)) => {
                    self.errors_in_a_row = 0;
                    self.counters.datagrams_received.add(1);
                    self.counters.datagram_bytes_received.add(bytes as u64);
                    return Ok(Some((canonical(from), &self.buffer[..bytes])));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => {
                    self.counters.datagram_receive_errors.add(1);
                    self.errors_in_a_row += 1;
                    if is_fatal(&error) || self.errors_in_a_row > ERRORS_IN_A_ROW_MAX {
                        return Err(error);
                    }
                    tracing::debug!(%error, "a receive call failed");
                    return Ok(None);
                }
            }
        }
    }

    /// Sends now or drops and counts.
    pub(crate) fn send(&self, to: SocketAddr, datagram: &[u8]) {
        let counters = &self.counters;
        let error = match self.socket.try_send_to(datagram, self.reachable(to)) {
            Ok(bytes) => {
                counters.datagrams_sent.add(1);
                return counters.datagram_bytes_sent.add(bytes as u64);
            }
            Err(error) => error,
        };
        tracing::trace!(%to, %error, "a datagram was not sent");
        let counter = match classify(&error) {
            SendFailure::Full => &counters.datagrams_dropped_send_full,
            SendFailure::Unreachable => &counters.datagrams_dropped_send_unreachable,
            SendFailure::Refused => &counters.datagrams_dropped_send_refused,
            SendFailure::TooLong => &counters.datagrams_dropped_send_too_long,
            SendFailure::Other => &counters.datagrams_dropped_send_other,
        };
        counter.add(1);
    }

    /// How a socket of this family names an address.
    fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.ipv6 => SocketAddr::new(mapped(ip).into(), to.port()),
            IpAddr::V4(_) | IpAddr::V6(_) => to,
        }
    }
}

/// An IPv4 address that an IPv6 socket shows in mapped form as what it is: peers
/// are compared by address.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

fn mapped(ip: Ipv4Addr) -> Ipv6Addr {
    ip.to_ipv6_mapped()
}

/// Sorts send errors. None is fatal: the next datagram may pass.
fn classify(error: &io::Error) -> SendFailure {
    if error.kind() == io::ErrorKind::WouldBlock {
        return SendFailure::Full;
    }
    match Errno::from_io_error(error) {
        Some(Errno::NOBUFS | Errno::NOMEM) => SendFailure::Full,
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::HOSTDOWN) => {
            SendFailure::Unreachable
        }
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => SendFailure::Refused,
        Some(Errno::MSGSIZE) => SendFailure::TooLong,
        Some(_) | None => SendFailure::Other,
    }
}

/// The descriptor itself is wrong: no later call can do better.
fn is_fatal(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::BADF | Errno::NOTSOCK | Errno::INVAL | Errno::FAULT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn udp() -> (Udp, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.writable().await.unwrap();
        (Udp::new(socket, Arc::clone(&counters)).unwrap(), counters)
    }

    #[tokio::test]
    async fn datagrams_arrive_and_are_counted() {
        let ((mut one, counted_one), (two, counted_two)) = (udp().await, udp().await);
        let to = one.socket.local_addr().unwrap();
        two.send(to, b"hello");
        one.readable().await.unwrap();
        let (from, bytes) = one.receive().unwrap().unwrap();
        assert_eq!(
            (from, bytes),
            (two.socket.local_addr().unwrap(), &b"hello"[..])
        );
        assert!(one.receive().unwrap().is_none());
        assert_eq!(counted_two.datagrams_sent.get(), 1);
        assert_eq!(counted_one.datagram_bytes_received.get(), 5);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_dropped_by_reason() {
        let (udp, counters) = udp().await;
        udp.send("127.0.0.1:9".parse().unwrap(), &vec![0; 65_530]);
        assert_eq!(counters.datagrams_dropped_send_too_long.get(), 1);
        udp.send("[::1]:9".parse().unwrap(), b"x");
        assert_eq!(counters.datagrams_dropped_send_other.get(), 1);
        assert_eq!(counters.datagrams_sent.get(), 0);
    }

    #[test]
    fn errors_are_sorted() {
        let cases = [
            (Errno::AGAIN, SendFailure::Full),
            (Errno::NOBUFS, SendFailure::Full),
            (Errno::NETUNREACH, SendFailure::Unreachable),
            (Errno::CONNREFUSED, SendFailure::Refused),
            (Errno::MSGSIZE, SendFailure::TooLong),
            (Errno::PERM, SendFailure::Other),
        ];
        for (errno, expected) in cases {
            assert_eq!(classify(&errno.into()), expected, "{errno}");
            assert!(!is_fatal(&errno.into()), "{errno}");
        }
        assert!(is_fatal(&Errno::BADF.into()));
    }

    #[test]
    fn mapped_addresses_are_shown_as_what_they_are() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:7946".parse().unwrap();
        assert_eq!(canonical(mapped), "10.0.0.1:7946".parse().unwrap());
        let plain: SocketAddr = "[fe80::1]:1".parse().unwrap();
        assert_eq!(canonical(plain), plain);
    }
}
