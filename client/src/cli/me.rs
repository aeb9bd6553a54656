//! `muster me`, and the link `me` to this program: serfnode's `/me`.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::cli::failure::{Failure, UNREACHABLE};
use crate::cli::{CALL_TIMEOUT, Context, table};
use crate::display_name;

/// How long to wait before the daemon, which may be starting, is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    address: &'a str,
}

/// The command line: that of `muster me` if the program was called as `me`.
pub(super) fn called(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let program = args.first().map(Path::new).and_then(Path::file_name);
    if program.is_some_and(|name| name == "me") {
        args.insert(1, "me".into());
    }
    args
}

/// Waits for the daemon, as serfnode's `/me` waited for its agent.
pub(super) async fn run(context: &mut Context) -> Result<(), Failure> {
    let limit = context.timeout.unwrap_or(CALL_TIMEOUT);
    let mut last = None;
    let asked = tokio::time::timeout(limit, async {
        loop {
            let client = context.client()?;
            match client.info().await.map_err(Failure::from) {
                Err(failure) if failure.code == UNREACHABLE => last = Some(failure),
                answered => return answered,
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    });
    let info = match asked.await {
        Ok(info) => info?,
        Err(_elapsed) => return Err(last.unwrap_or_else(|| Failure::deadline(limit))),
    };
    let Some(me) = &info.self_ else {
        return Err(Failure::empty("the daemon is no member"));
    };
    let address = table::address(&me.gossip_ip, me.gossip_port);
    let object = Answer {
        name: display_name(me),
        address: &address,
    };
    context.out.answer(&object, || address.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_that_name_is_the_command() {
        let line = |args: &[&str]| called(args.iter().map(OsString::from));
        assert_eq!(line(&["/me"]), ["/me", "me"]);
        assert_eq!(
            line(&["me", "--format", "json"]),
            ["me", "me", "--format", "json"]
        );
        assert_eq!(
            line(&["/usr/bin/muster", "info"]),
            ["/usr/bin/muster", "info"]
        );
        assert!(line(&[]).is_empty());
    }
}
