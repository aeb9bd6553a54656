//! What somebody probably meant.

/// Longest word that is compared, bytes: the work grows with its square.
const WORD_BYTES_MAX: usize = 64;

/// The known word that is nearest to a wrong one, if one is near.
#[must_use]
pub(super) fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    if wrong.len() > WORD_BYTES_MAX {
        return None;
    }
    let wrong = wrong.to_lowercase().replace('-', "_");
    let distances = known.iter().map(|word| (distance(&wrong, word), *word));
    let (distance, word) = distances.min()?;
    (distance * 2 <= word.len().max(4)).then_some(word)
}

/// Letters to change, add or leave out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut corner = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, other) in b.iter().enumerate() {
            let change = corner + usize::from(letter != *other);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood() {
        let known = ["image", "volumes_from", "environment", "working_dir"];
        assert_eq!(nearest("imgae", &known), Some("image"));
        assert_eq!(nearest("volumes-from", &known), Some("volumes_from"));
        assert_eq!(nearest("enviroment", &known), Some("environment"));
        assert_eq!(nearest("healthcheck", &known), None);
        assert_eq!(nearest(&"x".repeat(1_000), &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
