//! Standard input as one line of JSON, for handlers that asked for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use muster_engine::Member;
use serde_json::{Map, Value, json};

use super::job::Cause;

/// One object and a line end.
pub(super) fn stdin(cause: &Cause, me: &Member, deadline_unix_ms: u64) -> Bytes {
    let mut object = Map::new();
    object.insert("event".to_owned(), cause.word().into());
    if let Some(id) = cause.id() {
        object.insert("id".to_owned(), id.into());
    }
    match cause {
        Cause::Members { members, .. } => {
            let members: Vec<_> = members.iter().map(|one| member(one)).collect();
            object.insert("members".to_owned(), members.into());
        }
        Cause::User { event, redelivered } => {
            object.insert("name".to_owned(), event.name.as_str().into());
            object.insert("origin".to_owned(), (*event.origin.name).into());
            object.insert("boot".to_owned(), event.origin.boot.into());
            object.insert("sequence".to_owned(), event.sequence.into());
            object.insert("lamport_time".to_owned(), event.lamport.into());
            object.insert("redelivered".to_owned(), (*redelivered).into());
            payload(&mut object, &event.payload);
        }
        Cause::Query(query) => {
            object.insert("name".to_owned(), query.name.as_str().into());
            object.insert("origin".to_owned(), (*query.id.origin).into());
            object.insert("lamport_time".to_owned(), query.lamport.into());
            object.insert(
                "answer_by_unix_ms".to_owned(),
                query.deadline_unix_ms.into(),
            );
            payload(&mut object, &query.payload);
        }
    }
    object.insert("self".to_owned(), member(me));
    object.insert("deadline_unix_ms".to_owned(), deadline_unix_ms.into());
    format!("{}\n", Value::from(object)).into()
}

fn payload(object: &mut Map<String, Value>, bytes: &Bytes) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert("payload".to_owned(), text.into()),
        Err(_) => object.insert("payload_base64".to_owned(), STANDARD.encode(bytes).into()),
    };
}

fn member(member: &Member) -> Value {
    let roles: Vec<_> = member
        .roles
        .iter()
        .map(|role| {
            json!({
                "role": role.name,
                "service_ip": role.service_ip.to_string(),
                "service_port": role.service_port,
            })
        })
        .collect();
    json!({
        "name": &*member.name,
        "ip": member.addr.ip().to_canonical().to_string(),
        "port": member.addr.port(),
        "status": member.status.as_str(),
        "boot": member.boot,
        "started_unix_ms": member.started_unix_ms,
        "tags": member.tags,
        "roles": roles,
        "reason": member.change.reason.as_str(),
        "by": member.change.by.as_deref(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use muster_engine::Event;

    use super::*;
    use crate::handlers::spec::MemberKind;
    use crate::hub::testing::{member as named, origin, with_tag};

    fn told(cause: &Cause) -> Value {
        let me = named("me", 1, &["db"]);
        let bytes = stdin(cause, &me, 99);
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text.find('\n'), Some(text.len() - 1), "{text}");
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn members_are_whole() {
        let web = with_tag(named("web-1", 5, &["web"]), "k", "a,b=c\n\t");
        let members = vec![Arc::new(web)];
        let told = told(&Cause::Members {
            kind: MemberKind::Join,
            members,
        });
        assert_eq!(told["event"], "member-join");
        let member = &told["members"][0];
        assert_eq!(
            (&member["name"], &member["port"]),
            (&json!("web-1"), &json!(7946))
        );
        assert_eq!(member["tags"], json!({"k": "a,b=c\n\t"}));
        assert_eq!(
            member["roles"][0],
            json!({"role": "web", "service_ip": "127.0.0.1", "service_port": 80})
        );
        assert_eq!(
            (&told["self"]["name"], &told["deadline_unix_ms"]),
            (&json!("me"), &json!(99))
        );
    }

    #[test]
    fn payloads_are_text_or_base64() {
        let user = |payload: &'static [u8]| {
            let event = Event {
                origin: origin("k2", 7),
                sequence: 3,
                lamport: 1,
                name: "deploy".to_owned(),
                payload: Bytes::from_static(payload),
                ..Event::default()
            };
            told(&Cause::User {
                event: Arc::new(event),
                redelivered: true,
            })
        };
        let text = user(b"a\nb");
        assert_eq!(
            (&text["payload"], &text["redelivered"]),
            (&json!("a\nb"), &json!(true))
        );
        assert_eq!(
            (&text["id"], &text["sequence"]),
            (&json!("k2/7/3"), &json!(3))
        );
        let bytes = user(b"\xff");
        assert_eq!(
            (&bytes["payload"], &bytes["payload_base64"]),
            (&Value::Null, &json!("/w=="))
        );
    }
}
