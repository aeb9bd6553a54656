//! Loopback addresses that no other daemon uses.
//!
//! Every daemon gets an address of 127.0.0.0/8 of its own instead of a free port
//! of 127.0.0.1: nobody can take it between the choice and the bind, and a daemon
//! that is killed and started again finds it free.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Port of all daemons under test, below the range of ephemeral ports.
const PORT: u16 = 7946;

/// Addresses that one process may hand out: 12 bits of the address.
const PER_PROCESS: u32 = 4_096;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An address of this process alone, with nothing bound to it.
///
/// # Panics
///
/// When the process has used all its addresses.
#[must_use]
pub fn fresh() -> SocketAddr {
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(
            number < PER_PROCESS,
            "all loopback addresses of this test process are used"
        );
        let candidate = SocketAddr::V4(SocketAddrV4::new(nth(std::process::id(), number), PORT));
        if is_free(candidate) {
            return candidate;
        }
    }
}

/// Address `number` of process `pid`: 11 bits of the one, 12 of the other. The
/// upper half of 127.0.0.0/8, to stay away from what people use by hand.
fn nth(pid: u32, number: u32) -> Ipv4Addr {
    let low = ((pid & 0x7ff) << 12) | (number & 0xfff);
    Ipv4Addr::from(0x7f80_0000 | low)
}

/// Whether neither UDP nor TCP is bound there. Network and broadcast-like last
/// octets are skipped: some tools refuse them.
fn is_free(addr: SocketAddr) -> bool {
    let SocketAddr::V4(v4) = addr else {
        return false;
    };
    !matches!(v4.ip().octets()[3], 0 | 255)
        && UdpSocket::bind(addr).is_ok()
        && TcpListener::bind(addr).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_loopback_addresses() {
        let (a, b) = (fresh(), fresh());
        assert_ne!(a, b);
        assert!(a.ip().is_loopback() && b.ip().is_loopback());
    }

    #[test]
    fn neighbouring_processes_get_different_addresses() {
        assert_ne!(nth(1_000, 5), nth(1_001, 5));
        assert_ne!(nth(1_000, 4_095), nth(1_001, 0));
    }

    #[test]
    fn a_taken_address_is_not_free() {
        let addr = fresh();
        let _taken = UdpSocket::bind(addr).unwrap();
        assert!(!is_free(addr));
    }
}
