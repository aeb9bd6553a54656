//! What an engine answers, or what somebody makes it answer.

use serde_json::value::RawValue;

use super::event::News;
use super::inspect::Inspected;
use super::lines::{Cutter, Line};
use super::summary::Summary;
use super::testing::container;
use super::version::{Answer, Api};
use super::{Container, names};
use crate::mutate::fuzz;

const LIST: &[u8] = br#"[{"Id":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    "Names":["/web","/other/alias"],"Image":"nginx","State":"running","Status":"Up 3 minutes (healthy)",
    "Labels":{"muster.role":"web:80"},"HostConfig":{"NetworkMode":"default"},"Mounts":null,
    "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2","GlobalIPv6Address":""},"x":null}}},
    {"Id":"aa","Names":null,"State":null,"Status":"Exited (0) 2 hours ago","NetworkSettings":null}]"#;

const EVENTS: &[u8] = br#"{"status":"start","id":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
"Type":"container","Action":"health_status: healthy","Actor":{"ID":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff","Attributes":{"name":"web"}},"time":1}
{"Type":"network","Action":"connect","Actor":{"ID":"b","Attributes":{"container":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff","name":"a\"b"}}}
{"Type":"container","Action":"destroy","Actor":{"ID":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff","Attributes":null}}
{"Type":"image","Action":"pull"}
"#;

const VERSION: &[u8] = br#"{"Version":"27.0","ApiVersion":"1.51","MinAPIVersion":"1.24"}"#;

const WORDS: [&str; 20] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "0",
    "true",
    "{",
    "[",
    "\"Id\":",
    "\"Names\":",
    "\"Networks\":",
    "\"Labels\":{\"muster.role\":\"a,b:1\"}",
    "\"Type\":\"container\"",
    "\n",
    "\\ud800",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:60.999999999Z\"",
    "80/tcp",
    "::1",
    "1.99999",
];

/// Longest error of a reader: lines of a log.
const ERROR_BYTES_MAX: usize = 600;

fn short(error: &str) {
    assert!(
        error.len() <= ERROR_BYTES_MAX,
        "{} bytes: {error:.100}",
        error.len()
    );
}

#[test]
fn fuzz_containers_of_an_engine() {
    let mut one = container(7, "web");
    one["Config"]["Labels"] = serde_json::json!({"muster.role": "web:80", "a": ""});
    one["NetworkSettings"]["Ports"] =
        serde_json::json!({"80/tcp": [{"HostIp": "::", "HostPort": "8080"}], "53/udp": null});
    one["Mounts"] =
        serde_json::json!([{"Type": "bind", "Source": "/s", "Destination": "/d", "RW": true}]);
    let whole = one.to_string();
    let mut read = 0_u32;
    fuzz(5, &[whole.as_bytes(), LIST], &WORDS, |input| {
        let text = String::from_utf8_lossy(input).into_owned();
        let Ok(raw) = RawValue::from_string(text) else {
            return;
        };
        if let Ok(listed) = serde_json::from_str::<Vec<Summary>>(raw.get()) {
            let all = listed.len();
            assert!(all <= input.len());
        }
        // Who is asked for this error bounds it.
        let Ok(inspected) = Inspected::new(raw) else {
            return;
        };
        match Container::try_from(inspected) {
            Ok(container) => {
                read += 1;
                // All of it stands in the answer.
                assert!(
                    container.name.len() <= input.len() && container.ports.len() <= input.len()
                );
                let zero = |port: &super::Port| port.published.iter().any(|(_, port)| *port == 0);
                assert!(!container.ports.iter().any(zero));
                let listed = serde_json::from_slice::<Vec<Summary>>(LIST).unwrap();
                let agrees = listed.iter().filter(|one| one.agrees(&container)).count();
                assert!(agrees <= 1);
            }
            Err(error) => short(&error),
        }
    });
    assert!(read > 100, "only {read} containers were read");
}

#[test]
fn fuzz_events_of_an_engine() {
    let (mut read, mut agreed) = (0_u32, 0_u32);
    fuzz(6, &[EVENTS, VERSION], &WORDS, |input| {
        let mut cutter = Cutter::default();
        let mut lines = 0;
        for chunk in input.chunks(1_000) {
            cutter.put(chunk);
            while let Some(line) = cutter.next() {
                lines += 1;
                let Line::Text(line) = line else { continue };
                match News::read(&line) {
                    Ok(News::Changed(id) | News::Gone(id)) => {
                        read += 1;
                        assert!(id.len() == 64 && names::encoded(&id).is_ok());
                    }
                    Ok(News::Nothing) => {}
                    Err(error) => short(&error),
                }
            }
        }
        assert!(lines <= input.len());
        if let Ok(answer) = serde_json::from_slice::<Answer>(input)
            && let Ok(api) = Api::agree(answer, 0)
        {
            agreed += 1;
            assert!(!api.version.to_string().contains('/'));
        }
    });
    assert!(
        read > 1_000 && agreed > 10,
        "{read} events, {agreed} versions"
    );
}
