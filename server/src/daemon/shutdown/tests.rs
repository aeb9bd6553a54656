use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::*;

const FAR: Duration = Duration::from_secs(600);

/// A daemon of fakes: one task, a leave that can be told how to go.
struct Fake {
    life: Lifecycle<mpsc::Receiver<Signal>>,
    tasks: Tasks,
    signals: mpsc::Sender<Signal>,
    left: CancellationToken,
    phases: Arc<Mutex<Vec<Phase>>>,
    phase: watch::Receiver<Phase>,
    wishes: Wishes,
}

fn fake(leave_on_terminate: bool) -> Fake {
    fake_with(Timing {
        leave_on_terminate,
        leave_on_interrupt: true,
        leave: Duration::from_secs(3),
        drain: Duration::from_secs(5),
    })
}

fn fake_with(timing: Timing) -> Fake {
    let wishes = Wishes::default();
    let tasks = Tasks::default();
    let stop = tasks.stop_token();
    tasks.spawn("engine", async move {
        stop.cancelled().await;
        Ok(())
    });
    let (signals, queue) = mpsc::channel(8);
    let (sender, phase) = watch::channel(Phase::Running);
    let left = CancellationToken::new();
    let life = Lifecycle {
        tasks: tasks.clone(),
        signals: queue,
        left: left.clone(),
        phase: sender,
        notifier: Notifier::default(),
        timing: watch::channel(timing).1,
        wishes: wishes.clone(),
    };
    Fake {
        life,
        tasks,
        signals,
        left,
        phases: Arc::default(),
        phase,
        wishes,
    }
}

/// A leave that notes the phase it was called in.
fn noted(fake: &Fake) -> impl FnOnce() -> std::future::Ready<anyhow::Result<()>> + use<> {
    let (phases, phase) = (Arc::clone(&fake.phases), fake.phase.clone());
    move || {
        phases.lock().unwrap().push(*phase.borrow());
        std::future::ready(Ok(()))
    }
}

