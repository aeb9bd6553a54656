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
