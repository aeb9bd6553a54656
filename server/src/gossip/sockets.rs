//! UDP and TCP on one port, bound before anything starts.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

/// Kernel buffers of the UDP socket, bytes; the kernel may grant less. A burst of
/// the whole cluster fits, beyond that the kernel drops and gossip repeats.
const UDP_BUFFER_BYTES: usize = 2 << 20;

/// Connections that wait to be accepted; the kernel refuses further ones.
const BACKLOG: i32 = 1_024;

/// Ports to try if any will do: TCP's choice may be taken for UDP.
const PORT_TRIES_MAX: usize = 32;

/// Both sockets of a node.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    /// Where they are bound, with the real port.
    pub(crate) addr: SocketAddr,
}

impl Sockets {
    /// Binds both; port 0 takes any port that is free for both.
    ///
    /// # Errors
    /// Names the protocol and the address.
    pub(crate) fn bind(addr: SocketAddr) -> anyhow::Result<Self> {
        let mut tries = if addr.port() == 0 { PORT_TRIES_MAX } else { 1 };
        loop {
            tries -= 1;
            let tcp = bind_tcp(addr).with_context(|| format!("cannot listen on TCP {addr}"))?;
            let real = tcp.local_addr().context("cannot read the TCP address")?;
            match bind_udp(real) {
                Ok(udp) => {
                    return Ok(Self {
                        udp,
                        tcp,
                        addr: real,
                    });
                }
                Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot listen on UDP {real}"));
                }
            }
        }
    }
}

fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    serve_both_families(&socket, addr)?;
    // A restart must not wait for the last run's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    serve_both_families(&socket, addr)?;
    socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_send_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// `[::]` takes IPv4 as well, whatever the default of the system is
/// (`net.ipv6.bindv6only`).
fn serve_both_families(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_get_one_port() {
        let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(sockets.addr.port(), 0);
        assert_eq!(sockets.udp.local_addr().unwrap(), sockets.addr);
        assert_eq!(sockets.tcp.local_addr().unwrap(), sockets.addr);
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = Sockets::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = Sockets::bind(taken.addr).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&format!("TCP {}", taken.addr)), "{text}");
        assert!(text.contains("in use"), "{text}");
    }

    #[test]
    fn a_port_taken_for_udp_alone_is_named() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let error = Sockets::bind(addr).unwrap_err();
        assert!(
            format!("{error:#}").contains(&format!("UDP {addr}")),
            "{error:#}"
        );
    }

    #[test]
    fn ipv6_works_where_there_is_any() {
        let Ok(probe) = TcpListener::bind("[::1]:0") else {
            return;
        };
        let sockets = Sockets::bind(
            probe
                .local_addr()
                .map(|_| "[::1]:0".parse().unwrap())
                .unwrap(),
        );
        assert!(sockets.unwrap().addr.is_ipv6());
    }
}
