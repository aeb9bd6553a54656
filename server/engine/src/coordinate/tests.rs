//! How exact the estimates are, and that nothing sent makes them none.

use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::place::{COMPONENT_MAX, Coordinate, DIMENSIONS, ERROR_MAX, HEIGHT_MIN, magnitude};
use super::vivaldi::Rejected;
use super::{Vivaldi, decode, encode};

const CYCLES: usize = 1_000;

/// Round trip times between all, seconds.
type Truth = Vec<Vec<f64>>;

fn truth(nodes: usize, mut between: impl FnMut(usize, usize) -> f64) -> Truth {
    let mut truth = vec![vec![0.0; nodes]; nodes];
    for (a, b) in (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))) {
        let seconds = between(a, b);
        (truth[a][b], truth[b][a]) = (seconds, seconds);
    }
    truth
}

/// Every node measures one random other in each cycle.
fn play(truth: &Truth, cycles: usize) -> Vec<Vivaldi> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut nodes: Vec<_> = (0..truth.len() as u64).map(Vivaldi::new).collect();
    for _ in 0..cycles {
        for a in 0..nodes.len() {
            let b = rng.random_range(0..nodes.len());
            if a != b {
                let (other, time) = (nodes[b].place(), Duration::from_secs_f64(truth[a][b]));
                nodes[a].update(b as u64, &other, time).unwrap();
            }
        }
    }
    nodes
}

/// Relative errors of all estimates: mean and largest.
fn errors(nodes: &[Vivaldi], truth: &Truth) -> (f64, f64) {
    let mut all = Vec::new();
    for (a, row) in truth.iter().enumerate() {
        for (b, seconds) in row.iter().enumerate().filter(|(b, _)| *b != a) {
            let estimated = nodes[a].place().seconds_to(&nodes[b].place());
            all.push((estimated - seconds).abs() / seconds);
        }
    }
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    (mean, all.into_iter().fold(0.0, f64::max))
}

fn check(what: &str, truth: &Truth, (mean_max, worst_max): (f64, f64)) {
    let (mean, worst) = errors(&play(truth, CYCLES), truth);
    println!("{what}: mean {mean:.5}, worst {worst:.5}");
    assert!(
        mean <= mean_max && worst <= worst_max,
        "{what}: {mean} {worst}"
    );
}

#[test]
fn a_line() {
    let line = truth(10, |a, b| (b - a) as f64 * 0.010);
    check("line", &line, (0.010, 0.050));
}

#[test]
fn a_grid() {
    let place = |n: usize| ((n % 5) as f64, (n / 5) as f64);
    let grid = truth(25, |a, b| {
        let ((ax, ay), (bx, by)) = (place(a), place(b));
        0.010 * (ax - bx).hypot(ay - by)
    });
    check("grid", &grid, (0.005, 0.050));
}

#[test]
fn two_sites() {
    let split = truth(25, |a, b| if (a < 12) == (b < 12) { 0.001 } else { 0.011 });
    check("split", &split, (0.000_2, 0.001));
}

#[test]
fn one_far_from_the_core() {
    // Node 0 is as far from everybody as a circle is wide: only a height tells that.
    let circle = truth(25, |a, b| {
        let angle = |n: usize| std::f64::consts::TAU * n as f64 / 25.0;
        if a == 0 {
            return 0.200;
        }
        let (x, y) = (
            angle(a).cos() - angle(b).cos(),
            angle(a).sin() - angle(b).sin(),
        );
        0.100 * x.hypot(y)
    });
    check("height", &circle, (0.0025, 0.064));
}

#[test]
fn at_random() {
    let mut rng = StdRng::seed_from_u64(2);
    let random = truth(25, |_, _| 0.100 + rng.random_range(-0.020..0.020));
    check("random", &random, (0.100, 0.90));
}

#[test]
fn a_cluster_does_not_drift_away() {
    let line = truth(10, |a, b| (b - a) as f64 * 0.500);
    let middle = |nodes: &[Vivaldi]| {
        let sum = std::array::from_fn(|n| {
            nodes.iter().map(|node| node.place().vec[n]).sum::<f64>() / nodes.len() as f64
        });
        magnitude(&sum)
    };
    let mut nodes = play(&line, CYCLES);
    // Pushed off the origin all together, it comes back.
    for node in &mut nodes {
        let mut place = node.place();
        place.vec[0] += 90.0;
        node.set_place(place);
    }
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..10_000 {
        for a in 0..10 {
            let b = (a + rng.random_range(1..10)) % 10;
            let (other, time) = (nodes[b].place(), Duration::from_secs_f64(line[a][b]));
            nodes[a].update(b as u64, &other, time).unwrap();
        }
    }
    let drifted = middle(&nodes);
    assert!(drifted < 10.0, "{drifted}");
    let (mean, _) = errors(&nodes, &line);
    assert!(mean < 0.05, "{mean}");
}

