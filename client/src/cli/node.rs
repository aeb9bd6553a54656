//! `muster join`, `leave`, `force-leave`, `tags`, `log-level`, `reload`.

use serde::Serialize;

use crate::cli::args::{ForceLeave, Join, Leave, LogLevel, Tags};
use crate::cli::failure::Failure;
use crate::cli::text::escape;
use crate::cli::{CALL_TIMEOUT, CLUSTER_TIMEOUT, Context, json};
use crate::{display_name, pb, status_name};

#[derive(Serialize)]
struct Joined<'a> {
    joined: u32,
    results: Vec<JoinResult<'a>>,
}

#[derive(Serialize)]
struct JoinResult<'a> {
    address: &'a str,
    ok: bool,
    member: Option<&'a str>,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Left {
    left: bool,
    stay: bool,
}

#[derive(Serialize)]
struct Forced<'a> {
    member: Option<json::Member<'a>>,
}

#[derive(Serialize)]
struct TagSet<'a> {
    tags: &'a std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
struct LogFilter<'a> {
    previous: &'a str,
    filter: &'a str,
}

#[derive(Serialize)]
struct Reloaded<'a> {
    applied: &'a [String],
    waiting: &'a [String],
}

pub(super) async fn join(context: &mut Context, args: Join) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.join(args.addresses);
    let answer = context.deadline(CLUSTER_TIMEOUT, call).await?;
    let results = answer.results.iter().map(|result| JoinResult {
        address: &result.address,
        ok: result.ok,
        member: result.ok.then_some(result.member.as_str()),
        error: (!result.ok).then_some(result.error.as_str()),
    });
    let object = Joined {
        joined: answer.joined,
        results: results.collect(),
    };
    context.out.answer(&object, || {
        let members = if answer.joined == 1 {
            "member"
        } else {
            "members"
        };
        let mut lines = vec![format!("joined {} {members}", answer.joined)];
        lines.extend(answer.results.iter().map(describe));
        lines.join("\n")
    })
}

pub(super) async fn leave(context: &mut Context, args: &Leave) -> Result<(), Failure> {
    let client = context.client()?;
    context
        .deadline(CLUSTER_TIMEOUT, client.leave(args.stay))
        .await?;
    let object = Left {
        left: true,
        stay: args.stay,
    };
    context.out.answer(&object, || {
        let what = if args.stay {
            "stays up, unjoined"
        } else {
            "exits"
        };
        format!("left the cluster; the daemon {what}")
    })
}

pub(super) async fn force_leave(context: &mut Context, args: &ForceLeave) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.force_leave(&args.name, args.prune);
    let member = context.deadline(CALL_TIMEOUT, call).await?;
    let object = Forced {
        member: member.as_ref().map(json::Member::of),
    };
    context.out.answer(&object, || match &member {
        Some(member) if !args.prune => format!(
            "{} is {}",
            escape(display_name(member)),
            status_name(member.status())
        ),
        Some(_) | None => format!("{} is forgotten", escape(&args.name)),
    })
}

pub(super) async fn tags(context: &mut Context, args: Tags) -> Result<(), Failure> {
    let client = context.client()?;
    let asked = args.set.is_empty() && args.delete.is_empty();
    let twice = args.set.iter().find(|(key, _)| args.delete.contains(key));
    if let Some((key, _)) = twice {
        return Err(Failure::usage(format!("{key} is both set and deleted")));
    }
    let call = async {
        if asked {
            client.info().await.map(|info| info.self_)
        } else {
            let set = args.set.into_iter().collect();
            client.update_tags(set, args.delete).await.map(Some)
        }
    };
    let member = context
        .deadline(CALL_TIMEOUT, call)
        .await?
        .unwrap_or_default();
    let object = TagSet { tags: &member.tags };
    context.out.answer(&object, || {
        let tags = member.tags.iter();
        let lines = tags.map(|(key, value)| escape(&format!("{key}={value}")));
        lines.collect::<Vec<_>>().join("\n")
    })
}

pub(super) async fn log_level(context: &mut Context, args: &LogLevel) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.set_log_filter(&args.filter);
    let previous = context.deadline(CALL_TIMEOUT, call).await?;
    let object = LogFilter {
        previous: &previous,
        filter: &args.filter,
    };
    context.out.answer(&object, || {
        let (filter, previous) = (escape(&args.filter), escape(&previous));
        format!("logs {filter} until the daemon restarts, before: {previous}")
    })
}

pub(super) async fn reload(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let answer = context.deadline(CALL_TIMEOUT, client.reload()).await?;
    let object = Reloaded {
        applied: &answer.applied,
        waiting: &answer.waiting,
    };
    context.out.answer(&object, || {
        let applied = answer.applied.iter().map(|line| escape(line));
        let waiting = answer.waiting.iter();
        let waiting = waiting.map(|line| format!("{} (holds from the next start)", escape(line)));
        let lines: Vec<String> = applied.chain(waiting).collect();
        match lines.as_slice() {
            [] => "reloaded; nothing is different".to_owned(),
            lines => format!("reloaded\n  {}", lines.join("\n  ")),
        }
    })
}

fn describe(result: &pb::JoinResult) -> String {
    let address = escape(&result.address);
    if result.ok {
        format!("  {address}: {}", escape(&result.member))
    } else {
        format!("  {address}: failed: {}", escape(&result.error))
    }
}
