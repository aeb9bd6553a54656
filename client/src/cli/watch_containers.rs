//! `muster watch containers`.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::args::ContainerList;
use crate::cli::containers::{self, Container};
use crate::cli::failure::Failure;
use crate::cli::text::escape;
use crate::cli::watch_view::{self, Shown};
use crate::{Change, ChangeKind, Containers, pb};

#[derive(Serialize)]
struct Changed<'a> {
    previous_state: Option<&'a str>,
    container: Container<'a>,
}

pub(super) async fn run(context: &mut Context, args: &ContainerList) -> Result<(), Failure> {
    let client = context.client()?;
    let watch = client.watch_containers(containers::options(args));
    watch_view::run(context, watch).await
}

impl Shown for Containers {
    fn table<'a>(
        items: impl Iterator<Item = &'a pb::Container>,
        now: Timestamp,
        colour: bool,
    ) -> Vec<String> {
        containers::lines(items, now, colour)
    }

    fn line(container: &pb::Container) -> String {
        containers::describe(container)
    }

    fn change_line(change: &Change<pb::Container>) -> String {
        let line = containers::describe(&change.item);
        match (&change.before, change.kind) {
            (_, ChangeKind::Removed) => format!("{line} removed"),
            (None, _) => format!("{line} new"),
            (Some(before), _) if before.state != change.item.state => {
                format!("{line} was {}", escape(&before.state))
            }
            (Some(_), _) => format!("{line} changed"),
        }
    }

    fn json(items: &[pb::Container]) -> impl Serialize {
        containers::Containers::of(items)
    }

    fn change_json(change: &Change<pb::Container>) -> impl Serialize {
        let before = change.before.as_ref();
        Changed {
            previous_state: before.map(|before| before.state.as_str()),
            container: Container::of(&change.item),
        }
    }
}