#[test]
fn one_slow_answer_moves_nobody() {
    let two = truth(2, |_, _| 0.010);
    let mut nodes = play(&two, 200);
    let other = nodes[1].place();
    let before = nodes[0].place().seconds_to(&other);
    nodes[0].update(1, &other, Duration::from_secs(5)).unwrap();
    let after = nodes[0].place().seconds_to(&other);
    assert!((after - before).abs() < 0.001, "{before} {after}");
    // The second one in a row counts.
    nodes[0].update(1, &other, Duration::from_secs(5)).unwrap();
    let after = nodes[0].place().seconds_to(&other);
    assert!((after - before).abs() > 0.001, "{before} {after}");
}

#[test]
fn rogue_values_move_nothing() {
    let good = Coordinate::default();
    let mut node = Vivaldi::new(1);
    let before = node.place();
    let time = Duration::from_millis(1);
    for value in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        101.0,
        -101.0,
        1e300,
    ] {
        let mut rogues = vec![
            Coordinate {
                error: value,
                ..good
            },
            Coordinate {
                adjustment: value,
                ..good
            },
            Coordinate {
                height: value,
                ..good
            },
        ];
        for n in 0..DIMENSIONS {
            let mut rogue = good;
            rogue.vec[n] = value;
            rogues.push(rogue);
        }
        for rogue in rogues {
            assert!(!rogue.is_valid(), "{rogue:?}");
            assert_eq!(node.update(1, &rogue, time), Err(Rejected::Coordinate));
        }
    }
    assert!(
        !Coordinate {
            height: -1.0e-9,
            ..good
        }
        .is_valid()
    );
    assert!(
        !Coordinate {
            error: -1.0e-9,
            ..good
        }
        .is_valid()
    );
    let long = Duration::from_millis(10_001);
    assert_eq!(node.update(1, &good, long), Err(Rejected::RoundTrip));
    assert_eq!(node.place(), before);
    assert_eq!(node.resets(), 0);
}

#[test]
fn a_place_that_became_none_is_begun_anew() {
    let mut node = Vivaldi::new(1);
    node.set_place(Coordinate {
        error: f64::NAN,
        ..Coordinate::default()
    });
    node.update(1, &Coordinate::default(), Duration::from_millis(5))
        .unwrap();
    assert_eq!((node.place(), node.resets()), (Coordinate::default(), 1));
}

#[test]
fn two_at_one_place_part() {
    let mut node = Vivaldi::new(9);
    let other = Coordinate::default();
    node.update(1, &other, Duration::from_millis(10)).unwrap();
    let apart = node.place().seconds_to(&other);
    assert!(apart > 2.0 * HEIGHT_MIN, "{apart}");
    // No time at all is no division by zero.
    node.update(1, &other, Duration::ZERO).unwrap();
    assert!(node.place().is_valid());
}

#[test]
fn on_a_local_network_it_takes_25_bytes() {
    let lan = truth(25, |a, b| 0.000_2 + 0.000_01 * (b - a) as f64);
    for node in play(&lan, CYCLES) {
        let bytes = encode(&node.place()).len();
        assert!(bytes <= 27, "{bytes}");
    }
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![-COMPONENT_MAX..COMPONENT_MAX, -0.001..0.001_f64, Just(0.0),]
}

prop_compose! {
    fn places()(
        vec in prop::array::uniform8(number()),
        error in 0.0..ERROR_MAX,
        adjustment in number(),
        height in 0.0..COMPONENT_MAX,
    ) -> Coordinate {
        Coordinate { vec, error, adjustment, height }
    }
}

proptest! {
    #[test]
    fn a_coordinate_travels(place in places()) {
        let back = decode(&encode(&place)).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() <= 0.51e-7;
        for n in 0..DIMENSIONS {
            prop_assert!(near(back.vec[n], place.vec[n]));
        }
        prop_assert!(near(back.adjustment, place.adjustment) && near(back.height, place.height));
        prop_assert!((back.error - place.error).abs() <= 0.51e-4);
    }

    #[test]
    fn any_bytes_are_a_valid_coordinate_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Some(place) = decode(&bytes) {
            prop_assert!(place.is_valid());
        }
    }

    #[test]
    fn any_valid_neighbours_leave_a_valid_place(
        steps in prop::collection::vec((places(), 0..12_000_u64, 0..5_u64), 1..200)
    ) {
        let mut node = Vivaldi::new(5);
        for (place, millis, member) in steps {
            let outcome = node.update(member, &place, Duration::from_millis(millis));
            prop_assert_eq!(outcome.is_ok(), millis <= 10_000);
            prop_assert!(node.place().is_valid());
            prop_assert!(node.place().distance_to(&place) < Duration::from_secs(1_500));
        }
    }
}
