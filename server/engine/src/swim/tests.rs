//! foca's rounds, as the engine wants them.

use rand::SeedableRng as _;

use super::*;

fn ident(hash: u64) -> Ident {
    Ident {
        hash,
        boot: 1,
        life: 0,
    }
}

/// The one under test and the messages of its next round, with what each carries.
fn round(swim: &mut Swim, surely: Option<Ident>) -> Vec<(Ident, usize)> {
    swim.gossip(surely);
    let mut told = Vec::new();
    while let Some(output) = swim.poll() {
        let SwimOutput::Send { to, bytes } = output else {
            continue;
        };
        let (wire, _) = message::to_wire(&bytes, swim.me(), None).unwrap();
        let parts = Parts::parse(&wire, to).expect("it is for whom it is sent to");
        told.push((to, parts.updates.len()));
    }
    told
}

#[test]
fn a_round_reaches_whom_it_shall_with_all_that_it_carries() {
    let now = Time::from_micros(1);
    for seed in 0..50 {
        let mut swim = Swim::new(ident(1), StdRng::seed_from_u64(seed));
        let others = (2..30).map(|hash| Update::new(ident(hash), 0, State::Alive));
        swim.apply(now, others.collect(), false);
        let dead = Update::new(ident(30), 0, State::Down);
        swim.apply(now, vec![dead], true);
        while swim.poll().is_some() {}
        // In the third round not all of them carry it any more.
        for surely in [7, 8, 9] {
            let told = round(&mut swim, Some(ident(surely)));
            assert_eq!(told.len(), FANOUT, "{told:?}");
            let carried = told.iter().find(|(to, _)| *to == ident(surely));
            assert_eq!(carried.map(|(_, updates)| *updates), Some(1), "{told:?}");
            let mut whom: Vec<_> = told.iter().map(|(to, _)| *to).collect();
            whom.sort_unstable();
            whom.dedup();
            assert_eq!(whom.len(), FANOUT, "{told:?}");
        }
    }
}

#[test]
fn a_round_of_one_who_knows_nobody_reaches_nobody() {
    let mut swim = Swim::new(ident(1), StdRng::seed_from_u64(1));
    assert_eq!(round(&mut swim, Some(ident(7))), []);
}

#[test]
fn an_answered_probe_needs_no_timer_for_helpers() {
    let mut swim = Swim::new(ident(1), StdRng::seed_from_u64(1));
    let other = Update::new(ident(2), 0, State::Alive);
    swim.apply(Time::from_micros(1), vec![other], false);
    let begin = swim.next_deadline().expect("a probe is planned");
    swim.tick(begin);
    let outputs = std::iter::from_fn(|| swim.poll()).collect::<Vec<_>>();
    let asked = outputs.iter().find_map(|output| {
        let SwimOutput::Send { to, bytes } = output else {
            return None;
        };
        let Some(message::Probe::Ping(number)) = message::probe(bytes) else {
            return None;
        };
        Some((*to, number))
    });
    let (target, number) = asked.expect("the probe goes out");
    assert_eq!(swim.next_deadline(), Some(begin + PROBE_RTT));
    swim.answer_probe(begin, target, number);
    assert_eq!(swim.next_deadline(), Some(begin + PROBE_PERIOD));
}
