//! Who calls.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use muster_engine::crypto::KeyId;
use muster_engine::name::check_name;
use tonic::Status;

use super::Me;

/// Metadata: the caller's name.
const NAME: HeaderName = HeaderName::from_static("muster-peer");

/// Metadata: its boot.
const BOOT: HeaderName = HeaderName::from_static("muster-boot");

/// A member that calls, as it says of itself. An extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the member; its grammar is checked.
    pub name: Arc<str>,
    /// Its boot.
    pub boot: u64,
    /// Where its end of the connection is: its address, and a port of no meaning.
    pub from: SocketAddr,
}

/// The key of the connection that a request came by, none in clear. An extension of
/// every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Under(pub Option<KeyId>);

impl Caller {
    /// Who sent a request.
    ///
    /// # Errors
    /// INTERNAL if the request did not come by a peer's connection: a bug.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Status::internal("the call came from nowhere"))
    }

    pub(super) fn read(headers: &HeaderMap, from: SocketAddr) -> Result<Self, Status> {
        let text = |name: &HeaderName| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| Status::invalid_argument(format!("{name}: missing or no text")))
        };
        let name = text(&NAME)?;
        check_name(name).map_err(|error| Status::invalid_argument(format!("{NAME}: {error}")))?;
        let boot = text(&BOOT)?.parse();
        let boot = boot.map_err(|error| Status::invalid_argument(format!("{BOOT}: {error}")))?;
        Ok(Self {
            name: Arc::from(name),
            boot,
            from,
        })
    }
}

/// Says in a request who calls.
pub(super) fn sign<B>(request: &mut Request<B>, me: &Me) {
    let headers = request.headers_mut();
    match HeaderValue::from_str(me.name()) {
        Ok(name) => headers.insert(NAME, name),
        // The grammar of names leaves nothing that a header refuses.
        Err(_) => headers.remove(NAME),
    };
    headers.insert(BOOT, HeaderValue::from(me.boot()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from() -> SocketAddr {
        "10.0.0.1:4000".parse().unwrap()
    }

    #[test]
    fn who_signs_is_known() {
        let me = Me::new("web-1.example", 7);
        me.raise_boot(9);
        me.raise_boot(8);
        let mut request = Request::new(());
        sign(&mut request, &me);
        let caller = Caller::read(request.headers(), from()).unwrap();
        assert_eq!((&*caller.name, caller.boot), ("web-1.example", 9));
    }

    #[test]
    fn what_is_no_name_or_boot_is_refused() {
        for (name, boot, word) in [
            (None, Some("1"), "muster-peer"),
            (Some("a b"), Some("1"), "muster-peer"),
            (Some("-a"), Some("1"), "muster-peer"),
            (Some(""), Some("1"), "muster-peer"),
            (Some("a"), None, "muster-boot"),
            (Some("a"), Some("-1"), "muster-boot"),
            (Some("a"), Some("99999999999999999999"), "muster-boot"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(name) = name {
                headers.insert(NAME, HeaderValue::from_static(name));
            }
            if let Some(boot) = boot {
                headers.insert(BOOT, HeaderValue::from_static(boot));
            }
            let refused = Caller::read(&headers, from()).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            assert!(refused.message().contains(word), "{refused:?}");
        }
    }
}
