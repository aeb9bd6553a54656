use serde_json::json;

use super::*;

#[test]
fn a_line_is_read_as_docker_run_reads_it() {
    let run = parse(
        "-d -it --name= -p 8000:80 -p81 -e A=b -e=HOME --env=C='x y' -v /a:/b --volumes-from s \
         --net=host -w /srv -u 1000 --privileged --entrypoint tini --link db -h box \
         --expose 9/udp --restart on-failure:3 -m 512m --cpus 1.5 --cap-add NET_ADMIN \
         -l a=b --label c --add-host db:10.0.0.1 --dns 1.1.1.1 --tmpfs /run:size=1m \
         --ulimit nofile=64:128 --device /dev/fuse --sysctl a.b=1 --init --read-only=true \
         --shm-size 1G nginx:1 -g 'daemon off;' -d",
    );
    assert_eq!(run.unwrap_err(), "--name: the name comes from DOCKER_NAME");
    let run = parse(
        "-d -it -p 8000:80 -p81 -e A=b -e=HOME --env=C='x y' -v /a:/b --volumes-from s \
         --net=host -w /srv -u 1000 --privileged --entrypoint tini --link db -h box \
         --expose 9/udp --restart on-failure:3 -m 512m --cpus 1.5 --cap-add NET_ADMIN \
         -l a=b --label c --add-host db:10.0.0.1 --dns 1.1.1.1 --tmpfs /run:size=1m \
         --ulimit nofile=64:128 --device /dev/fuse --sysctl a.b=1 --init --read-only=true \
         --shm-size 1G nginx:1 -g 'daemon off;' -d",
    )
    .unwrap();
    let child = &run.child;
    assert_eq!(child.image, "nginx:1");
    assert_eq!(
        child.command.as_deref().unwrap(),
        ["-g", "daemon off;", "-d"]
    );
    assert_eq!(child.entrypoint.as_deref().unwrap(), ["tini"]);
    assert_eq!(child.ports.len(), 2);
    assert_eq!(child.expose, ["9/udp"]);
    assert_eq!(child.links, ["db"]);
    assert_eq!(child.volumes_from, ["s"]);
    assert_eq!(child.volumes.len(), 1);
    assert_eq!(child.working_dir.as_deref(), Some("/srv"));
    assert_eq!(child.user.as_deref(), Some("1000"));
    assert!(child.privileged);
    let variable = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let environment = [
        variable("A", Some("b")),
        variable("HOME", None),
        variable("C", Some("x y")),
    ];
    assert_eq!(child.environment, environment);
    assert_eq!(
        Value::Object(run.config),
        json!({
            "OpenStdin": true, "Tty": true, "Hostname": "box", "Labels": {"a": "b", "c": ""},
        })
    );
    assert_eq!(
        Value::Object(run.host),
        json!({
            "NetworkMode": "host",
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "Memory": 536_870_912_u64,
            "NanoCpus": 1_500_000_000_u64,
            "CapAdd": ["NET_ADMIN"],
            "ExtraHosts": ["db:10.0.0.1"],
            "Dns": ["1.1.1.1"],
            "Tmpfs": {"/run": "size=1m"},
            "Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 128}],
            "Devices": [{
                "PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse",
                "CgroupPermissions": "rwm",
            }],
            "Sysctls": {"a.b": "1"},
            "Init": true,
            "ReadonlyRootfs": true,
            "ShmSize": 1_073_741_824_u64,
        })
    );
}

#[test]
fn little_is_enough() {
    let run = parse("nginx").unwrap();
    assert_eq!(run.child.image, "nginx");
    assert_eq!(run.child.command, None);
    assert_eq!(parse("-- nginx sh").unwrap().child.image, "nginx");
}

#[test]
fn what_is_not_understood_is_named() {
    for (line, why) in [
        (
            "--volums /a image",
            "--volums is not known; did you mean --volume?",
        ),
        ("--frobnicate image", "--frobnicate is not known"),
        ("-dX image", "-X is not known"),
        ("-d", "there is no image"),
        ("", "there is no image"),
        ("-p", "-p has no value"),
        ("--env", "--env has no value"),
        ("--rm image", "--rm: the container stays"),
        (
            "--init=maybe image",
            "--init: \"maybe\" is neither true nor false",
        ),
        ("-p x image", "-p: \"x\" in port \"x\""),
        ("-m lots image", "-m: \"lots\" is no size"),
        (
            "-m 99999999999999g image",
            "-m: \"99999999999999g\" is no size",
        ),
        ("--cpus 1,5 image", "--cpus: \"1,5\" is no number"),
        ("--cpus=1.\u{e9}\u{e9}\u{e9}\u{e9}\u{e9} image", "--cpus: "),
        (
            "--restart sometimes image",
            "--restart: \"sometimes\" is no policy",
        ),
        ("--ulimit nofile image", "--ulimit: \"nofile\" is no NAME"),
        ("image 'open", "\"image 'open\": missing closing quote"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.starts_with(why), "{line}: {error}");
    }
    assert!(
        parse(&"a ".repeat(ARGUMENTS_MAX + 1))
            .unwrap_err()
            .contains("arguments")
    );
}

#[test]
fn no_two_flags_are_the_same() {
    for (at, flag) in FLAGS.iter().enumerate() {
        for other in &FLAGS[..at] {
            assert_ne!(flag.long, other.long);
            assert!(
                flag.short.is_none() || flag.short != other.short,
                "{}",
                flag.long
            );
        }
    }
}
