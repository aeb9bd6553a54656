//! Nothing grows beyond what one can read at a sitting.

use crate::tree::sources;

/// Lines of a file.
const FILE_LINES_MAX: usize = 800;

/// Lines of code of a function, as clippy counts them: no blanks, no comments.
const FUNCTION_LINES_MAX: usize = 70;

/// Functions of a formatted source: line of the head, and lines of code in the body.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    // Heads that wait for their end: indentation, line, code lines so far.
    let mut open: Vec<(usize, usize, usize)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if code.starts_with('}') && open.last().is_some_and(|last| last.0 == indent) {
            let (_indent, head, lines) = open.pop().unwrap();
            found.push((head, lines));
        }
        let counts = !code.is_empty() && !code.starts_with("//");
        for waiting in &mut open {
            waiting.2 += usize::from(counts);
        }
        if is_head(code) && !code.ends_with(';') && !code.ends_with("{}") && !code.ends_with(" }") {
            open.push((indent, number, 0));
        }
    }
    found
}

/// Whether a line begins a function.
fn is_head(code: &str) -> bool {
    let mut words = code.split_whitespace();
    let is_qualifier =
        |word: &str| word.starts_with("pub") || matches!(word, "const" | "async" | "in" | "super)");
    let first = words.find(|word| !is_qualifier(word));
    first == Some("fn")
}

#[test]
fn no_file_is_longer_than_its_limit() {
    for file in sources() {
        let lines = file.text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", file.path);
    }
}

#[test]
fn no_function_is_longer_than_its_limit() {
    for file in sources() {
        for (head, lines) in functions(&file.text) {
            assert!(
                lines <= FUNCTION_LINES_MAX,
                "{}:{head} has {lines} lines",
                file.path
            );
        }
    }
}

#[test]
fn functions_are_measured() {
    let text = "impl A {\n    pub(crate) async fn a(\n        &self,\n    ) {\n        // Why.\n\n        \
                b();\n    }\n}\nfn c() {}\nconst fn d() {\n    1\n}\n";
    assert_eq!(functions(text), [(2, 3), (11, 1)]);
}
