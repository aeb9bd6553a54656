//! Members on the local network, found by multicast DNS (RFC 6762, RFC 6763).
//!
//! Each member that is told to announces the service `_muster._tcp` with two
//! properties: `discover`, the name that those who look for each other share, and
//! `addr`, where peers reach it. Whom it finds it tries like a seed, again and again:
//! an announcement proves nothing, only an answer under the cluster's key counts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The service that is announced.
const SERVICE: &str = "_muster._tcp.local.";

/// Property with the name that is shared.
const DISCOVER: &str = "discover";

/// Property with the address for peers.
const ADDR: &str = "addr";

/// Longest part of the member's name in what is announced, bytes: a DNS label has 63.
const NAME_BYTES_MAX: usize = 40;

/// Members kept that were found; the one found longest ago makes room for a new one.
pub const FOUND_MAX: usize = 64;

/// Pause before multicast is tried again after it failed.
const RETRY: Duration = Duration::from_secs(10);

/// How long the goodbye may take.
const GOODBYE_WAIT: Duration = Duration::from_millis(500);

/// What to announce, and whom to look for.
#[derive(Debug, Clone)]
pub struct MdnsConfig {
    /// What those that find each other have in common.
    pub discover: String,
    /// Name of this member.
    pub member: String,
    /// Where peers reach it.
    pub addr: SocketAddr,
    /// The only interface to use, if not all.
    pub interface: Option<String>,
}

/// Addresses that were found, the newest last.
pub type Found = watch::Receiver<Vec<SocketAddr>>;

/// A channel for what is found.
#[must_use]
pub fn channel() -> (watch::Sender<Vec<SocketAddr>>, Found) {
    watch::channel(Vec::new())
}

/// Announces this member and looks for others until the daemon stops. A network
/// without multicast is a warning, and is tried again.
pub async fn run(
    config: MdnsConfig,
    found: watch::Sender<Vec<SocketAddr>>,
    stop: CancellationToken,
) {
    let mut warned = false;
    while !stop.is_cancelled() {
        let session = Session::start(&config);
        match session {
            Ok(session) => {
                warned = false;
                session.look(&config, &found, &stop).await;
                session.end().await;
            }
            Err(error) if !warned => {
                warned = true;
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "cannot discover members by multicast DNS, will try again"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(RETRY) => {}
        }
    }
}

/// One announcement and one search.
struct Session {
    daemon: ServiceDaemon,
    events: mdns_sd::Receiver<ServiceEvent>,
    own: String,
}

impl Session {
    fn start(config: &MdnsConfig) -> anyhow::Result<Self> {
        let daemon = ServiceDaemon::new().context("cannot open the multicast sockets")?;
        if let Some(interface) = &config.interface {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(IfKind::Name(interface.clone()))?;
        }
        let service = announcement(config)?;
        let own = service.get_fullname().to_owned();
        let events = daemon.browse(SERVICE)?;
        daemon.register(service).context("cannot announce")?;
        Ok(Self {
            daemon,
            events,
            own,
        })
    }

    /// Takes in what is found. Ends with the daemon, or if multicast broke down.
    async fn look(
        &self,
        config: &MdnsConfig,
        found: &watch::Sender<Vec<SocketAddr>>,
        stop: &CancellationToken,
    ) {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = self.events.recv_async() => event,
            };
            match event {
                Ok(ServiceEvent::ServiceResolved(service)) if service.fullname != self.own => {
                    if let Some(addr) = address(&config.discover, &service) {
                        note(found, addr);
                    }
                }
                // Whoever is gone stays a seed: it may come back unannounced.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "multicast DNS broke down, will be started again");
                    return;
                }
            }
        }
    }

    /// Takes the announcement back, and ends the thread behind it.
    async fn end(&self) {
        if let Ok(done) = self.daemon.unregister(&self.own)
            && timeout(GOODBYE_WAIT, done.recv_async()).await.is_err()
        {
            tracing::debug!("the announcement was not taken back in time");
        }
        match self.daemon.shutdown() {
            Ok(done) => {
                let _late = timeout(GOODBYE_WAIT, done.recv_async()).await;
            }
            Err(error) => tracing::debug!(%error, "multicast DNS has ended already"),
        }
    }
}

