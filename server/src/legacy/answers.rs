//! serfnode's queries: `where` and `ports`.
//!
//! The payload is `{"role": ROLE}`; members without that role stay silent. An answer is a
//! JSON text, an empty line and `SUCCESS`; what serfnode could not do was an answer as
//! well, with `ERROR` at its end. (serfnode cut answers to their last 1,000 characters,
//! which took the beginning off the JSON; these are whole.)

use std::sync::Arc;

use muster_engine::Member;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::json::{NO_ROLE, one};
use crate::hub::Hub;
use crate::queries::responders::RespondError;
use crate::queries::{Answer, Patterns, Responders};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Node info, as in `serfnodes_by_id.json`.
    Where,
    /// Published ports of the node's container.
    Ports,
}

/// The arguments; others are an error, as they were in Python.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    role: Option<Value>,
}

/// Answers both until the daemon stops.
///
/// # Errors
/// There are too many responders.
pub fn serve(
    responders: &Responders,
    hub: Arc<Hub>,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + use<>, RespondError> {
    let names = Patterns::new(vec!["where".to_owned(), "ports".to_owned()])?;
    let mut responder = responders.serve(names, "serfnode's queries")?;
    Ok(async move {
        loop {
            let job = tokio::select! {
                job = responder.next() => job,
                () = stop.cancelled() => return,
            };
            let asked = match job.query.name.as_str() {
                "where" => Asked::Where,
                _ => Asked::Ports,
            };
            let me = hub.me();
            let answer = me.and_then(|me| answer(asked, &job.query.payload, &me));
            match answer {
                Some(text) => {
                    let _waited = job.answer(Ok(Answer::new(text)));
                }
                None => job.pass(),
            }
        }
    })
}

/// The answer of a member, if it has one.
fn answer(asked: Asked, payload: &[u8], me: &Member) -> Option<String> {
    // An array would do for serde.
    let object = serde_json::from_slice::<Map<String, Value>>(payload);
    let arguments = object.and_then(|object| Arguments::deserialize(Value::Object(object)));
    let arguments = match arguments {
        Ok(arguments) => arguments,
        Err(error) => {
            return Some(format!(
                "the payload must be a JSON object like {{\"role\": \"web\"}}: {error}\n\nERROR"
            ));
        }
    };
    let Some(Value::String(wanted)) = arguments.role else {
        return None;
    };
    let role = me.roles.iter().find(|role| role.name == wanted);
    if role.is_none() && !(me.roles.is_empty() && wanted == NO_ROLE) {
        return None;
    }
    let told = match asked {
        Asked::Where => String::from_utf8(one(me, role)).ok()?,
        Asked::Ports => json!({
            "ports": me.ports,
            "ip": me.addr.ip().to_canonical(),
        })
        .to_string(),
    };
    Some(format!("{told}\n\nSUCCESS"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing;

    fn member(roles: &[&str]) -> Member {
        let mut member = testing::member("one", 5_000, roles);
        let published = ("80/tcp".to_owned(), vec!["49153".to_owned()]);
        member.ports = [published].into();
        for role in &mut member.roles {
            (role.service_ip, role.service_port) = ([10, 0, 0, 7].into(), 8080);
        }
        member
    }

    fn json(text: &str) -> Value {
        let json = text.strip_suffix("\n\nSUCCESS").unwrap();
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn who_has_the_role_tells_where() {
        let me = member(&["db", "web"]);
        let told = answer(Asked::Where, br#"{"role": "web"}"#, &me).unwrap();
        let told = json(&told);
        assert_eq!(told["id"], "one");
        assert_eq!(
            (&told["role"], &told["timestamp"]),
            (&json!("web"), &json!("5"))
        );
        assert_eq!(
            (&told["service_ip"], &told["service_port"]),
            (&json!("10.0.0.7"), &json!("8080"))
        );
        assert_eq!(told["serf_port"], me.addr.port().to_string());
        let told = json(&answer(Asked::Ports, br#"{"role": "db"}"#, &me).unwrap());
        assert_eq!(told["ip"], me.addr.ip().to_string());
        assert_eq!(told["ports"], json!({"80/tcp": ["49153"]}));
    }

    #[test]
    fn others_are_silent() {
        for payload in [
            &br#"{"role": "x"}"#[..],
            b"{}",
            br#"{"role": null}"#,
            br#"{"role": 1}"#,
        ] {
            assert_eq!(answer(Asked::Where, payload, &member(&["web"])), None);
        }
        let no_role = br#"{"role": "no_role"}"#;
        assert_eq!(answer(Asked::Where, no_role, &member(&["web"])), None);
        let told = json(&answer(Asked::Where, no_role, &member(&[])).unwrap());
        assert_eq!(told["role"], "no_role");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_in_the_answer() {
        for payload in [
            &b""[..],
            b"no json",
            b"[]",
            b"null",
            br#"{"rule": "web"}"#,
            b"\xff",
        ] {
            let told = answer(Asked::Ports, payload, &member(&["web"])).unwrap();
            assert!(told.ends_with("\nERROR"), "{told}");
        }
    }
}
