//! Files of hosts that others wrote.

use super::super::slot::{Slot, State, slots};
use super::*;
use crate::mutate::fuzz;

const CORPUS: [&[u8]; 4] = [
    b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n172.17.0.2\ta0fb5f1a9626\n",
    b"127.0.0.1 localhost\n# BEGIN muster: roles of the cluster; do not edit\n\
      10.0.0.1 web                                           # muster\n\
      #0.0.0.2 db                                            # muster\n\
      #                                                      # muster\n\
      fd00::1 longer-role                                    # muster\n# END muster\n",
    b"10.0.0.1 web # muster\n10.0.0.1 web # muster\n10.0.0.2 web # muster\r\n# # muster",
    b"\xff\xfe 10.9.9.9 other # words\n\n   \n10.9.9.9\tother\n",
];

const WORDS: [&str; 13] = [
    "# muster",
    " # muster\n",
    "\n",
    "\r\n",
    "#",
    "# # muster\n",
    "10.0.0.1 web",
    "10.0.0.3 db ",
    "::1",
    " ",
    "          ",
    "# BEGIN muster",
    "web app",
];

/// Plans until there is nothing to do at once; each time is over within a few rounds.
fn settle(scene: &mut Scene, answers: &Answers) -> Plan {
    for _ in 0..4 {
        let before = scene.text.len();
        let plan = plan(&scene.text, answers, &mut scene.memory, scene.now);
        apply(&mut scene.text, &plan);
        scene.memory.done(scene.now);
        assert!(
            scene.text.len() <= before + (64 << 10),
            "it grows without end"
        );
        if !plan.more {
            return plan;
        }
    }
    panic!("it never comes to rest");
}

/// The lines that are not ours.
fn foreign(text: &[u8]) -> Vec<u8> {
    let ours = slots(text);
    let ours = |at: usize| {
        ours.iter()
            .any(|slot| (slot.at..slot.at + slot.len).contains(&at))
    };
    let mut at = 0;
    let mut rest = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let is_block = line.starts_with(b"# BEGIN muster") || line.starts_with(b"# END muster");
        // A line of ours that others damaged is hidden once, and a comment from then on.
        let is_marked = line.windows(8).any(|part| part == b"# muster");
        if !ours(at) && !is_block && !is_marked {
            rest.extend_from_slice(line);
        }
        at += line.len();
    }
    rest
}

fn shown(slots: &[Slot]) -> Vec<(String, IpAddr)> {
    let shown = slots.iter().filter_map(|slot| match &slot.state {
        State::Shown(role, ip) => Some((role.clone(), *ip)),
        State::Free | State::Hidden | State::Broken => None,
    });
    shown.collect()
}

#[test]
fn fuzz_files_of_hosts() {
    let sets = [
        wanted(&[("web", "10.0.0.1"), ("db", "10.0.0.2")]),
        wanted(&[("web", "10.0.0.3"), ("longer-role", "fd00::1")]),
        wanted(&[]),
    ];
    fuzz(4, &CORPUS, &WORDS, |input| {
        let mut scene = Scene::new("");
        scene.text = input.to_vec();
        let others = foreign(input);
        for answers in &sets {
            let mut plan = settle(&mut scene, answers);
            // What is hidden is free again, and lines that stand twice are hidden.
            for round in 0.. {
                if plan.again.is_none() {
                    break;
                }
                assert!(round < 12, "there is always something to do: {plan:?}");
                scene.pass(QUARANTINE);
                plan = settle(&mut scene, answers);
            }
            let waiting = plan.waiting;
            let slots = slots(&scene.text);
            assert!(slots.iter().all(|slot| slot.state != State::Broken));
            let mut shown = shown(&slots);
            shown.sort();
            let all: Vec<_> = answers.clone().into_iter().collect();
            assert!(waiting > 0 || shown == all, "{shown:?}, wanted {all:?}");
            let now = foreign(&scene.text);
            let same = now
                .strip_suffix(b"\n")
                .unwrap_or(&now)
                .starts_with(others.strip_suffix(b"\n").unwrap_or(&others));
            assert!(same, "lines of others were changed");
        }
    });
}
