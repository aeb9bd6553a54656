use tokio::sync::oneshot;

use super::*;

const NOW: Time = Time::from_micros(1_000);

fn addr(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

fn found(text: &str, ports: std::ops::Range<u16>) -> Resolved {
    Resolved {
        text: text.to_owned(),
        addrs: Ok(ports.map(addr).collect()),
    }
}

fn begin(joins: &mut Joins, texts: &[&str]) -> (u64, oneshot::Receiver<Vec<JoinOutcome>>) {
    let (reply, answer) = oneshot::channel();
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    let (call, _) = joins.begin(NOW, texts, reply).unwrap();
    (call, answer)
}

fn outcome(address: &str, result: Result<&str, &str>) -> JoinOutcome {
    JoinOutcome {
        address: address.to_owned(),
        result: result.map(str::to_owned).map_err(str::to_owned),
    }
}

#[test]
fn every_address_gets_its_outcome_in_the_callers_order() {
    let mut joins = Joins::default();
    let (call, mut answer) = begin(&mut joins, &["a", "10.0.0.1:5", "b"]);
    let bad = Resolved {
        text: "b".to_owned(),
        addrs: Err("no such name".to_owned()),
    };
    joins.resolved(call, vec![found("a", 1..3), found("10.0.0.1:5", 5..6), bad]);
    let dials = joins.launch();
    assert_eq!(
        dials.iter().map(|(_, a)| *a).collect::<Vec<_>>(),
        [addr(1), addr(2), addr(5)]
    );
    joins.result(dials[2].0, Err("refused".to_owned()));
    joins.result(dials[0].0, Ok("one".to_owned()));
    assert!(answer.try_recv().is_err(), "one is missing");
    joins.result(dials[1].0, Ok("two".to_owned()));
    let expected = [
        outcome("a (10.0.0.1:1)", Ok("one")),
        outcome("a (10.0.0.1:2)", Ok("two")),
        outcome("10.0.0.1:5", Err("refused")),
        outcome("b", Err("no such name")),
    ];
    assert_eq!(answer.try_recv().unwrap(), expected);
    assert_eq!(joins.next_deadline(), None);
}

#[test]
fn a_call_without_addresses_is_answered_at_once() {
    let mut joins = Joins::default();
    let (call, mut answer) = begin(&mut joins, &[]);
    joins.resolved(call, Vec::new());
    assert_eq!(answer.try_recv().unwrap(), []);
}

#[test]
fn addresses_are_dialled_a_few_at_a_time() {
    let mut joins = Joins::default();
    let (call, mut answer) = begin(&mut joins, &["a"]);
    joins.resolved(call, vec![found("a", 0..20)]);
    let mut open = joins.launch();
    assert_eq!(open.len(), DIALS_MAX);
    assert!(joins.launch().is_empty());
    let mut dialled = 0;
    while let Some((attempt, _)) = open.pop() {
        dialled += 1;
        joins.result(attempt, Ok("x".to_owned()));
        open.extend(joins.launch());
        assert!(open.len() <= DIALS_MAX);
    }
    assert_eq!(dialled, 20);
    assert_eq!(answer.try_recv().unwrap().len(), 20);
}

#[test]
fn a_late_call_is_answered_with_what_is_known() {
    let mut joins = Joins::default();
    let (call, mut answer) = begin(&mut joins, &["a"]);
    joins.resolved(call, vec![found("a", 1..3)]);
    let dials = joins.launch();
    joins.result(dials[0].0, Ok("one".to_owned()));
    joins.expire(NOW);
    assert!(answer.try_recv().is_err(), "not yet");
    let deadline = joins.next_deadline().unwrap();
    joins.expire(deadline);
    let outcomes = answer.try_recv().unwrap();
    assert_eq!(outcomes[1].result, Err("no answer in time".to_owned()));
    joins.result(dials[1].0, Ok("two".to_owned()));
    joins.resolved(call, vec![found("a", 1..3)]);
    assert!(joins.launch().is_empty(), "nothing of it is left");
}

#[test]
fn calls_and_addresses_are_bounded() {
    let mut joins = Joins::default();
    let mut answers = Vec::new();
    for _ in 0..CALLS_MAX {
        answers.push(begin(&mut joins, &["a"]).1);
    }
    let (reply, mut answer) = oneshot::channel();
    assert!(joins.begin(NOW, vec!["a".to_owned()], reply).is_none());
    let expected = [outcome("a", Err("too many joins are under way"))];
    assert_eq!(answer.try_recv().unwrap(), expected);

    let mut joins = Joins::default();
    let (reply, mut answer) = oneshot::channel();
    let texts = vec!["a".to_owned(); SEEDS_MAX + 3];
    let (call, texts) = joins.begin(NOW, texts, reply).unwrap();
    assert_eq!(texts.len(), SEEDS_MAX);
    joins.resolved(call, vec![found("a", 0..1_000)]);
    let mut open = joins.launch();
    while let Some((attempt, _)) = open.pop() {
        joins.result(attempt, Ok("x".to_owned()));
        open.extend(joins.launch());
    }
    let outcomes = answer.try_recv().unwrap();
    assert_eq!(outcomes.len(), 1_003);
    let good = outcomes
        .iter()
        .filter(|outcome| outcome.result.is_ok())
        .count();
    assert_eq!(good, ADDRESSES_MAX - 3);
}
