//! `muster watch role`: the endpoints now and after every change.

use serde::Serialize;

use crate::cli::args::Resolve;
use crate::cli::failure::Failure;
use crate::cli::{Context, json, note, roles};
use crate::role_watch::{RoleUpdate, RoleWatch};

#[derive(Serialize)]
struct Set<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    set: json::EndpointSet<'a>,
}

#[derive(Serialize)]
struct Reconnected {
    #[serde(rename = "type")]
    kind: &'static str,
}

pub(super) async fn run(context: &mut Context, args: Resolve) -> Result<(), Failure> {
    let watch = context.client()?.watch_role(roles::request(args));
    let limit = context.timeout;
    super::until_stopped(limit, follow(context, watch)).await
}

async fn follow(context: &mut Context, mut watch: RoleWatch) -> Result<(), Failure> {
    let mut begun = false;
    loop {
        match watch.next().await? {
            RoleUpdate::Set(set) => {
                begun = true;
                let object = Set {
                    kind: "set",
                    set: json::EndpointSet::of(&set),
                };
                context.out.answer(&object, || roles::describe(&set))?;
            }
            RoleUpdate::Disconnected(lost) if !begun => return Err(lost.error.into()),
            RoleUpdate::Disconnected(lost) if context.out.is_json() => {
                context.out.json(&json::Disconnected::of(&lost))?;
            }
            RoleUpdate::Disconnected(lost) => {
                if lost.failures == 1 {
                    note(&format!("{}; trying again", lost.error));
                }
            }
            RoleUpdate::Reconnected if context.out.is_json() => {
                context.out.json(&Reconnected {
                    kind: "reconnected",
                })?;
            }
            RoleUpdate::Reconnected => note("the daemon is back"),
        }
    }
}
