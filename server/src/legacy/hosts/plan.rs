//! Which bytes to write, in which order. Pure: a file's text in, steps out.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::Answers;
use super::slot::{Slot, State, block, slots};

/// How long the longest reading of a file may take: a hidden slot is left alone for so
/// long, and so is a line that a slow reader may still need.
pub const QUARANTINE: Duration = Duration::from_secs(5);

/// Slots of a file that says nothing; each role adds [`SLOTS_EACH`]. Beyond it a new
/// address is shown in front of the old one, which is hidden later; where nothing is
/// free, a change waits for a hidden slot.
pub const SLOTS_MAX: usize = 64;

/// See [`SLOTS_MAX`].
pub const SLOTS_EACH: usize = 3;

/// Slots of a file beyond two for each role.
const SPARE: usize = 4;

/// What to do to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put this at its end, wherever that is by then.
    Append(Vec<u8>),
    /// Change bytes of a line.
    Edit(Edit),
}

/// A change within one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Where the line begins.
    pub at: usize,
    /// What the line must be now, without the newline; otherwise somebody else changed the
    /// file, and nothing of the rest may be done.
    pub before: Vec<u8>,
    /// First byte to change, from the beginning of the line.
    pub from: usize,
    /// The new bytes: one, or all behind the `#` of a comment.
    pub bytes: Vec<u8>,
}

/// The steps, in order.
#[derive(Debug, Default)]
pub struct Plan {
    /// What to do.
    pub steps: Vec<Step>,
    /// Plan again after them: there will be more room.
    pub more: bool,
    /// Plan again at this time at the latest: something waits.
    pub again: Option<Duration>,
    /// Roles whose change waits.
    pub waiting: usize,
}

/// What the writer remembers of a file between plans.
#[derive(Debug)]
pub struct Memory {
    quarantine: Duration,
    /// When slots were last shown or hidden.
    since: BTreeMap<usize, Duration>,
    /// Those of the last plan, whose time is that of the plan so far.
    fresh: BTreeSet<usize>,
    /// Of the text that was left behind.
    hash: Option<u64>,
    hasher: RandomState,
}

impl Memory {
    /// Of a file that was never looked at; usually with [`QUARANTINE`].
    #[must_use]
    pub fn new(quarantine: Duration) -> Self {
        Self {
            quarantine,
            since: BTreeMap::new(),
            fresh: BTreeSet::new(),
            hash: None,
            hasher: RandomState::new(),
        }
    }

    /// The steps of the last plan were done by now: that is when readers could see them.
    pub fn done(&mut self, now: Duration) {
        for at in std::mem::take(&mut self.fresh) {
            self.since.insert(at, now);
        }
    }

    /// The file is not as the last plan left it.
    pub fn forget(&mut self) {
        self.hash = None;
    }
}

/// Plans what makes a file say `wanted`. `now` is the time since any fixed moment.
#[must_use]
pub fn plan(text: &[u8], wanted: &Answers, memory: &mut Memory, now: Duration) -> Plan {
    let slots = slots(text);
    if memory.hash != Some(memory.hasher.hash_one(text)) {
        // Moved, restored, or of a run before: nobody knows since when it is so.
        memory.since = slots.iter().map(|slot| (slot.at, now)).collect();
    }
    let mut planner = Planner {
        text: text.to_vec(),
        slots,
        now,
        quarantine: memory.quarantine,
        since: std::mem::take(&mut memory.since),
        fresh: BTreeSet::new(),
        slots_max: SLOTS_MAX + SLOTS_EACH * wanted.len(),
        plan: Plan::default(),
        lacking: Vec::new(),
    };
    planner.tidy();
    planner.settle(wanted);
    planner.move_up();
    planner.make_room(wanted.len());
    memory.since = planner.since;
    memory.fresh = planner.fresh;
    memory.hash = Some(memory.hasher.hash_one(&*planner.text));
    planner.plan
}

#[derive(Debug)]
struct Planner<'a> {
    /// The file as the steps so far leave it.
    text: Vec<u8>,
    slots: Vec<Slot>,
    now: Duration,
    quarantine: Duration,
    since: BTreeMap<usize, Duration>,
    fresh: BTreeSet<usize>,
    slots_max: usize,
    plan: Plan,
    /// Lines that found no room.
    lacking: Vec<(&'a str, IpAddr)>,
}

impl<'a> Planner<'a> {
    /// Hides what is not right in itself, and frees what was hidden for long enough.
    fn tidy(&mut self) {
        for index in 0..self.slots.len() {
            let state = &self.slots[index].state;
            if *state == State::Broken {
                self.hide(index);
            } else if *state == State::Hidden && self.is_over(index) {
                self.free(index);
            }
        }
    }

    /// Shows what is wanted and hides the rest.
    fn settle(&mut self, wanted: &'a Answers) {
        let mut shown: BTreeMap<String, Vec<(usize, IpAddr)>> = BTreeMap::new();
        for (index, slot) in self.slots.iter().enumerate() {
            if let State::Shown(role, ip) = &slot.state {
                let lines = shown.entry(role.clone()).or_default();
                lines.push((index, *ip));
            }
        }
        for (role, lines) in &shown {
            if !wanted.contains_key(role) {
                lines.iter().for_each(|(index, _)| self.hide(*index));
            }
        }
        for (role, ip) in wanted {
            let lines = shown.remove(role).unwrap_or_default();
            self.settle_role(role, *ip, &lines);
        }
    }

