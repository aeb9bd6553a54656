//! What the engine refuses of a container that shares the network of another.

use crate::children::forms::Publish;
use crate::children::yml::Child;

/// Checks a child that shares the network of its parent.
///
/// # Errors
/// What to write instead.
pub(super) fn check(child: &Child, siblings: &[String]) -> Result<(), String> {
    if !child.ports.is_empty() {
        let flags: Vec<String> = child.ports.iter().map(flag).collect();
        return Err(format!(
            "ports: it shares the network of its parent, and the engine publishes ports only where \
             a network begins. Start the parent's container with {} and leave ports out here",
            flags.join(" ")
        ));
    }
    let Some(link) = child.links.first() else {
        return Ok(());
    };
    let name = link.split(':').next().unwrap_or_default();
    Err(match siblings.iter().any(|sibling| sibling == name) {
        true => format!(
            "links: it shares the network of its parent, as {name} does, and the engine takes no \
             links there. Leave links out and reach {name} at 127.0.0.1"
        ),
        false => format!(
            "links: it shares the network of its parent, and the engine takes no links there. \
             Leave links out and start the parent's container with --link {link}, or with a \
             --network that {name} is in"
        ),
    })
}

/// A published port as a flag of `docker run`.
fn flag(port: &Publish) -> String {
    let ip = match port.host_ip.as_str() {
        "" => String::new(),
        ip if ip.contains(':') => format!("[{ip}]:"),
        ip => format!("{ip}:"),
    };
    let host = match (ip.as_str(), port.host_port.as_str()) {
        ("", "") => String::new(),
        (_, host) => format!("{host}:"),
    };
    let container = port.container.trim_end_matches("/tcp");
    format!("-p {ip}{host}{container}")
}
