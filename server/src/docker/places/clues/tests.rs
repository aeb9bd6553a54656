use serde_json::{Value, json};

use super::super::tests::state;
use super::*;
use crate::docker::testing::{container, id};

fn table(owner: &str, extra: &str) -> String {
    format!(
        "600 500 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/up/1/diff,workdir=/w\n\
         601 600 8:1 /docker/containers/{owner}/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw\n\
         602 600 8:1 /docker/containers/{owner}/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n\
         603 600 8:1 / /with\\040blank rw shared:1 - ext4 /dev/sda1 rw\n{extra}"
    )
}

fn found(clues: &Clues, all: &[Value]) -> Option<String> {
    clues.find(&state(all)).map(|one| one.name.clone())
}

#[test]
fn the_control_group_says_it() {
    let me = id(1);
    for group in [
        format!("12:cpu:/docker/{me}\n0::/system.slice\n"),
        format!("0::/system.slice/docker-{me}.scope\n"),
        format!("0::/kubepods/pod1/{me}\n"),
        // Within another container.
        format!("0::/docker/{}/docker/{me}\n", id(8)),
    ] {
        let clues = Clues::read(&group, "");
        assert!(!clues.is_empty());
        assert_eq!(clues.ids(), [Arc::from(me.as_str())]);
        let all = [container(1, "me"), container(2, "other")];
        assert_eq!(found(&clues, &all), Some("me".to_owned()), "{group}");
    }
}

#[test]
fn the_files_of_the_engine_say_it() {
    // A control group of its own shows nothing.
    let clues = Clues::read("0::/\n", &table(&id(1), ""));
    assert_eq!(clues.ids(), [Arc::from(id(1))]);
    assert!(clues.mounted.contains(Path::new("/with blank")));
    let all = [container(1, "me"), container(2, "other")];
    assert_eq!(found(&clues, &all), Some("me".to_owned()));
    assert_eq!(found(&clues, &all[1..]), None);
}

#[test]
fn the_layer_tells_those_apart_that_share_a_network() {
    let clues = Clues::read("0::/\n", &table(&id(1), ""));
    let owner = container(1, "owner");
    let mut me = container(2, "me");
    me["HostConfig"]["NetworkMode"] = json!(format!("container:{}", id(1)));
    // Nothing tells them apart: better none than the wrong one.
    assert_eq!(found(&clues, &[owner.clone(), me.clone()]), None);
    let mut mounted = owner.clone();
    mounted["Mounts"] = json!([{"Type": "bind", "Source": "/s", "Destination": "/not-here"}]);
    assert_eq!(found(&clues, &[mounted, me.clone()]), Some("me".to_owned()));
    me["GraphDriver"] = json!({"Name": "overlay2", "Data": {"UpperDir": "/up/1/diff"}});
    assert_eq!(found(&clues, &[owner, me]), Some("me".to_owned()));
}

#[test]
fn a_host_is_no_container() {
    let mounts = "28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                  29 28 0:5 / /proc rw - proc proc rw\nbroken\n- - -\n";
    let clues = Clues::read("0::/user.slice/user-0.slice\n1:name=systemd:/\n\n", mounts);
    assert!(clues.is_empty());
    assert_eq!(found(&clues, &[container(1, "a")]), None);
    // Of this process there is something to read, whatever it is.
    assert!(!Clues::of_process("self").mounted.is_empty());
}