    fn settle_role(&mut self, role: &'a str, ip: IpAddr, lines: &[(usize, IpAddr)]) {
        let (right, wrong): (Vec<_>, Vec<_>) = lines.iter().partition(|(_, shown)| *shown == ip);
        let right: Vec<usize> = right.iter().map(|(index, _)| *index).collect();
        let (first, last) = match (right.first(), right.last()) {
            (Some(first), Some(last)) => (*first, *last),
            _ => {
                let behind = wrong.last().map(|(index, _)| *index);
                let Some(index) = self.place(role, ip, behind) else {
                    self.lacking.push((role, ip));
                    return;
                };
                self.show(index, role, ip);
                (index, index)
            }
        };
        for (index, _) in wrong {
            // Behind it, the old line is what slow readers will find.
            if index < last || self.is_over(last) {
                self.hide(index);
            }
        }
        for index in right {
            if index > first && self.is_over(first) {
                self.hide(index);
            }
        }
    }

    /// A slot for a line: behind another one if possible.
    fn place(&mut self, role: &str, ip: IpAddr, behind: Option<usize>) -> Option<usize> {
        let from = behind.map_or(0, |index| index + 1);
        let fits = |index: &usize| self.slots[*index].fits(role, ip);
        let found = (from..self.slots.len()).find(fits);
        if found.is_some() || self.slots.len() < self.slots_max {
            return found;
        }
        (0..from).find(fits)
    }

    /// Shows lines that have no room behind them a second time, in front.
    fn move_up(&mut self) {
        let mut seen = BTreeSet::new();
        for index in (0..self.slots.len()).rev() {
            let State::Shown(role, ip) = self.slots[index].state.clone() else {
                continue;
            };
            let twice = !seen.insert(role.clone())
                || self.slots[..index]
                    .iter()
                    .any(|slot| matches!(&slot.state, State::Shown(other, _) if *other == role));
            let fits = |slot: &Slot| slot.fits(&role, ip);
            if twice || self.slots[index..].iter().any(fits) {
                continue;
            }
            if let Some(first) = self.slots[..index].iter().position(fits) {
                self.show(first, &role, ip);
                // To hide the other one.
                self.wait_for(self.now + self.quarantine);
            }
        }
    }

    fn make_room(&mut self, roles: usize) {
        self.plan.waiting = self.lacking.len();
        let room = self.slots_max.saturating_sub(self.slots.len());
        if self.lacking.is_empty() || room == 0 {
            return;
        }
        let fresh = if self.slots.is_empty() {
            roles
        } else {
            self.lacking.len()
        };
        let count = (2 * fresh + SPARE).min(room);
        let lines = self.lacking.iter().copied();
        let block = block(&self.text, count, lines);
        self.text.extend_from_slice(&block);
        self.plan.steps.push(Step::Append(block));
        self.plan.more = true;
    }

    /// Whether a slot is as it is for long enough; if not, it is looked at again then.
    fn is_over(&mut self, index: usize) -> bool {
        // A cut last line becomes a slot when a block is put behind it.
        let since = self.since.entry(self.slots[index].at).or_insert(self.now);
        let over = *since + self.quarantine;
        if over > self.now {
            self.wait_for(over);
        }
        over <= self.now
    }

    fn wait_for(&mut self, time: Duration) {
        let again = self.plan.again.get_or_insert(time);
        *again = time.min(*again);
    }

    fn show(&mut self, index: usize, role: &str, ip: IpAddr) {
        let line = self.slots[index].filled(role, ip);
        self.edit(index, 1, &line[1..]);
        self.edit(index, 0, &line[..1]);
        self.turn(index, State::Shown(role.to_owned(), ip));
    }

    fn hide(&mut self, index: usize) {
        self.edit(index, 0, b"#");
        self.turn(index, State::Hidden);
        self.wait_for(self.now + self.quarantine);
    }

    fn free(&mut self, index: usize) {
        let line = self.slots[index].blank();
        self.edit(index, 1, &line[1..]);
        let slot = &mut self.slots[index];
        slot.state = State::Free;
        self.since.remove(&slot.at);
    }

    fn turn(&mut self, index: usize, state: State) {
        let slot = &mut self.slots[index];
        slot.state = state;
        self.since.insert(slot.at, self.now);
        self.fresh.insert(slot.at);
    }

    fn edit(&mut self, index: usize, from: usize, bytes: &[u8]) {
        let Slot { at, len, .. } = self.slots[index];
        let line = &mut self.text[at..at + len];
        let before = line.to_vec();
        line[from..from + bytes.len()].copy_from_slice(bytes);
        self.plan.steps.push(Step::Edit(Edit {
            at,
            before,
            from,
            bytes: bytes.to_vec(),
        }));
    }
}
