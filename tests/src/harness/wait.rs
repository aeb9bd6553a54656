//! Waiting for conditions. Nothing in the tests sleeps for "long enough".

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Enough for what takes well under a second on an idle machine; tests run in
/// parallel on machines with two cores.
pub const SOON: Duration = Duration::from_secs(15);

/// Enough for a member to be found dead by silence, at the longest timeouts.
pub const DETECTION: Duration = Duration::from_secs(45);

/// Looks at a condition until it yields a value, and returns the value.
///
/// # Panics
///
/// When `limit` passes first: with `what` was waited for and what the condition
/// said last.
pub async fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    match poll(limit, &mut condition).await {
        Ok(value) => value,
        Err(last) => panic!("waited {limit:?} for {what}: {last}"),
    }
}

/// Looks at a condition until it is true.
///
/// # Panics
///
/// When `limit` passes first.
pub async fn holds(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let step = async || match condition().await {
        true => Ok(()),
        false => Err("it stayed false"),
    };
    until(what, limit, step).await;
}

/// Looks at a condition for the whole of `span`, for things that must not happen.
///
/// # Panics
///
/// As soon as the condition fails, with its words.
pub async fn stays<E: Display>(
    what: &str,
    span: Duration,
    mut condition: impl AsyncFnMut() -> Result<(), E>,
) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        if let Err(error) = condition().await {
            panic!("{what} did not last {span:?}: {error}");
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn poll<T, E: Display>(
    limit: Duration,
    condition: &mut impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, String> {
    let end = Instant::now() + limit;
    let mut last = String::from("no look at it came to an end");
    loop {
        match tokio::time::timeout_at(end, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error.to_string(),
            Err(_elapsed) => return Err(last),
        }
        if Instant::now() >= end {
            return Err(last);
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_yields_its_value() {
        let mut looks = 0;
        let value = until("three looks", SOON, async || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err("not yet")
            }
        })
        .await;
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn a_condition_that_stays_false_tells_what_it_said_last() {
        let mut never = async || Err::<(), _>("still two members");
        let error = poll(Duration::from_millis(50), &mut never)
            .await
            .unwrap_err();
        assert_eq!(error, "still two members");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_hang_the_wait() {
        let mut hang = async || std::future::pending::<Result<(), String>>().await;
        let error = poll(Duration::from_millis(50), &mut hang)
            .await
            .unwrap_err();
        assert!(error.contains("no look"), "{error}");
    }

    #[tokio::test]
    #[should_panic(expected = "did not last")]
    async fn what_must_stay_is_looked_at_all_the_time() {
        let mut looks = 0;
        stays("the view", SOON, async || {
            looks += 1;
            if looks < 3 { Ok(()) } else { Err("changed") }
        })
        .await;
    }
}
