//! Against a DNS server of our own on loopback.

use std::net::{IpAddr, Ipv4Addr};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::*;

/// What the server does with a question.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers from [`records`].
    Zone,
    /// Takes it and says nothing.
    Silent,
    /// Answers with bytes that are no message.
    Garbage,
    /// Answers another question.
    Other,
    /// Refuses.
    Refused,
}

struct Server {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Everything in the zone.
fn records(asked: &Name, kind: RecordType) -> Vec<Record> {
    let data: Vec<RData> = match (asked.to_string().as_str(), kind) {
        ("four.example.", RecordType::A) => {
            vec![RData::A(A::new(10, 0, 0, 1)), RData::A(A::new(10, 0, 0, 2))]
        }
        ("six.example.", RecordType::AAAA) | ("both.example.", RecordType::AAAA) => {
            vec![RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 6))]
        }
        ("both.example.", RecordType::A) => vec![RData::A(A::new(10, 0, 0, 6))],
        ("many.example.", RecordType::A) => (0..70)
            .map(|n| RData::A(A(Ipv4Addr::new(10, 1, 0, n))))
            .collect(),
        ("_muster._tcp.example.", RecordType::SRV) => vec![
            RData::SRV(SRV::new(1, 1, 7001, name("four.example."))),
            RData::SRV(SRV::new(2, 1, 7002, name("six.example."))),
            // Nobody, and the root: no such service there.
            RData::SRV(SRV::new(3, 1, 7003, name("nobody.example."))),
            RData::SRV(SRV::new(4, 1, 7004, Name::root())),
        ],
        ("_empty._tcp.example.", RecordType::SRV) => {
            vec![RData::SRV(SRV::new(0, 0, 0, Name::root()))]
        }
        _ => Vec::new(),
    };
    let record = |data| Record::from_rdata(asked.clone(), 60, data);
    data.into_iter().map(record).collect()
}

fn answer(manner: Manner, question: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let mut message = question.into_response();
    match manner {
        Manner::Silent => return None,
        Manner::Garbage => return Some(vec![0xFF; 40]),
        Manner::Other => message.metadata.id ^= 1,
        Manner::Refused => message.metadata.response_code = ResponseCode::Refused,
        Manner::Zone => {
            let found = records(query.name(), query.query_type());
            if found.is_empty() && query.name().to_string().starts_with("nobody") {
                message.metadata.response_code = ResponseCode::NXDomain;
            }
            message.add_answers(found);
        }
    }
    message.to_vec().ok()
}

async fn server(manner: Manner) -> Server {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 4_096];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = answer(manner, &buffer[..bytes]) {
                _ = socket.send_to(&answer, from).await;
            }
        }
    });
    Server { port, task }
}

/// A round that asks this server alone.
fn names(port: u16) -> Names {
    let mut connection = ConnectionConfig::udp();
    connection.port = port;
    let server = NameServerConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    set_options(builder.options_mut());
    Names {
        dns: Ok(builder.build().unwrap()),
        deadline: Instant::now() + DEADLINE,
    }
}

async fn addresses(names: &Names, seed: &str) -> Result<Vec<String>, String> {
    let found = names.addresses(&seed.parse().unwrap()).await?;
    let mut texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    texts.sort();
    Ok(texts)
}

fn found(texts: &[&str]) -> Result<Vec<String>, String> {
    Ok(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[tokio::test]
async fn names_have_addresses_of_both_families() {
    let server = server(Manner::Zone).await;
    let names = names(server.port);
    let four = addresses(&names, "four.example:7000").await;
    assert_eq!(four, found(&["10.0.0.1:7000", "10.0.0.2:7000"]));
    assert_eq!(
        addresses(&names, "six.example.").await,
        found(&["[fd00::6]:7946"])
    );
    let both = addresses(&names, "both.example").await.unwrap();
    assert!(both.contains(&"10.0.0.6:7946".to_owned()), "{both:?}");
}

#[tokio::test]
async fn services_have_the_addresses_and_ports_of_their_targets() {
    let server = server(Manner::Zone).await;
    let names = names(server.port);
    let service = addresses(&names, "_muster._tcp.example").await;
    let expected = ["10.0.0.1:7001", "10.0.0.2:7001", "[fd00::6]:7002"];
    assert_eq!(service, found(&expected));
    let none = addresses(&names, "_empty._tcp.example").await;
    assert_eq!(none, Err("it has no address".to_owned()));
    assert!(addresses(&names, "_nobody._tcp.example").await.is_err());
}

#[tokio::test]
async fn no_name_has_more_addresses_than_are_taken() {
    let server = server(Manner::Zone).await;
    let many = addresses(&names(server.port), "many.example").await;
    assert_eq!(many.map(|all| all.len()), Ok(ADDRESSES_PER_NAME_MAX));
}

#[tokio::test]
async fn servers_that_do_not_answer_sensibly_are_failures_in_time() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dead = taken.local_addr().unwrap().port();
    drop(taken);
    let mut rounds = Vec::new();
    for manner in [
        Manner::Silent,
        Manner::Garbage,
        Manner::Other,
        Manner::Refused,
    ] {
        let server = server(manner).await;
        rounds.push((names(server.port), Some(server)));
    }
    rounds.push((names(dead), None));
    let tries = rounds.iter().map(|(names, _server)| async move {
        // SRV has no other way than DNS; hosts may still be known to the system.
        let service = addresses(names, "_muster._tcp.example").await;
        let host = addresses(names, "four.example.invalid").await;
        (service, host)
    });
    let all = timeout(DEADLINE * 3, futures_util::future::join_all(tries)).await;
    for (service, host) in all.expect("a round has its deadline") {
        assert!(service.is_err() && host.is_err(), "{service:?} {host:?}");
    }
}
