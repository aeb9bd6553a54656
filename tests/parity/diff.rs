//! Which lines differ.

/// Pairs of lines that are not the same, in order; an empty text stands for no line.
pub(crate) fn pairs(serf: &[String], muster: &[String]) -> Vec<(String, String)> {
    let same = common(serf, muster);
    let mut found = Vec::new();
    let (mut left, mut right) = (0, 0);
    let end = (serf.len(), muster.len());
    for (next_left, next_right) in same.into_iter().chain([end]) {
        let (only_serf, only_muster) = (&serf[left..next_left], &muster[right..next_right]);
        for at in 0..only_serf.len().max(only_muster.len()) {
            let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
            found.push((line(only_serf), line(only_muster)));
        }
        (left, right) = (next_left + 1, next_right + 1);
    }
    found
}

/// Places of a longest common subsequence.
fn common(a: &[String], b: &[String]) -> Vec<(usize, usize)> {
    let mut longest = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = if a[i] == b[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut places = Vec::new();
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            places.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    places
}

#[test]
fn differing_lines_are_paired_in_order() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let pairs = |a, b| pairs(&lines(a), &lines(b));
    let owned = |pairs: &[(&str, &str)]| {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        pairs.iter().map(owned).collect::<Vec<_>>()
    };
    assert_eq!(pairs("a b c", "a b c"), []);
    assert_eq!(pairs("a x c", "a y c"), owned(&[("x", "y")]));
    assert_eq!(pairs("a c", "a b c"), owned(&[("", "b")]));
    assert_eq!(pairs("a b c d", "a d"), owned(&[("b", ""), ("c", "")]));
    assert_eq!(pairs("a b", "b a"), owned(&[("a", ""), ("", "a")]));
}
