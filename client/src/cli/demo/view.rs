//! What the live view shows.

use std::collections::VecDeque;

use super::cluster::{Node, State};

/// Fits a terminal of 80 columns.
const HELP: &str = "1-9 select  k kill -9  p pause/go on  r restart  e event  a add a node  q quit";

/// All lines of the view, top to bottom: what a small terminal cuts off comes last.
pub(super) fn frame(
    members: Vec<String>,
    nodes: &[Node],
    selected: u8,
    news: &VecDeque<String>,
) -> Vec<String> {
    let mut lines = vec![String::new(), HELP.to_owned()];
    lines.push(processes(
        nodes.iter().map(|n| (n.number(), n.name(), n.state())),
        selected,
    ));
    lines.extend([String::new(), "As n1 sees it:".to_owned()]);
    lines.extend(members);
    if let Some(why) = nodes.first().and_then(|first| stale(first.state())) {
        lines.push(format!("({why}: this is what it saw last)"));
    }
    lines.push(String::new());
    lines.extend(news.iter().cloned());
    lines
}

fn processes<'a>(nodes: impl Iterator<Item = (u8, &'a str, State)>, selected: u8) -> String {
    let one = |(number, name, state): (u8, &str, State)| {
        let mark = if number == selected { '>' } else { ' ' };
        format!("{mark}{name} {}", word(state))
    };
    let all: Vec<String> = nodes.map(one).collect();
    format!("Processes: {}", all.join("  "))
}

const fn word(state: State) -> &'static str {
    match state {
        State::Running => "runs",
        State::Paused => "paused",
        State::Killed => "killed",
        State::Exited => "ended",
    }
}

const fn stale(first: State) -> Option<&'static str> {
    match first {
        State::Running => None,
        State::Paused => Some("n1 is paused"),
        State::Killed | State::Exited => Some("n1 is dead"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_process_is_marked() {
        let nodes = [(1, "n1", State::Running), (2, "n2", State::Paused)];
        assert_eq!(
            processes(nodes.into_iter(), 2),
            "Processes:  n1 runs  >n2 paused"
        );
    }

    #[test]
    fn the_keys_come_first_and_fit_any_terminal() {
        let news = VecDeque::from(["killed n5 with SIGKILL".to_owned()]);
        let lines = frame(vec!["NAME".into()], &[], 1, &news);
        assert_eq!(lines[1], HELP);
        assert!(HELP.len() < 80);
        assert_eq!(lines[5], "NAME");
        assert_eq!(lines[lines.len() - 1], "killed n5 with SIGKILL");
    }
}
