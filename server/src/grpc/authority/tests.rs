mod client;
mod fuzz;
mod server;

use h2::Reason;
use http::Request;

use self::client::{Client, END_HEADERS, END_STREAM, PREFACE, frame, integer};
use self::server::{Chunks, play};
use super::*;

/// `POST http /` and what follows.
fn request(stream: u32, more: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(
        &mut out,
        1,
        END_HEADERS | END_STREAM,
        stream,
        &[b"\x83\x86\x84", more].concat(),
    );
    out
}

fn connection(requests: &[Vec<u8>]) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    frame(&mut out, 4, 0, 0, &[]);
    out.extend(requests.concat());
    out
}

fn authorities(bytes: &[u8], filtered: bool) -> Vec<Option<String>> {
    let mut seen = Vec::new();
    for chunks in [Chunks::Whole, Chunks::Bytes, Chunks::Seeded(7)] {
        let outcome = play(bytes, chunks, filtered);
        assert_eq!(outcome.error, None);
        seen.push(
            outcome
                .requests
                .into_iter()
                .map(|request| request.authority)
                .collect(),
        );
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    seen.remove(0)
}

/// The octets of a file of hexadecimal lines.
fn recorded(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u32> = lines
        .flat_map(str::chars)
        .filter_map(|c| c.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

#[test]
fn a_recorded_python_client_is_understood() {
    let bytes = recorded(include_str!(
        "../../../tests-data/authority/grpcio-1.85.1.hex"
    ));
    assert_eq!(
        authorities(&bytes, false),
        [],
        "h2 takes it alone: the filter can go"
    );
    assert_eq!(
        authorities(&bytes, true),
        vec![Some("tmp-2Frec-2Fx.sock".to_owned()); 3]
    );
    let outcome = play(&bytes, Chunks::Bytes, true);
    assert_eq!(
        outcome.requests[2].headers["content-type"],
        "application/grpc"
    );
    assert_eq!(outcome.requests[2].path, "/grpc.health.v1.Health/Check");
    assert_eq!(
        outcome.metrics.authorities_rewritten.get(),
        1,
        "later calls pass as they are"
    );
}

/// Java sends the bare path; what has no name at all may send an empty one.
#[test]
fn bare_paths_and_nothing_are_accepted() {
    let java = connection(&[request(1, b"\x41\x0b/tmp/x.sock"), request(3, b"\xbe")]);
    let empty = connection(&[
        request(1, b"\x81"),
        request(3, b"\x41\x00"),
        request(5, b"\xbe"),
    ]);
    for bytes in [&java, &empty] {
        assert_eq!(
            authorities(bytes, false),
            [],
            "h2 takes it alone: the filter can go"
        );
    }
    assert_eq!(
        authorities(&java, true),
        vec![Some("-tmp-x.sock".to_owned()); 2]
    );
    assert_eq!(
        authorities(&empty, true),
        vec![Some("localhost".to_owned()); 3]
    );
}

#[test]
fn a_flood_of_expanding_blocks_stays_within_its_bounds() {
    // Detached, with one large entry that every block names many times.
    let mut large = b"\x41\x00\x40\x01a".to_vec();
    integer(&mut large, 0, 7, 3000);
    large.extend_from_slice(&[b'x'; 3000]);
    let mut requests = vec![request(1, &large)];
    requests.extend((1..500).map(|number| request(number * 2 + 1, &[0xbe; 10])));
    let bytes = connection(&requests);

    let mut filter = AuthorityFilter::new(bytes.as_slice(), TransportMetrics::default());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let (mut total, mut most) = (0, 0);
    loop {
        let mut space = [0; 8192];
        let mut buf = ReadBuf::new(&mut space);
        assert!(
            Pin::new(&mut filter)
                .poll_read(&mut cx, &mut buf)
                .is_ready()
        );
        if buf.filled().is_empty() {
            break;
        }
        total += buf.filled().len();
        most = most.max(filter.ready.len() + filter.held.len());
    }
    assert!(total > 10_000_000, "{total}");
    assert!(most < 100_000, "{most} bytes are held");
    assert!(
        filter.ready.capacity() + filter.held.capacity() == 0,
        "memory is kept"
    );
}

/// What h2's client encodes, h2's server must get, whatever the filter does.
#[tokio::test]
async fn a_real_client_is_served() {
    let (near, far) = tokio::io::duplex(1000);
    let metrics = TransportMetrics::default();
    let filter = AuthorityFilter::new(far, metrics.clone());
    let server = tokio::spawn(async move {
        let mut connection = h2::server::handshake(filter).await.unwrap();
        let mut served = 0;
        while let Some(accepted) = connection.accept().await {
            let (request, mut respond) = accepted.unwrap();
            let echo = request.uri().authority().unwrap().as_str().to_owned();
            assert_eq!(request.headers()["x-authority"], echo.as_str());
            let response = http::Response::builder()
                .header("x-authority", echo)
                .body(())
                .unwrap();
            respond.send_response(response, true).unwrap();
            served += 1;
        }
        served
    });
    let (mut sender, driver) = h2::client::handshake(near).await.unwrap();
    let driver = tokio::spawn(driver);
    let mut random = Client::new(1);
    for _ in 0..300 {
        let length = 1 + rand::RngExt::random_range(&mut random.rng, 0..40);
        let name = &"a!b$c.d-e_f~g*h+i,j;k=lmnopqrstuvwxyz0123456789"[..length];
        let request = Request::post(format!("http://{name}:80/x"))
            .header("x-authority", format!("{name}:80"));
        sender = sender.ready().await.unwrap();
        let (response, _) = sender
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        assert_eq!(
            response.await.unwrap().headers()["x-authority"],
            format!("{name}:80")
        );
    }
    drop(sender);
    driver.await.unwrap().unwrap();
    assert_eq!(server.await.unwrap(), 300);
    assert_eq!(
        metrics.authorities_rewritten.get() + metrics.authority_filters_off.get(),
        0
    );
}

/// The answer to nonsense is h2's own, also where the filter had to step in.
#[tokio::test]
async fn nonsense_is_answered_by_h2() {
    let plain = connection(&[request(1, b"\xff\xff\xff\xff\xff\x01")]);
    let detached = connection(&[
        request(1, b"\x41\x00"),
        request(3, b"\xff\xff\xff\xff\xff\x01"),
    ]);
    for bytes in [plain, detached] {
        let (mut near, far) = tokio::io::duplex(100_000);
        let filter = AuthorityFilter::new(far, TransportMetrics::default());
        let mut connection = h2::server::handshake(filter);
        tokio::io::AsyncWriteExt::write_all(&mut near, &bytes)
            .await
            .unwrap();
        let mut connection = (&mut connection).await.unwrap();
        let error = loop {
            if let Err(error) = connection.accept().await.unwrap() {
                break error;
            }
        };
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
    }
}
