//! A relay of datagrams in front of a daemon that delays, reorders, doubles and loses
//! them, by a seed. Connections pass as they are, later.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::address;

/// Datagrams under way at once; further ones are lost.
const UNDER_WAY_MAX: usize = 4_096;

/// Largest datagram.
const DATAGRAM_MAX: usize = 65_536;

/// What a relay does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Least time under way.
    pub delay: Duration,
    /// What chance adds to it, at most: with more than there is between two datagrams,
    /// they overtake each other.
    pub jitter: Duration,
    /// Share that comes twice, the second time after a delay of its own.
    pub doubled: f64,
    /// Share that does not come.
    pub lost: f64,
}

/// What a relay did.
#[derive(Debug, Default)]
struct Counts {
    passed: AtomicU64,
    overtaken: AtomicU64,
    doubled: AtomicU64,
}

/// Relays UDP and TCP from an address of its own to a daemon. Ends on drop.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// A relay to `target`: let the daemon there `--advertise` [`Self::addr`].
    ///
    /// # Panics
    ///
    /// When the sockets cannot be bound.
    pub async fn to(target: SocketAddr, weather: Weather, seed: u64) -> Self {
        let addr = address::fresh();
        let udp = UdpSocket::bind(addr).await.expect("no UDP socket");
        let tcp = TcpListener::bind(addr).await.expect("no TCP socket");
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        let datagrams = Datagrams {
            udp: Arc::new(udp),
            target,
            weather,
            rng: StdRng::seed_from_u64(seed),
            counts: Arc::clone(&counts),
        };
        tasks.spawn(datagrams.relay());
        tasks.spawn(relay_connections(tcp, target, weather.delay));
        Self {
            addr,
            counts,
            _tasks: tasks,
        }
    }

    /// Where peers should send.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Datagrams that reached the daemon.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.counts.passed.load(Ordering::Relaxed)
    }

    /// Those of them that came after a later one.
    #[must_use]
    pub fn overtaken(&self) -> u64 {
        self.counts.overtaken.load(Ordering::Relaxed)
    }

    /// Datagrams that were sent twice.
    #[must_use]
    pub fn doubled(&self) -> u64 {
        self.counts.doubled.load(Ordering::Relaxed)
    }
}

struct Datagrams {
    udp: Arc<UdpSocket>,
    target: SocketAddr,
    weather: Weather,
    rng: StdRng,
    counts: Arc<Counts>,
}

impl Datagrams {
    async fn relay(mut self) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        let mut under_way = JoinSet::new();
        let newest = Arc::new(AtomicU64::new(0));
        let mut number = 0;
        loop {
            // A daemon that is down answers with ICMP: the next datagram may pass.
            let Ok((length, _from)) = self.udp.recv_from(&mut buffer).await else {
                continue;
            };
            while under_way.try_join_next().is_some() {}
            if self.rng.random_bool(self.weather.lost) {
                continue;
            }
            let twice = self.rng.random_bool(self.weather.doubled);
            if twice {
                self.counts.doubled.fetch_add(1, Ordering::Relaxed);
            }
            number += 1;
            for _ in 0..=usize::from(twice) {
                if under_way.len() < UNDER_WAY_MAX {
                    let datagram = buffer[..length].to_vec();
                    under_way.spawn(self.pass(datagram, number, Arc::clone(&newest)));
                }
            }
        }
    }

    /// One datagram's way.
    fn pass(
        &mut self,
        datagram: Vec<u8>,
        number: u64,
        newest: Arc<AtomicU64>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let jitter = self.weather.jitter.mul_f64(self.rng.random_range(0.0..1.0));
        let time = self.weather.delay + jitter;
        let (udp, target) = (Arc::clone(&self.udp), self.target);
        let counts = Arc::clone(&self.counts);
        async move {
            sleep(time).await;
            if newest.fetch_max(number, Ordering::Relaxed) > number {
                counts.overtaken.fetch_add(1, Ordering::Relaxed);
            }
            if udp.send_to(&datagram, target).await.is_ok() {
                counts.passed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn relay_connections(tcp: TcpListener, target: SocketAddr, delay: Duration) {
    let mut connections = JoinSet::new();
    while let Ok((mut from, _peer)) = tcp.accept().await {
        connections.spawn(async move {
            sleep(delay).await;
            if let Ok(mut to) = TcpStream::connect(target).await {
                // Either end may go away at any time: so does the relay.
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[tokio::test]
    async fn datagrams_come_late_overtake_each_other_and_come_twice() {
        let target = address::fresh();
        let sink = UdpSocket::bind(target).await.unwrap();
        let weather = Weather {
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(40),
            doubled: 0.5,
            lost: 0.0,
        };
        let relay = Relay::to(target, weather, 7).await;
        let source = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for number in 0..100_u8 {
            source.send_to(&[number], relay.addr()).await.unwrap();
        }
        let mut seen: BTreeMap<u8, usize> = BTreeMap::new();
        let mut order = Vec::new();
        let mut buffer = [0; 8];
        let all = async {
            while seen.len() < 100 || seen.values().sum::<usize>() < 120 {
                sink.recv(&mut buffer).await.unwrap();
                *seen.entry(buffer[0]).or_default() += 1;
                order.push(buffer[0]);
            }
        };
        tokio::time::timeout(super::super::wait::SOON, all)
            .await
            .unwrap();
        assert!(!order.is_sorted());
        assert!(relay.overtaken() > 0 && relay.doubled() > 20 && relay.passed() >= 120);
    }
}