async fn end(
    life: Lifecycle<mpsc::Receiver<Signal>>,
    leave: impl Future<Output = anyhow::Result<()>>,
) -> Ending {
    tokio::time::timeout(FAR, life.run(|| leave)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn signals_leave_then_drain_then_stop() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let fake = fake(true);
        fake.signals.send(signal).await.unwrap();
        let leave = noted(&fake);
        let ending = tokio::time::timeout(FAR, fake.life.run(leave))
            .await
            .unwrap();
        assert!(matches!(ending, Ending::Asked { .. }), "{ending:?}");
        assert_eq!(*fake.phases.lock().unwrap(), [Phase::Leaving]);
        assert_eq!(*fake.phase.borrow(), Phase::Stopped);
        assert!(fake.tasks.live().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn either_signal_can_be_told_not_to_leave() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        for leaves in [true, false] {
            let fake = fake_with(Timing {
                leave_on_terminate: leaves == (signal == Signal::Terminate),
                leave_on_interrupt: leaves == (signal == Signal::Interrupt),
                leave: Duration::from_secs(3),
                drain: Duration::from_secs(5),
            });
            fake.signals.send(signal).await.unwrap();
            let leave = noted(&fake);
            let ending = fake.life.run(leave).await;
            let Ending::Asked { left } = ending else {
                panic!("{ending:?}");
            };
            assert_eq!(left, leaves, "{signal:?}");
            let phases = fake.phases.lock().unwrap().len();
            assert_eq!(phases, usize::from(leaves), "{signal:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_hangs_or_fails_is_bounded() {
    let began = tokio::time::Instant::now();
    let fake = fake(true);
    fake.signals.send(Signal::Terminate).await.unwrap();
    let ending = end(fake.life, std::future::pending()).await;
    assert!(
        matches!(ending, Ending::Asked { left: false }),
        "{ending:?}"
    );
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    let fake = self::fake(true);
    fake.signals.send(Signal::Terminate).await.unwrap();
    let ending = end(fake.life, async { anyhow::bail!("engine stopped") }).await;
    assert!(matches!(ending, Ending::Asked { .. }), "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_at_once() {
    // While it leaves.
    let fake = fake(true);
    fake.signals.send(Signal::Terminate).await.unwrap();
    fake.signals.send(Signal::Interrupt).await.unwrap();
    let began = tokio::time::Instant::now();
    let ending = end(fake.life, std::future::pending()).await;
    assert!(
        matches!(ending, Ending::Cut(Signal::Interrupt)),
        "{ending:?}"
    );
    // While it drains.
    let fake = self::fake(true);
    fake.tasks.spawn_guarded("stuck", std::future::pending());
    let (signals, mut phase) = (fake.signals.clone(), fake.phase.clone());
    fake.signals.send(Signal::Interrupt).await.unwrap();
    let second = async {
        phase
            .wait_for(|phase| *phase == Phase::Draining)
            .await
            .unwrap();
        signals.send(Signal::Terminate).await.unwrap();
    };
    let (ending, ()) = tokio::join!(end(fake.life, std::future::ready(Ok(()))), second);
    assert!(
        matches!(ending, Ending::Cut(Signal::Terminate)),
        "{ending:?}"
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn draining_is_bounded_and_aborts_what_hangs() {
    let fake = fake(true);
    fake.tasks.spawn_guarded("stuck", std::future::pending());
    fake.signals.send(Signal::Terminate).await.unwrap();
    let began = tokio::time::Instant::now();
    let ending = end(fake.life, std::future::ready(Ok(()))).await;
    assert!(matches!(ending, Ending::Asked { .. }), "{ending:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_ends_it_without_a_leave() {
    let fake = fake(true);
    fake.tasks.spawn("api", async { panic!("bug") });
    let leave = noted(&fake);
    let ending = tokio::time::timeout(FAR, fake.life.run(leave))
        .await
        .unwrap();
    let Ending::Failed(failure) = ending else {
        panic!("{ending:?}");
    };
    assert_eq!(failure.to_string(), "task api panicked: bug");
    assert!(fake.phases.lock().unwrap().is_empty());
    assert_eq!(*fake.phase.borrow(), Phase::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_leaving_ends_the_leave_and_is_told() {
    let fake = fake(true);
    let mut phase = fake.phase.clone();
    fake.tasks.spawn("gossip", async move {
        phase
            .wait_for(|phase| *phase == Phase::Leaving)
            .await
            .unwrap();
        anyhow::bail!("socket closed")
    });
    fake.signals.send(Signal::Terminate).await.unwrap();
    let ending = end(fake.life, std::future::pending()).await;
    assert!(matches!(ending, Ending::Failed(_)), "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leave_by_a_client_ends_it_without_another() {
    let fake = fake(true);
    fake.left.cancel();
    let leave = noted(&fake);
    let ending = fake.life.run(leave).await;
    assert!(matches!(ending, Ending::Asked { .. }), "{ending:?}");
    assert!(fake.phases.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn other_signals_are_wishes() {
    let fake = fake(true);
    let wishes = fake.wishes.clone();
    for signal in [Signal::Hangup, Signal::Hangup, Signal::User1] {
        fake.signals.send(signal).await.unwrap();
    }
    fake.signals.send(Signal::Interrupt).await.unwrap();
    fake.signals.send(Signal::Hangup).await.unwrap();
    let leave = noted(&fake);
    let ending = fake.life.run(leave).await;
    assert!(matches!(ending, Ending::Asked { left: true }), "{ending:?}");
    assert_eq!(fake.phases.lock().unwrap().len(), 1);
    // Each was asked for, and asked twice is once.
    for wish in [&wishes.reload, &wishes.dump] {
        tokio::time::timeout(FAR, wish.notified()).await.unwrap();
        let again = tokio::time::timeout(Duration::ZERO, wish.notified()).await;
        assert!(again.is_err());
    }
}
