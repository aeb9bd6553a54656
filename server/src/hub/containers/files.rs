//! What became of the files that a container gets as a child of its node.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest text on what is wrong with them, bytes. What is longer is cut.
pub const FILES_PROBLEM_BYTES_MAX: usize = 384;

/// Stands for what was cut.
const CUT: char = '\u{2026}';

/// What became of the files of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Files {
    /// It gets none: it is no child.
    #[default]
    None,
    /// On their way, or waiting for the container to run.
    Pending,
    /// All are there and say what they should.
    Delivered,
    /// One of them at least cannot be there: which and why. Empty where that has no room.
    Undeliverable(String),
}

/// Those of all children of a node, by full id.
pub type ChildFiles = BTreeMap<Arc<str>, Files>;

impl Files {
    /// With what is wrong, cut and without control characters: terminals show it.
    #[must_use]
    pub fn undeliverable(problem: &str) -> Self {
        let mut text = String::new();
        for one in problem.chars() {
            let one = if one.is_control() { ' ' } else { one };
            if text.len() + one.len_utf8() + CUT.len_utf8() > FILES_PROBLEM_BYTES_MAX {
                text.push(CUT);
                break;
            }
            text.push(one);
        }
        Self::Undeliverable(text)
    }

    /// What is wrong, or nothing.
    #[must_use]
    pub fn problem(&self) -> &str {
        match self {
            Self::Undeliverable(problem) => problem,
            Self::None | Self::Pending | Self::Delivered => "",
        }
    }

    /// On the wire.
    pub(super) const fn number(&self) -> i32 {
        match self {
            Self::None => 0,
            Self::Pending => 1,
            Self::Delivered => 2,
            Self::Undeliverable(_) => 3,
        }
    }

    /// From the wire. What a newer node says that this one does not know is on its way.
    pub(super) fn read(number: i32, problem: &str) -> Self {
        match number {
            0 => Self::None,
            2 => Self::Delivered,
            3 => Self::undeliverable(problem),
            _ => Self::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_bounded_and_fit_for_terminals() {
        let all = [
            Files::None,
            Files::Pending,
            Files::Delivered,
            Files::undeliverable("/me.json: why"),
        ];
        for files in all {
            assert_eq!(Files::read(files.number(), files.problem()), files);
        }
        assert_eq!(Files::read(9, "x"), Files::Pending);
        let long = Files::undeliverable(&"\u{e4}".repeat(FILES_PROBLEM_BYTES_MAX));
        assert!(long.problem().len() <= FILES_PROBLEM_BYTES_MAX);
        assert!(long.problem().ends_with(CUT));
        assert_eq!(Files::undeliverable(long.problem()), long, "once is enough");
        assert_eq!(Files::undeliverable("a\u{1b}b\nc").problem(), "a b c");
    }
}
