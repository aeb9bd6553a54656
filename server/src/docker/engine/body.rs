//! JSON of the engine's API to bollard's types, so that nothing is lost unnoticed.

use bollard::models::ContainerCreateBody;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::DockerError;

/// The body of a create.
pub(super) fn of_create(body: &Value) -> Result<ContainerCreateBody, DockerError> {
    let wrong = |what: &str, field: &str| {
        DockerError::invalid(format!("no container can be created: {field} is {what}"))
    };
    // Its error would quote the value, which may be a secret.
    let typed = ContainerCreateBody::deserialize(body)
        .map_err(|_error| wrong("not of the right kind", &culprit(body)))?;
    let again = serde_json::to_value(&typed)
        .map_err(|error| DockerError::invalid(format!("no container can be created: {error}")))?;
    match lost(body, &again, "") {
        None => Ok(typed),
        Some(field) => Err(wrong("no field that is known", &field)),
    }
}

/// Which field keeps a body from being read.
fn culprit(body: &Value) -> String {
    let bad = |body: &Value| ContainerCreateBody::deserialize(body).is_err();
    let fields = |of: &Value| of.as_object().cloned().unwrap_or_default().into_iter();
    let Some((name, value)) = fields(body).find(|(name, value)| bad(&json!({ name: value })))
    else {
        return "the whole".to_owned();
    };
    let inner = fields(&value).find(|(inner, value)| bad(&json!({ &name: { inner: value } })));
    match inner {
        Some((inner, _)) => format!("{name}.{inner}"),
        None => name,
    }
}

/// The first field of `given` that is not in `kept`. Nulls do not count.
fn lost(given: &Value, kept: &Value, path: &str) -> Option<String> {
    let Value::Object(given) = given else {
        return None;
    };
    given.iter().find_map(|(name, value)| {
        let path = format!("{path}{name}");
        match kept.get(name) {
            Some(kept) => lost(value, kept, &format!("{path}.")),
            None if value.is_null() => None,
            None => Some(path),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_was_said() {
        let body = json!({
            "Image": "busybox",
            "Cmd": ["sleep", "1"],
            "Labels": {"muster.child": "web", "a.b": ""},
            "ExposedPorts": {"80/tcp": {}},
            "Env": ["A=b"],
            "Entrypoint": null,
            "HostConfig": {
                "NetworkMode": "container:parent",
                "Binds": ["/a:/serfnode:ro"],
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
                "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
                "VolumesFrom": ["x"],
            },
            "NetworkingConfig": {"EndpointsConfig": {"net": {"Aliases": ["a"]}}},
        });
        let typed = of_create(&body).unwrap();
        let again = serde_json::to_value(&typed).unwrap();
        assert_eq!(
            again["HostConfig"]["PortBindings"],
            body["HostConfig"]["PortBindings"]
        );
        assert_eq!(again["ExposedPorts"], body["ExposedPorts"]);
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        let error = of_create(&json!({"HostConfig": {"Wings": 2}})).unwrap_err();
        assert!(error.to_string().contains("HostConfig.Wings"), "{error}");
        let error = of_create(&json!({"Cmd": 7, "Env": ["SECRET=1"]})).unwrap_err();
        assert!(error.to_string().contains(": Cmd is"), "{error}");
        let secret = json!({"Image": "x", "HostConfig": {"Binds": "SECRET", "Privileged": true}});
        let error = of_create(&secret).unwrap_err().to_string();
        assert!(
            error.contains("HostConfig.Binds") && !error.contains("SECRET"),
            "{error}"
        );
        assert!(of_create(&json!([1])).is_err());
    }
}
