use serde_json::json;

use super::super::testing::{FakeEngine, Reply, SOON};
use super::*;
use crate::daemon::supervisor::Tasks;
use crate::docker::Docker;

async fn engine() -> (FakeEngine, Docker, Tasks) {
    let fake = FakeEngine::start();
    let tasks = Tasks::default();
    let (docker, _metrics) = fake.follow(&tasks).await;
    (fake, docker, tasks)
}

fn status(status: u16, body: &str) -> Reply {
    Reply::Status(status, body.to_owned())
}

#[tokio::test]
async fn operations_are_requests_with_a_version() {
    let (fake, docker, _tasks) = engine().await;
    let engine = docker.engine();
    fake.reply(
        "POST /containers/create",
        status(201, r#"{"Id":"abc","Warnings":["hm"]}"#),
    );
    fake.reply("POST /containers/web/", status(204, ""));
    fake.reply("DELETE /containers/web", status(204, ""));
    fake.reply("PUT /containers/web/archive", status(200, ""));
    let volume = r#"{"Name":"v","Driver":"local","Mountpoint":"/v/_data","Labels":null,
        "Scope":"local","Options":null,"CreatedAt":"2026-01-02T03:04:05Z"}"#;
    fake.reply("POST /volumes/create", status(201, volume));
    let body = json!({"Image": "busybox", "Labels": {"muster.child": "web"}});
    assert_eq!(engine.create("web", &body).await.unwrap(), "abc");
    engine.start("web").await.unwrap();
    engine
        .stop("web", Duration::from_millis(1_500))
        .await
        .unwrap();
    engine.restart("web", Duration::ZERO).await.unwrap();
    engine.kill("web", "SIGUSR1").await.unwrap();
    engine.rename("web", "web2").await.unwrap();
    engine.remove("web", true, false).await.unwrap();
    let tar = Bytes::from_static(b"tar");
    engine.put_archive("web", "/", tar).await.unwrap();
    let at = engine.create_volume("v", &[("a", "b")]).await.unwrap();
    assert_eq!(at, std::path::Path::new("/v/_data"));
    for request in [
        "POST /v1.51/containers/create?name=web",
        "POST /v1.51/containers/web/start",
        "POST /v1.51/containers/web/stop?t=2",
        "POST /v1.51/containers/web/restart?t=0",
        "POST /v1.51/containers/web/kill?signal=SIGUSR1",
        "POST /v1.51/containers/web/rename?name=web2",
        "DELETE /v1.51/containers/web?",
        "PUT /v1.51/containers/web/archive?path=%2F",
        "POST /v1.51/volumes/create",
    ] {
        assert_eq!(fake.requests(request).len(), 1, "{request}");
    }
}

