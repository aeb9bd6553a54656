//! DNS by hickory with the system's configuration; the C library's resolver where
//! that has no answer.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverOpts;
use hickory_resolver::proto::rr::RData;
use tokio::time::{Instant, timeout, timeout_at};

use super::{ADDRESSES_PER_NAME_MAX, Seed};

/// One round of resolving ends by then.
const DEADLINE: Duration = Duration::from_secs(5);

/// hickory is given up by then, so that the C library gets its turn.
const DNS_DEADLINE: Duration = Duration::from_secs(3);

/// A resolver for one round: the system's configuration may have changed since
/// the last one, and between rounds nothing is held.
#[derive(Debug)]
pub(super) struct Names {
    dns: Result<TokioResolver, String>,
    deadline: Instant,
}

impl Names {
    /// Reads the system's configuration if one of the texts needs it.
    pub(super) async fn for_texts(texts: &[String]) -> Self {
        let deadline = Instant::now() + DEADLINE;
        let needed = |text: &String| !matches!(text.parse(), Ok(Seed::Addr(_)) | Err(_));
        let dns = if texts.iter().any(needed) {
            system_resolver().await
        } else {
            Err("not needed".to_owned())
        };
        Self { dns, deadline }
    }

    /// The addresses of a seed, at least one.
    pub(super) async fn addresses(&self, seed: &Seed) -> Result<Vec<SocketAddr>, String> {
        let found = timeout_at(self.deadline, async {
            match seed {
                Seed::Addr(addr) => Ok(vec![*addr]),
                Seed::Name { host, port } => self.host(host, *port).await,
                Seed::Srv(name) => self.service(name).await,
            }
        });
        let mut addrs = match found.await {
            Ok(found) => found?,
            Err(_) => return Err("no answer in time".to_owned()),
        };
        addrs.truncate(ADDRESSES_PER_NAME_MAX);
        if addrs.is_empty() {
            return Err("it has no address".to_owned());
        }
        Ok(addrs)
    }

    async fn host(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Ok(dns) = &self.dns
            && let Ok(Ok(found)) = timeout(DNS_DEADLINE, dns.lookup_ip(host)).await
        {
            let addrs: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
            if !addrs.is_empty() {
                return Ok(addrs);
            }
        }
        // It knows of more than DNS (nsswitch), and says why it knows nothing.
        match tokio::net::lookup_host((host, port)).await {
            Ok(found) => Ok(found.take(ADDRESSES_PER_NAME_MAX).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn service(&self, name: &str) -> Result<Vec<SocketAddr>, String> {
        let dns = self.dns.as_ref().map_err(String::clone)?;
        let found = timeout(DNS_DEADLINE, dns.srv_lookup(name))
            .await
            .map_err(|_late| "no answer in time".to_owned())?
            .map_err(|error| error.to_string())?;
        let mut addrs = Vec::new();
        for record in found.answers() {
            let RData::SRV(srv) = &record.data else {
                continue;
            };
            // RFC 2782: the root as target says that the service is not there.
            if srv.target.is_root() || addrs.len() >= ADDRESSES_PER_NAME_MAX {
                continue;
            }
            if let Ok(ips) = dns.lookup_ip(srv.target.clone()).await {
                addrs.extend(ips.iter().map(|ip| SocketAddr::new(ip, srv.port)));
            }
        }
        Ok(addrs)
    }
}

/// Files are read off the engine's thread.
async fn system_resolver() -> Result<TokioResolver, String> {
    let built = tokio::task::spawn_blocking(|| {
        let mut builder = TokioResolver::builder_tokio()?;
        set_options(builder.options_mut());
        builder.build()
    });
    match built.await {
        Ok(Ok(resolver)) => Ok(resolver),
        Ok(Err(error)) => Err(format!("no DNS configuration: {error}")),
        Err(_) => Err("no DNS configuration: reading it failed".to_owned()),
    }
}

fn set_options(options: &mut ResolverOpts) {
    options.timeout = Duration::from_secs(1);
    options.attempts = 2;
    // One round asks each name once.
    options.cache_size = 0;
}

#[cfg(test)]
mod tests;
