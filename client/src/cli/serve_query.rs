//! `muster serve-query`: a command that answers queries.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cli::args::ServeQuery;
use crate::cli::failure::Failure;
use crate::cli::{Context, note, query};
use crate::pb;
use crate::query::{QueryHandler, Replier};

/// Commands at once. Further queries wait at the daemon.
const COMMANDS_MAX: usize = 16;

/// Most bytes of an answer; what the command prints beyond is not told.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long a command may run if the daemon's clock says nothing better.
const RUN_MAX: Duration = Duration::from_secs(600);

/// Pause before the daemon is looked for again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn run(context: &mut Context, args: ServeQuery) -> Result<(), Failure> {
    let client = context.client()?;
    let command: Arc<[String]> = args.command.into();
    let limit = context.timeout;
    let serving = async {
        let mut handler = client.serve_queries(args.names.clone()).await?;
        loop {
            note("serving");
            let error = serve(handler, &command).await;
            if !query::is_passing(&error) {
                return Err(error.into());
            }
            note(&format!("{error}; trying again"));
            handler = loop {
                sleep(RETRY).await;
                match client.serve_queries(args.names.clone()).await {
                    Ok(handler) => break handler,
                    Err(error) if query::is_passing(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            };
        }
    };
    super::until_stopped(limit, serving).await
}

/// Answers until the daemon is gone. Commands that still run are killed then: nobody
/// waits for what they print.
async fn serve(mut handler: QueryHandler, command: &Arc<[String]>) -> crate::Error {
    let places = Arc::new(Semaphore::new(COMMANDS_MAX));
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return crate::Error::Ended {
                call: "ServeQueries",
            };
        };
        let incoming = match handler.next().await {
            Ok(incoming) => incoming,
            Err(error) => return error,
        };
        let (command, replier) = (Arc::clone(command), handler.replier());
        running.spawn(async move {
            let _place = place;
            answer(&command, &incoming, &replier).await;
        });
    }
}

async fn answer(command: &[String], incoming: &pb::IncomingQuery, replier: &Replier) {
    let run = timeout(patience(incoming), execute(command, incoming)).await;
    let sent = match run {
        Ok(Ok(output)) if output.len() > ANSWER_BYTES_MAX => {
            let beginning = Bytes::from(output).slice(..ANSWER_BYTES_MAX);
            replier.answer_truncated(incoming, beginning).await
        }
        Ok(Ok(output)) => replier.answer(incoming, Ok(output.into())).await,
        Ok(Err(error)) => {
            note(&format!("{}: {error}", incoming.name));
            replier.answer(incoming, Err(error)).await
        }
        Err(_elapsed) => {
            let error = "the command took too long".to_owned();
            note(&format!("{}: {error}", incoming.name));
            replier.answer(incoming, Err(error)).await
        }
    };
    if sent.is_err() {
        note("the daemon went away before an answer");
    }
}

/// Until the asker gives up.
fn patience(incoming: &pb::IncomingQuery) -> Duration {
    let deadline = incoming.deadline.and_then(|at| {
        Duration::try_from_secs_f64(at.seconds as f64 + f64::from(at.nanos) / 1e9).ok()
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let left = deadline
        .zip(now.ok())
        .map(|(at, now)| at.saturating_sub(now));
    left.map_or(RUN_MAX, |left| left.min(RUN_MAX))
}

/// A running command; killed with all that it started when dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _gone = kill_process_group(group, Signal::KILL).is_err();
        }
    }
}

/// Runs the command: the payload on its standard input, the answer from its standard
/// output; its standard error is this program's.
async fn execute(command: &[String], incoming: &pb::IncomingQuery) -> Result<Vec<u8>, String> {
    let (program, args) = command.split_first().ok_or("there is no command")?;
    let id = incoming.id.clone().unwrap_or_default();
    let child = Command::new(program)
        .args(args)
        .env("MUSTER_QUERY_NAME", &incoming.name)
        .env("MUSTER_QUERY_ORIGIN", &id.origin)
        .env(
            "MUSTER_QUERY_ID",
            format!("{}/{}/{}", id.origin, id.boot, id.sequence),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let mut group = Group(child);
    let (stdin, stdout) = (group.0.stdin.take(), group.0.stdout.take());
    let writing = async {
        if let Some(mut stdin) = stdin {
            // A command need not read.
            let _unread = stdin.write_all(&incoming.payload).await.is_err();
        }
    };
    let reading = async {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            let limit = u64::try_from(ANSWER_BYTES_MAX + 1).unwrap_or(u64::MAX);
            let mut stdout = stdout.take(limit);
            stdout.read_to_end(&mut output).await?;
        }
        Ok::<_, std::io::Error>(output)
    };
    let ((), output) = tokio::join!(writing, reading);
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.len() > ANSWER_BYTES_MAX {
        return Ok(output);
    }
    let status = group.0.wait().await;
    let status = status.map_err(|error| format!("{program}: {error}"))?;
    judge(program, status).map(|()| output)
}

fn judge(program: &str, status: ExitStatus) -> Result<(), String> {
    match status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(payload: &'static str) -> pb::IncomingQuery {
        pb::IncomingQuery {
            name: "q".to_owned(),
            payload: payload.into(),
            id: Some(pb::EventId {
                origin: "n1".to_owned(),
                boot: 1,
                sequence: 2,
            }),
            ..pb::IncomingQuery::default()
        }
    }

    async fn sh(script: &str, payload: &'static str) -> Result<Vec<u8>, String> {
        let command = ["sh", "-c", script].map(str::to_owned);
        let limit = Duration::from_secs(30);
        timeout(limit, execute(&command, &incoming(payload)))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn the_payload_goes_in_and_the_answer_comes_out() {
        let script = "cat; echo \" $MUSTER_QUERY_NAME $MUSTER_QUERY_ORIGIN $MUSTER_QUERY_ID\"";
        let output = sh(script, "hello").await.unwrap();
        assert_eq!(output, b"hello q n1 n1/1/2\n");
        assert_eq!(sh("exit 0", "unread").await.unwrap(), b"");
    }

    #[tokio::test]
    async fn a_failed_command_is_an_error() {
        let error = sh("echo half; exit 7", "").await.unwrap_err();
        assert!(error.contains('7'), "{error}");
        let none = execute(&["/no/such/program".to_owned()], &incoming("")).await;
        assert!(none.unwrap_err().contains("/no/such/program"));
    }

    #[tokio::test]
    async fn a_flood_is_cut_and_its_command_killed() {
        let output = sh("yes", "").await.unwrap();
        assert_eq!(output.len(), ANSWER_BYTES_MAX + 1);
    }

    #[test]
    fn without_a_deadline_there_is_a_limit() {
        assert_eq!(patience(&incoming("")), RUN_MAX);
        let past = pb::IncomingQuery {
            deadline: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 0,
            }),
            ..incoming("")
        };
        assert_eq!(patience(&past), Duration::ZERO);
    }
}
