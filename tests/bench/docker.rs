//! `docker kill`: daemons in containers on the bridge of an engine of their own. Takes
//! root and Docker.

mod containers;

use std::time::Duration;

use anyhow::Context as _;
use muster_tests::harness::Binaries;
use tokio::time::sleep;

use self::containers::Containers;
use crate::busy::Busy;
use crate::cluster::steps::Deaths;
use crate::stats::{Times, ms};
use crate::table::Table;
use crate::{progress, sized};

/// Containers.
const SIZE: usize = 8;

/// Deaths of each kind.
const KILLS: usize = 10;

/// Rest between a return and the next death.
const REST: Duration = Duration::from_secs(2);

/// How long a death may take to be noticed.
const LIMIT: Duration = Duration::from_secs(60);

/// Kills containers, idle and with every core loaded.
pub(crate) async fn run(binaries: Binaries) -> anyhow::Result<String> {
    progress(&format!("docker: {SIZE} containers"))?;
    let containers = Containers::start(binaries, SIZE).await?;
    let idle = deaths(&containers).await?;
    let busy = {
        let _busy = Busy::all_cores()?;
        deaths(&containers).await?
    };
    let columns = [
        "what",
        "musterd",
        "target",
        "the command itself, median / worst",
    ];
    let title = format!("{SIZE} containers on a Docker bridge, sealed");
    let mut table = Table::new(title, &columns);
    let all = [
        (
            "docker kill -> all others show it failed, median / worst",
            idle,
        ),
        ("the same with every core loaded", busy),
    ];
    for (what, (deaths, command)) in all {
        let (what, target) = (what.to_owned(), "200 / 500 ms".to_owned());
        let command = format!("{} / {}", ms(command.median()), ms(command.longest()));
        table.row([what, deaths.to_string(), target, command]);
    }
    Ok(table.to_string())
}

/// Deaths, and how long the commands took.
async fn deaths(containers: &Containers) -> anyhow::Result<(Deaths, Times)> {
    let (mut deaths, mut commands) = (Deaths::default(), Times::default());
    for number in 0..sized(KILLS, 1) {
        let victim = SIZE - 1 - number % (SIZE - 1);
        sleep(REST).await;
        let (death, command) = containers.kill(victim, LIMIT).await?;
        commands.push(command);
        match death.took {
            Some(took) => deaths.times.push(took),
            None => deaths.missed += 1,
        }
        deaths.wrong += death.wrong.len();
        containers.revive(victim).await.context("after a kill")?;
    }
    Ok((deaths, commands))
}
