//! Muster from Rust: list members, send an event and see it, resolve a role.
//!
//! ```sh
//! cargo run -p muster --example watch -- /run/muster/api.sock ROLE
//! ```

use std::error::Error;
use std::io::{Write as _, stdout};

use muster::{Client, EventUpdate, EventWatchOptions, SocketPath, display_name, pb, status_name};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(role)) = (args.next(), args.next()) else {
        return Err("usage: watch SOCKET ROLE".into());
    };
    let client = Client::connect(&SocketPath::parse(&socket)?);

    for member in client.members(pb::MemberFilter::default()).await?.items {
        let (name, status) = (display_name(&member), status_name(member.status()));
        writeln!(stdout(), "member {name} {status}")?;
    }

    // The watch reconnects and resumes by itself; once subscribed it misses nothing.
    let mut watch = client.watch_events(EventWatchOptions::default());
    while !matches!(watch.next().await?, EventUpdate::Subscribed) {}
    let level = pb::ReceiptLevel::Replicated;
    let outcome = client.send_event("hello", "from Rust", level).await?;
    writeln!(stdout(), "receipt {outcome:?}")?;
    loop {
        if let EventUpdate::Event(event) = watch.next().await? {
            let payload = String::from_utf8_lossy(&event.payload);
            writeln!(stdout(), "event {} {payload}", event.name)?;
            break;
        }
    }

    let request = pb::ResolveRoleRequest {
        role,
        ..Default::default()
    };
    for endpoint in client.resolve(request).await?.endpoints {
        let pb::Endpoint {
            member,
            address,
            port,
            ..
        } = endpoint;
        writeln!(stdout(), "endpoint {member} {address}:{port}")?;
    }
    Ok(())
}
