use serde_json::{Value, json};

use super::*;
use crate::docker::testing::{container, id};

fn read(json: &Value) -> Result<Container, String> {
    let raw = RawValue::from_string(json.to_string()).unwrap();
    Inspected::new(raw)?.try_into()
}

#[test]
fn a_running_container() {
    let mut json = container(7, "web");
    json["Config"]["Labels"] = json!({"muster.role": "web:80"});
    json["Config"]["ExposedPorts"] = json!({"80/tcp": {}, "53/udp": {}, "9/wizard/x": {}});
    json["State"]["Health"] = json!({"Status": "unhealthy", "Log": null});
    json["NetworkSettings"]["Ports"] = json!({
        "80/tcp": [
            {"HostIp": "::", "HostPort": "8080"},
            {"HostIp": "0.0.0.0", "HostPort": "8080"},
            {"HostIp": "0.0.0.0", "HostPort": "8080"},
        ],
        "7/sctp": [{"HostIp": "", "HostPort": "7"}, {"HostIp": "x", "HostPort": "8"}],
        "53/udp": null,
    });
    json["NetworkSettings"]["Networks"]["net"] =
        json!({"IPAddress": "10.1.0.2", "GlobalIPv6Address": "fd00::2"});
    json["Mounts"] = json!([{"Type": "volume", "Name": "v", "Source": "/s", "Destination": "/d",
        "Driver": "local", "Mode": "z", "RW": true, "Propagation": ""}]);
    let read = read(&json).unwrap();
    assert_eq!(*read.id, *id(7));
    assert_eq!(
        (read.name.as_str(), read.image.as_str()),
        ("web", "busybox")
    );
    assert_eq!(read.health, Health::Unhealthy);
    assert!(read.is_running());
    assert_eq!(read.pid, 42);
    assert_eq!(read.exit_code, None);
    assert_eq!(read.created_unix_ms, 1_767_323_045_678);
    assert_eq!(read.started_unix_ms, 1_767_323_046_000);
    assert_eq!(read.network_mode, "bridge");
    assert_eq!(read.labels["muster.role"], "web:80");
    let ports: Vec<String> = (read.ports.iter())
        .map(|port| {
            format!(
                "{}/{} {:?}",
                port.container_port, port.protocol, port.published
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            "7/sctp [(0.0.0.0, 7)]",
            "9/wizard/x []",
            "53/udp []",
            "80/tcp [(0.0.0.0, 8080), (::, 8080)]",
        ]
    );
    let net: Vec<String> = read.networks["net"]
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(net, ["10.1.0.2", "fd00::2"]);
    assert_eq!(read.mounts[0].source, PathBuf::from("/s"));
    assert!(read.mounts[0].writable);
    assert_eq!(read.inspect.get(), json.to_string());
}

#[test]
fn one_that_was_never_started_and_one_that_ended() {
    let mut json = container(1, "a");
    json["State"] = json!({"Status": "created", "Pid": 0, "ExitCode": 0,
        "StartedAt": "0001-01-01T00:00:00Z"});
    json["NetworkSettings"] = json!({"Ports": {}, "Networks": {"bridge": {"IPAddress": ""}}});
    let created = read(&json).unwrap();
    assert_eq!((created.exit_code, created.started_unix_ms), (None, 0));
    assert_eq!(created.networks["bridge"], [] as [IpAddr; 0]);
    json["State"] = json!({"Status": "exited", "Pid": 0, "ExitCode": 137,
        "StartedAt": "2026-01-02T03:04:06Z"});
    assert_eq!(read(&json).unwrap().exit_code, Some(137));
}

#[test]
fn nulls_are_empty() {
    let json = json!({"Id": id(1), "Name": "/a", "State": {"Status": "exited", "Health": null},
        "Config": {"Labels": null, "ExposedPorts": null}, "HostConfig": null, "Mounts": null,
        "NetworkSettings": {"Ports": null, "Networks": null}, "HostsPath": null});
    let read = read(&json).unwrap();
    assert_eq!(read.health, Health::None);
    assert_eq!(read.hosts_path, None);
    assert_eq!(read.network_mode, "bridge");
}

#[test]
fn what_is_no_container() {
    for json in [
        json!({}),
        json!([]),
        json!({"Id": 1}),
        json!({"Id": "x"}),
        json!({"Id": "x", "Name": "/a", "State": "running"}),
        json!({"Id": "x", "Name": "/a", "State": {"Pid": -1}}),
    ] {
        assert!(read(&json).is_err(), "{json}");
    }
}
