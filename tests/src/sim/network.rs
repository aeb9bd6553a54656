//! The network between the nodes: what it does to datagrams, and who is cut off.

use crate::sim::rng::{PPM, Rng};

/// How the network treats everybody.
#[derive(Debug, Clone)]
pub struct Weather {
    /// One-way latency, uniform between these, microseconds.
    pub latency_us: (u64, u64),
    /// Added one-way latency between sites, microseconds; host n is at site n modulo
    /// their number. Empty: one site.
    pub sites_us: Vec<Vec<u64>>,
    /// No datagram gets through at all; streams do.
    pub streams_only: bool,
    /// Datagrams lost, per million.
    pub loss_ppm: u32,
    /// Datagrams delivered twice, per million.
    pub duplicate_ppm: u32,
    /// Datagrams held back and so overtaken, per million.
    pub reorder_ppm: u32,
    /// Longest extra delay of a held-back datagram, microseconds.
    pub reorder_us: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            latency_us: (200, 2_000),
            sites_us: Vec::new(),
            streams_only: false,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_us: 50_000,
        }
    }
}

/// A cut that can be healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutId(usize);

/// One directed cut: what goes from one set to the other suffers.
#[derive(Debug)]
struct Cut {
    id: CutId,
    from: Vec<bool>,
    to: Vec<bool>,
    drop_ppm: u32,
}

/// Weather and cuts.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    cuts: Vec<Cut>,
    made: usize,
}

impl Network {
    pub(crate) const fn new(weather: Weather) -> Self {
        Self {
            weather,
            cuts: Vec::new(),
            made: 0,
        }
    }

    /// Drops `drop_ppm` of what goes from `from` to `to`; all of it also stops
    /// streams.
    pub(crate) fn cut(&mut self, from: Vec<bool>, to: Vec<bool>, drop_ppm: u32) -> CutId {
        let id = CutId(self.made);
        self.made += 1;
        self.cuts.push(Cut {
            id,
            from,
            to,
            drop_ppm,
        });
        id
    }

    /// Ends a cut. Cuts that are gone are ignored.
    pub(crate) fn heal(&mut self, id: CutId) {
        self.cuts.retain(|cut| cut.id != id);
    }

    /// Ends every cut.
    pub(crate) fn heal_all(&mut self) {
        self.cuts.clear();
    }

    fn drop_ppm(&self, from: usize, to: usize) -> u32 {
        let hit = |cut: &&Cut| cut.from[from] && cut.to[to];
        self.cuts
            .iter()
            .filter(hit)
            .map(|cut| cut.drop_ppm)
            .max()
            .unwrap_or(0)
    }

    /// Nothing gets from `from` to `to`.
    pub(crate) fn blocked(&self, from: usize, to: usize) -> bool {
        !self.cuts.is_empty() && from != to && self.drop_ppm(from, to) >= PPM
    }

    /// A stream between the two stands still: data or its acknowledgements do not
    /// get through.
    pub(crate) fn stalled(&self, a: usize, b: usize) -> bool {
        self.blocked(a, b) || self.blocked(b, a)
    }

    /// One-way latency of one packet.
    pub(crate) fn latency(&self, from: usize, to: usize, rng: &mut Rng) -> u64 {
        let sites = &self.weather.sites_us;
        let far = match sites.len() {
            0 => 0,
            count => sites[from % count][to % count],
        };
        far + rng.between(self.weather.latency_us.0, self.weather.latency_us.1)
    }

    /// When the copies of one datagram arrive, as delays: none, one or two.
    pub(crate) fn fate(&self, from: usize, to: usize, rng: &mut Rng) -> [Option<u64>; 2] {
        let lost = rng.chance(self.weather.loss_ppm);
        if self.weather.streams_only
            || lost
            || (!self.cuts.is_empty() && rng.chance(self.drop_ppm(from, to)))
        {
            return [None, None];
        }
        let mut delay = self.latency(from, to, rng);
        if rng.chance(self.weather.reorder_ppm) {
            delay += rng.below(self.weather.reorder_us);
        }
        let again = rng.chance(self.weather.duplicate_ppm);
        let second = again.then(|| delay + rng.below(self.weather.reorder_us));
        [Some(delay), second]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(network: &Network, from: usize, to: usize) -> usize {
        let mut rng = Rng::new(3, 0);
        (0..10_000)
            .map(|_| {
                network
                    .fate(from, to, &mut rng)
                    .iter()
                    .flatten()
                    .inspect(|delay| assert!((200..=102_000).contains(*delay)))
                    .count()
            })
            .sum()
    }

    #[test]
    fn loses_and_doubles_as_often_as_told() {
        let mut network = Network::new(Weather::default());
        assert_eq!(arrivals(&network, 0, 1), 10_000);
        network.weather.loss_ppm = 100_000;
        assert!((8_800..9_200).contains(&arrivals(&network, 0, 1)));
        network.weather.loss_ppm = 0;
        network.weather.duplicate_ppm = 50_000;
        network.weather.reorder_ppm = 50_000;
        assert!((10_400..10_600).contains(&arrivals(&network, 0, 1)));
    }

    #[test]
    fn cuts_have_a_direction_and_heal() {
        let mut network = Network::new(Weather::default());
        let cut = network.cut(vec![true, false], vec![false, true], PPM);
        assert_eq!(
            (arrivals(&network, 0, 1), arrivals(&network, 1, 0)),
            (0, 10_000)
        );
        assert!(network.blocked(0, 1) && !network.blocked(1, 0));
        assert!(network.stalled(1, 0), "no acknowledgement comes back");
        network.heal(cut);
        assert_eq!(arrivals(&network, 0, 1), 10_000);
        network.cut(vec![true, false], vec![false, true], 500_000);
        assert!((4_700..5_300).contains(&arrivals(&network, 0, 1)));
        assert!(!network.blocked(0, 1), "a bad link is no cut");
        network.heal_all();
        assert_eq!(arrivals(&network, 0, 1), 10_000);
    }
}
