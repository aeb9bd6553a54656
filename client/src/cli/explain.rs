//! `muster explain`.

use serde::Serialize;

use crate::cli::args::Explain;
use crate::cli::failure::Failure;
use crate::cli::text::{clock, escape, rfc3339};
use crate::cli::{CALL_TIMEOUT, Context};
use crate::{pb, status_name};

#[derive(Serialize)]
struct Explanation<'a> {
    name: &'a str,
    status: &'static str,
    reason: &'a str,
    by: Option<&'a str>,
    at: Option<String>,
    by_tcp: bool,
    observations: Vec<Observation<'a>>,
    omitted: u64,
    advice: &'a str,
}

#[derive(Serialize)]
struct Observation<'a> {
    at: Option<String>,
    by: Option<&'a str>,
    text: &'a str,
}

pub(super) async fn run(context: &mut Context, args: &Explain) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.explain(&args.member);
    let told = context.deadline(CALL_TIMEOUT, call).await?;
    let member = told.member.clone().unwrap_or_default();
    let change = member.status_change.clone().unwrap_or_default();
    let object = Explanation {
        name: &args.member,
        status: status_name(member.status()),
        reason: &change.reason,
        by: some(&change.by),
        at: rfc3339(change.at.as_ref()),
        by_tcp: member.by_tcp,
        observations: told.observations.iter().map(observation).collect(),
        omitted: told.omitted,
        advice: &told.advice,
    };
    context
        .out
        .answer(&object, || text(&args.member, &member, &told))
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn observation(seen: &pb::Observation) -> Observation<'_> {
    Observation {
        at: rfc3339(seen.at.as_ref()),
        by: some(&seen.by),
        text: &seen.text,
    }
}

fn text(name: &str, member: &pb::Member, told: &pb::ExplainMemberResponse) -> String {
    let change = member.status_change.clone().unwrap_or_default();
    let status = status_name(member.status());
    let by = some(&change.by).map(|by| format!(", by the word of {}", escape(by)));
    let mut lines = vec![format!(
        "{} is {status} since {}: {}{}",
        escape(name),
        clock(change.at.as_ref()),
        escape(&change.reason),
        by.unwrap_or_default(),
    )];
    if told.omitted > 0 {
        lines.push(format!(
            "  ({} older observations are kept no longer)",
            told.omitted
        ));
    }
    for seen in &told.observations {
        let by = some(&seen.by).map_or("this node".to_owned(), escape);
        let at = clock(seen.at.as_ref());
        lines.push(format!("  {at}  {by}: {}", escape(&seen.text)));
    }
    if told.observations.is_empty() {
        lines.push("  nothing was seen that speaks against it".to_owned());
    }
    if !told.advice.is_empty() {
        lines.push(escape(&told.advice));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_told_in_order() {
        let member = pb::Member {
            status: pb::MemberStatus::Failed.into(),
            status_change: Some(pb::StatusChange {
                by: "web-2".to_owned(),
                at: None,
                reason: "its streams broke".to_owned(),
            }),
            ..pb::Member::default()
        };
        let seen = |by: &str, text: &str| pb::Observation {
            at: None,
            by: by.to_owned(),
            text: text.to_owned(),
        };
        let told = pb::ExplainMemberResponse {
            member: Some(member.clone()),
            observations: vec![seen("", "the stream broke"), seen("web-2", "accused\u{1b}")],
            omitted: 3,
            advice: "Look there.".to_owned(),
        };
        let text = text("web-1", &member, &told);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("web-1 is failed since"), "{text}");
        assert!(lines[0].ends_with("its streams broke, by the word of web-2"));
        assert!(lines[1].contains("3 older"));
        assert!(lines[2].ends_with("this node: the stream broke"));
        assert!(lines[3].contains("web-2: accused") && !lines[3].contains('\u{1b}'));
        assert_eq!(lines[4], "Look there.");
    }
}
