//! Patterns with `*` and `?`.

/// Whether a text fits a pattern: `*` is any text, `?` any one character, all else
/// stands for itself. Takes at most pattern times text steps.
#[must_use]
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star: the star, and the text that it takes.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_and_marks() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "anything"),
            ("web-*", "web-"),
            ("web-*", "web-1.eu"),
            ("*-eu-*", "a-eu-eu-b"),
            ("w?b", "wéb"),
            ("**b", "aab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("web-*", "web"),
            ("w?b", "wb"),
            ("*b", "ba"),
            ("A", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_fits_itself_and_any_part_starred(text in "[a-c]{0,8}", cut in 0..9_usize) {
            let cut = cut.min(text.len());
            prop_assert!(matches(&text, &text));
            let starred = format!("{}*", &text[..cut]);
            prop_assert!(matches(&starred, &text));
        }
    }
}