fn announcement(config: &MdnsConfig) -> anyhow::Result<ServiceInfo> {
    // Random: two members of one name must not fight over what they are called here.
    let run: u64 = rand::random();
    let name: String = config.member.chars().take(NAME_BYTES_MAX).collect();
    let addr = config.addr.to_string();
    let properties = [(DISCOVER, config.discover.as_str()), (ADDR, addr.as_str())];
    let service = ServiceInfo::new(
        SERVICE,
        &format!("{name}-{run:016x}"),
        &format!("muster-{run:016x}.local."),
        "",
        config.addr.port(),
        &properties[..],
    );
    Ok(service.context("cannot announce")?.enable_addr_auto())
}

/// Where a member is that looks for the same name, in its own words.
fn address(discover: &str, service: &ResolvedService) -> Option<SocketAddr> {
    let property = |key| service.txt_properties.get_property_val_str(key);
    if property(DISCOVER) != Some(discover) {
        return None;
    }
    let addr: SocketAddr = property(ADDR)?.parse().ok()?;
    let usable = !addr.ip().is_unspecified() && !addr.ip().is_multicast() && addr.port() != 0;
    usable.then_some(addr)
}

/// Keeps an address as the newest.
fn note(found: &watch::Sender<Vec<SocketAddr>>, addr: SocketAddr) {
    found.send_if_modified(|known| {
        if known.contains(&addr) {
            return false;
        }
        tracing::info!(%addr, "discovered a member by multicast DNS");
        let mut queue: VecDeque<_> = std::mem::take(known).into();
        while queue.len() >= FOUND_MAX {
            queue.pop_front();
        }
        queue.push_back(addr);
        *known = queue.into();
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MdnsConfig {
        MdnsConfig {
            discover: "shop".to_owned(),
            member: "a".repeat(128),
            addr: "10.0.0.5:7946".parse().unwrap(),
            interface: None,
        }
    }

    fn announced(discover: &str, addr: &str) -> ResolvedService {
        let properties = [(DISCOVER, discover), (ADDR, addr)];
        let service = ServiceInfo::new(SERVICE, "x", "x.local.", "10.0.0.9", 1, &properties[..]);
        service.unwrap().as_resolved_service()
    }

    #[test]
    fn an_announcement_is_read_as_it_was_meant() {
        let service = announcement(&config()).unwrap().as_resolved_service();
        assert_eq!(address("shop", &service), Some(config().addr));
        assert_eq!(address("other", &service), None);
        assert!(service.get_fullname().len() < 100);
    }

    #[test]
    fn announcements_that_make_no_sense_are_ignored() {
        for addr in [
            "",
            "10.0.0.5",
            "0.0.0.0:1",
            "10.0.0.5:0",
            "224.0.0.1:1",
            "host:1",
        ] {
            assert_eq!(address("shop", &announced("shop", addr)), None, "{addr}");
        }
        let six = announced("shop", "[fd00::5]:7946");
        assert_eq!(address("shop", &six), "[fd00::5]:7946".parse().ok());
        let none = ServiceInfo::new(SERVICE, "x", "x.local.", "10.0.0.9", 1, None);
        assert_eq!(address("shop", &none.unwrap().as_resolved_service()), None);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let (sender, found) = channel();
        let addr = |n: usize| SocketAddr::from(([10, 0, 0, 1], u16::try_from(n + 1).unwrap()));
        for n in 0..FOUND_MAX + 5 {
            note(&sender, addr(n));
            note(&sender, addr(n));
        }
        let kept = found.borrow();
        assert_eq!(kept.len(), FOUND_MAX);
        assert_eq!(
            (kept[0], kept[FOUND_MAX - 1]),
            (addr(5), addr(FOUND_MAX + 4))
        );
    }
}
