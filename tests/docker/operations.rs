//! What is done with containers, at a real engine.

use std::time::Duration;

use bytes::Bytes;
use muster_tests::harness::Engine;
use serde_json::json;

use crate::image::{self, SMALL};
use crate::view::{PATIENCE, View};

/// An archive of one file.
fn archive(engine: &Engine, text: &str) -> Bytes {
    let directory = engine.socket().parent().unwrap().join("archive");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("me.json"), text).unwrap();
    let mut tar = std::process::Command::new("tar");
    let output = tar
        .arg("-C")
        .arg(&directory)
        .args(["-cf", "-", "me.json"])
        .output();
    output.unwrap().stdout.into()
}

/// Output, code and bounds of programs in `web`.
async fn programs_run_inside(docker: &musterd::docker::Engine) {
    let ran = docker
        .exec(
            "web",
            &["sh", "-c", "cat /me.json; echo $A >&2; exit 3"],
            PATIENCE,
        )
        .await;
    let ran = ran.unwrap();
    assert_eq!((ran.code, ran.cut), (3, false));
    // Two streams have no order between them.
    assert!(
        [&b"{}b c\n"[..], b"b c\n{}"].contains(&&ran.output[..]),
        "{ran:?}"
    );
    let none = docker.exec("web", &["/no/such/program"], PATIENCE).await;
    assert!([126, 127].contains(&none.unwrap().code));
    let much = [
        "sh",
        "-c",
        "while :; do echo 0123456789; done | busybox head -c 200000",
    ];
    let much = docker.exec("web", &much, PATIENCE).await.unwrap();
    assert!(much.cut);
    assert_eq!(much.output.len(), 64 << 10);
}

#[tokio::test]
async fn a_container_is_made_run_and_removed() {
    let engine = Engine::start().await;
    image::make_small(&engine);
    let view = View::of(&engine.socket()).await;
    let docker = view.docker.engine();
    assert!(docker.image_exists(SMALL).await.unwrap());
    assert!(!docker.image_exists("nobody/has:this").await.unwrap());
    let volume = docker
        .create_volume("vol", &[("muster.child", "a")])
        .await
        .unwrap();
    assert!(volume.is_dir());
    let body = json!({
        "Image": SMALL,
        "Cmd": ["sleep", "1000"],
        "Env": ["A=b c"],
        "Labels": {"muster.child": "a"},
        "HostConfig": {
            "Binds": ["vol:/data"],
            "RestartPolicy": {"Name": "unless-stopped"},
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
        "ExposedPorts": {"80/tcp": {}},
    });
    let id = docker.create("web", &body).await.unwrap();
    assert_eq!(id.len(), 64);
    assert!(docker.create("web", &body).await.unwrap_err().is_conflict());
    let missing = json!({"Image": "nobody/has:this"});
    assert!(
        docker
            .create("other", &missing)
            .await
            .unwrap_err()
            .is_missing()
    );
    // Before the first instruction.
    docker
        .put_archive(&id, "/", archive(&engine, "{}"))
        .await
        .unwrap();
    docker.start(&id).await.unwrap();
    docker.start(&id).await.unwrap();
    programs_run_inside(docker).await;
    docker.rename("web", "shop").await.unwrap();
    assert_eq!(*docker.inspect("shop").await.unwrap().id, *id);
    docker.restart("shop", Duration::ZERO).await.unwrap();
    docker.kill("shop", "KILL").await.unwrap();
    docker.stop("shop", Duration::ZERO).await.unwrap();
    assert!(docker.kill("shop", "KILL").await.unwrap_err().is_conflict());
    docker.remove("shop", true, true).await.unwrap();
    assert!(
        docker
            .remove("shop", true, true)
            .await
            .unwrap_err()
            .is_missing()
    );
    docker.remove_volume("vol").await.unwrap();
    // No registry is in reach: an error, and in time.
    let pulled = docker.pull("localhost:1/nothing:1").await.unwrap_err();
    assert!(
        pulled.to_string().starts_with("POST /images/create: 500: "),
        "{pulled}"
    );
    view.stop().await;
}
