//! Unary calls over one connection.

use std::time::Instant;

use tokio::task::JoinSet;

use super::server::{MEMBER, Server};
use crate::machine;
use crate::stats::Times;

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) times: Times,
    /// Seconds of server CPU.
    pub(crate) cpu_per_call: f64,
}

/// Makes `calls` of GetMember, `at_once` under way at a time.
pub(crate) async fn measure(
    server: &Server,
    at_once: usize,
    calls: usize,
) -> anyhow::Result<Figures> {
    let client = server.client()?;
    client.get_member(MEMBER).await?;
    let cpu = machine::cpu(server.pid())?;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let client = client.clone();
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(calls / at_once);
            for _ in 0..calls / at_once {
                let began = Instant::now();
                client.get_member(MEMBER).await?;
                times.push(began.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut figures = Figures::default();
    while let Some(times) = tasks.join_next().await {
        times??
            .into_iter()
            .for_each(|time| figures.times.push(time));
    }
    let cpu = machine::cpu(server.pid())? - cpu;
    figures.per_second = calls as f64 / began.elapsed().as_secs_f64();
    figures.cpu_per_call = cpu.as_secs_f64() / calls as f64;
    Ok(figures)
}
