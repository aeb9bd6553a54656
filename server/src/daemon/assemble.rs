//! The parts of the daemon and how they are joined.

use futures_util::FutureExt as _;

use super::notify::Heartbeat;
use super::{Assembled, Shared};

/// Binds every socket, then spawns every part.
///
/// # Errors
/// Which socket could not be bound.
pub async fn assemble(shared: Shared) -> anyhow::Result<Assembled> {
    let bound = shared.config.peers.bind;
    let (tasks, heart) = (shared.tasks, Heartbeat::default());
    let beating = heart.clone();
    let stop = tasks.stop_token();
    tasks.spawn("heart", async move {
        let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = second.tick() => beating.beat(),
                () = stop.cancelled() => return Ok(()),
            }
        }
    });
    Ok(Assembled {
        bound,
        sockets: Vec::new(),
        heart,
        leave: Box::new(|| async { Ok(()) }.boxed()),
    })
}