#[tokio::test]
async fn refusals_say_what_and_why() {
    let (fake, docker, _tasks) = engine().await;
    let engine = docker.engine();
    fake.reply(
        "POST /",
        status(409, r#"{"message":"name \"/web\" is taken"}"#),
    );
    fake.reply(
        "GET /images/",
        status(404, r#"{"message":"No such image"}"#),
    );
    let error = engine
        .create("web", &json!({"Image": "x"}))
        .await
        .unwrap_err();
    assert!(error.is_conflict());
    let text = "POST /containers/create: 409: name \"/web\" is taken";
    assert_eq!(error.to_string(), text);
    assert!(!engine.image_exists("busybox").await.unwrap());
    let error = engine.inspect("nobody").await.unwrap_err();
    assert!(error.is_missing());
    assert_eq!(
        error.to_string(),
        "GET /containers/nobody/json: 404: No such container"
    );
    for (what, error) in [
        ("path", engine.start("../images/x").await),
        ("query", engine.kill("web?x=", "KILL").await),
        ("image", engine.pull("a b").await),
        ("empty", engine.rename("web", "").await),
    ] {
        assert!(
            matches!(error, Err(DockerError::Invalid { .. })),
            "{what}: {error:?}"
        );
    }
    let large = Bytes::from(vec![0; ARCHIVE_BYTES_MAX + 1]);
    let error = engine.put_archive("web", "/", large).await.unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
}

#[tokio::test]
async fn answers_of_a_broken_engine_are_errors() {
    let (fake, docker, _tasks) = engine().await;
    let engine = docker.engine();
    let body = json!({"Image": "x"});
    let huge = format!("{{\"Id\":\"{}\"}}", "x".repeat(ANSWER_BYTES_MAX));
    for (reply, text) in [
        (status(201, &huge), "more than"),
        (status(201, "{"), "not as expected"),
        (status(201, "{}"), "not as expected"),
        (status(500, "no JSON"), "500: no JSON"),
        (
            Reply::Raw(b"HTTP/1.1 201 X\r\nContent-Length: 9\r\n\r\n{".to_vec()),
            "broke",
        ),
        (
            Reply::Raw(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec()),
            "broke",
        ),
        (Reply::Raw(b"nonsense\r\n\r\n".to_vec()), "broke"),
        (Reply::Raw(Vec::new()), "broke"),
    ] {
        fake.reply("POST /containers/create", reply);
        let error = engine.create("web", &body).await.unwrap_err().to_string();
        assert!(error.starts_with("POST /containers/create: "), "{error}");
        assert!(error.contains(text), "{text}: {error}");
    }
    assert_eq!(
        engine
            .create("web", &json!({"Wings": 1}))
            .await
            .unwrap_err()
            .to_string(),
        "no container can be created: Wings is no field that is known"
    );
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_ends_operations() {
    let (fake, docker, _tasks) = engine().await;
    let engine = docker.engine();
    fake.reply("POST /", Reply::Hang);
    let error = engine.start("web").await.unwrap_err();
    assert!(error.is_away());
    assert_eq!(
        error.to_string(),
        "POST /containers/web/start: no answer within 60 s"
    );
    let error = engine
        .stop("web", Duration::from_secs(100))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "POST /containers/web/stop: no answer within 130 s"
    );
}

#[tokio::test]
async fn a_pull_ends_with_its_stream() {
    let (fake, docker, _tasks) = engine().await;
    let engine = docker.engine();
    let good = "{\"status\":\"Pulling\"}\r\n{\"status\":\"Done\",\"new\":{\"a\":[1]}}\r\n";
    fake.reply("POST /images/create", status(200, good));
    engine.pull("host:5000/a/b").await.unwrap();
    engine.pull("busybox:1").await.unwrap();
    let asked = fake.requests("POST /v1.51/images/create");
    assert!(
        asked[0].contains("fromImage=host%3A5000%2Fa%2Fb&tag=latest"),
        "{asked:?}"
    );
    assert!(!asked[1].contains("tag="), "{asked:?}");
    let bad = "{\"status\":\"Pulling\"}\r\n\
               {\"errorDetail\":{\"message\":\"no route\"},\"error\":\"no route\"}\r\n";
    fake.reply("POST /images/create", status(200, bad));
    let error = engine.pull("busybox").await.unwrap_err().to_string();
    assert_eq!(error, "POST /images/create: 500: no route");
}

#[tokio::test]
async fn a_program_has_output_and_an_exit_code() {
    let (fake, docker, _tasks) = engine().await;
    let engine = docker.engine();
    fake.reply("POST /containers/web/exec", status(201, r#"{"Id":"e1"}"#));
    let output = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n\
                   \x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err";
    fake.reply("POST /exec/e1/start", Reply::Raw(output.to_vec()));
    fake.reply(
        "GET /exec/e1/json",
        status(200, r#"{"ExitCode":3,"Running":false}"#),
    );
    let ran = engine.exec("web", &["sh", "-c", "x"], SOON).await.unwrap();
    let expected = Executed {
        code: 3,
        output: b"outerr".to_vec(),
        cut: false,
    };
    assert_eq!(ran, expected);
    fake.reply("POST /exec/e1/start", Reply::Hang);
    let limit = Duration::from_millis(50);
    let error = engine.exec("web", &["x"], limit).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "POST /containers/web/exec: no answer within 0.05 s"
    );
}

#[tokio::test]
async fn without_an_engine_everything_says_so() {
    let engine = Engine::default();
    for result in [engine.start("a").await, engine.pull("a").await] {
        assert!(matches!(result, Err(DockerError::Off)));
    }
}
