//! Network coordinates in clusters whose sites are far apart.

use std::time::Duration;

use muster_engine::{Coordinate, Engine};
use muster_tests::sim::{Setup, Sim, Weather};

use crate::support::{SECOND, ends_well, hosts};

/// Sites and the one-way latency between them, microseconds.
const SITES: [[u64; 3]; 3] = [[0, 5_000, 40_000], [5_000, 0, 38_000], [40_000, 38_000, 0]];

fn far_apart(nodes: usize, seed: u64) -> Setup {
    Setup {
        weather: Weather {
            sites_us: SITES.iter().map(|row| row.to_vec()).collect(),
            ..Weather::default()
        },
        ..hosts(nodes, seed)
    }
}

fn engine(sim: &Sim, slot: usize) -> &Engine {
    sim.machine(slot).expect("it runs")
}

/// Every peer's place as a node knows it, by slot.
fn places(sim: &Sim, slot: usize) -> Vec<(usize, Coordinate)> {
    let known: Vec<_> = engine(sim, slot).peer_coordinates().collect();
    let mut places = Vec::new();
    for subject in (0..sim.hosts()).filter(|subject| *subject != slot) {
        let name = engine(sim, subject).me().name.clone();
        let found = known.iter().find(|(key, _)| key.name == name);
        places.extend(found.map(|(_, place)| (subject, *place)));
    }
    places
}

#[test]
fn the_nearest_is_at_the_same_site() {
    let nodes = 24;
    let mut sim: Sim = Sim::new(far_apart(nodes, 1));
    sim.start_all(SECOND);
    sim.run_for(300 * SECOND);
    let (mut right, mut asked, mut off) = (0, 0, Vec::new());
    for slot in 0..nodes {
        let me = engine(&sim, slot).coordinate().expect("they are on");
        let known = places(&sim, slot);
        assert_eq!(known.len(), nodes - 1, "node {slot}");
        let nearest = known
            .iter()
            .min_by_key(|(_, place)| me.distance_to(place))
            .expect("there are others");
        asked += 1;
        right += usize::from(nearest.0 % 3 == slot % 3);
        for (subject, place) in &known {
            // 1.1 ms is the mean of the weather; late wake-ups are not in a round trip.
            let way = SITES[slot % 3][subject % 3] + 1_100;
            let truth = Duration::from_micros(2 * way);
            let estimated = me.distance_to(place);
            off.push(estimated.abs_diff(truth).as_secs_f64() / truth.as_secs_f64());
        }
    }
    off.sort_by(f64::total_cmp);
    let median = off[off.len() / 2];
    println!("nearest right for {right} of {asked}, median error {median:.3}");
    assert!(right * 10 >= asked * 9, "{right} of {asked}");
    assert!(median < 0.10, "{median}");
    ends_well(&mut sim, SECOND);
}
