//! The same script against agents of serf and against musterd, through the same `serf`
//! command, in the same run.
//!
//! What both sides print, on both streams, and their exit codes must be equal, after
//! normalising what cannot be (addresses, times, orders that are random in serf). Every
//! other difference stands in `allowed.txt` with its reason, and an entry that nothing
//! uses fails the test.

#![expect(
    clippy::unwrap_used,
    reason = "in a test binary helpers are tests as well"
)]

mod allowed;
mod asyncserf;
mod diff;
mod normal;
mod script;
mod sides;

use muster_tests::harness::Binaries;

/// What is under test.
const BIN: Binaries = Binaries {
    musterd: env!("CARGO_BIN_EXE_musterd-under-test"),
    muster: env!("CARGO_BIN_EXE_muster-under-test"),
};

#[tokio::test]
async fn serf_and_musterd_say_the_same() {
    let side = async |kind| {
        let mut scenes = script::play(kind).await;
        scenes.extend(script::rotate(kind).await);
        scenes
    };
    let (serf, muster) = tokio::join!(side(sides::Kind::Serf), side(sides::Kind::Muster));
    let mut allowed = allowed::read();
    let mut unexplained = Vec::new();
    assert_eq!(serf.len(), muster.len());
    for (serf, muster) in serf.iter().zip(&muster) {
        assert_eq!(serf.step, muster.step);
        for pair in diff::pairs(&serf.lines, &muster.lines) {
            if !allowed.explains(serf.step, &pair) {
                unexplained.push(format!(
                    "{}\n  serf:   {}\n  muster: {}",
                    serf.step, pair.0, pair.1
                ));
            }
        }
    }
    assert!(
        unexplained.is_empty(),
        "unexplained differences:\n{}",
        unexplained.join("\n")
    );
    assert_eq!(
        allowed.unused(),
        Vec::<String>::new(),
        "entries that nothing uses"
    );
}
