//! What the service manager is told (`sd_notify(3)`), and the watchdog.

use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::supervisor::Heartbeat;

/// Talks to the service manager; without one it does nothing.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` if
    /// `WATCHDOG_PID` is absent or this process.
    ///
    /// # Errors
    /// If there is a service manager that cannot be reached.
    pub fn from_environment(environment: &BTreeMap<String, String>) -> io::Result<Self> {
        let Some(path) = environment
            .get("NOTIFY_SOCKET")
            .filter(|path| !path.is_empty())
        else {
            return Ok(Self::default());
        };
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // The manager may be slow; the daemon must not be.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(Arc::new(socket)),
            watchdog: watchdog(environment),
        })
    }

    /// The daemon serves.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// The daemon reads its configuration again; [`Notifier::ready`] ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        // The manager tells by it an answer to this reload from one to an earlier.
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"
        ));
    }

    /// The daemon begins to stop.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=leaving");
    }

    /// One line about what it does.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// How long the manager waits for a sign of life, if it does.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Gives a sign of life at half the time of the watchdog, as long as the heart
    /// beats. A heart that stands still lets the manager restart the daemon.
    pub async fn watch(self, heart: Heartbeat, stop: CancellationToken) {
        let Some(patience) = self.watchdog else {
            return;
        };
        let mut ticks = tokio::time::interval(patience / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let count = heart.count();
            if seen == Some(count) {
                tracing::error!(
                    beats = count,
                    "the engine stands still, no sign of life is given"
                );
            } else {
                self.send("WATCHDOG=1");
            }
            seen = Some(count);
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::warn!(%error, "cannot reach the service manager");
        }
    }
}

fn watchdog(environment: &BTreeMap<String, String>) -> Option<Duration> {
    let pid = environment.get("WATCHDOG_PID");
    if pid.is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None;
    }
    let micros: u64 = environment.get("WATCHDOG_USEC")?.parse().ok()?;
    // A tick needs a period; the manager never asks for less than this.
    (micros >= 1_000).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(extra: &[(&str, &str)]) -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut environment: BTreeMap<String, String> = extra
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        environment.insert("NOTIFY_SOCKET".to_owned(), path.display().to_string());
        let notifier = Notifier::from_environment(&environment).unwrap();
        (dir, socket, notifier)
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_of_the_phases() {
        let (_dir, socket, notifier) = manager(&[]);
        notifier.ready("web-1 at 127.0.0.1:7946");
        assert_eq!(receive(&socket), "READY=1\nSTATUS=web-1 at 127.0.0.1:7946");
        notifier.reloading();
        let told = receive(&socket);
        let micros = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let (micros, status) = micros.split_once('\n').unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0, "{told}");
        assert_eq!(status, "STATUS=reloading");
        notifier.stopping();
        assert_eq!(receive(&socket), "STOPPING=1\nSTATUS=leaving");
        notifier.status("draining");
        assert_eq!(receive(&socket), "STATUS=draining");
        assert_eq!(notifier.watchdog(), None);
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let notifier = Notifier::from_environment(&BTreeMap::new()).unwrap();
        notifier.ready("");
        assert_eq!(notifier.watchdog(), None);
        let gone = BTreeMap::from([("NOTIFY_SOCKET".to_owned(), "/no/such".to_owned())]);
        assert!(Notifier::from_environment(&gone).is_err());
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let own = std::process::id().to_string();
        let (_dir, _socket, notifier) =
            manager(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", &own)]);
        assert_eq!(notifier.watchdog(), Some(Duration::from_secs(30)));
        let (_dir, _socket, notifier) =
            manager(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "1")]);
        assert_eq!(notifier.watchdog(), None);
        let (_dir, _socket, notifier) = manager(&[("WATCHDOG_USEC", "0")]);
        assert_eq!(notifier.watchdog(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_heart_that_stands_still_gives_no_sign_of_life() {
        let (_dir, socket, notifier) = manager(&[("WATCHDOG_USEC", "10000000")]);
        socket.set_nonblocking(true).unwrap();
        let heart = Heartbeat::default();
        let watch = notifier.watch(heart.clone(), CancellationToken::new());
        let mut watch = std::pin::pin!(watch);
        let mut signs = Vec::new();
        for second in 0..30 {
            if second < 14 {
                heart.beat();
            }
            let _still_running = tokio::time::timeout(Duration::from_secs(1), watch.as_mut()).await;
            let mut buffer = [0; 64];
            while socket.recv(&mut buffer).is_ok() {
                signs.push(second);
            }
        }
        assert_eq!(signs.len(), 4, "{signs:?}");
        assert!(signs.iter().all(|second| *second <= 15), "{signs:?}");
    }
}
