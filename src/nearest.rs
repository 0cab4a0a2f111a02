//! Which of the names that are known somebody may have meant by one that is not.

/// The known word that is most like the written one; none where none is.
pub fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.filter_map(|known| {
        let far = distance(written, known);
        (far <= known.len().max(written.len()) / 3).then_some((far, known))
    });
    near.min_by_key(|(far, _)| *far).map(|(_, known)| known)
}

/// ` (did you mean …?)`, with the known word that is most like the written one; nothing
/// where none is.
pub fn meant<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = nearest(written, known);
    near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

/// In how many letters two words differ: each that is more, less or another, and each two
/// that changed places. Case, `-` and `_` are not told apart.
fn distance(one: &str, other: &str) -> usize {
    let letters = |text: &str| -> Vec<char> {
        let plain = text.chars().filter(|c| !matches!(c, '-' | '_'));
        plain.flat_map(char::to_lowercase).collect()
    };
    let (one, other) = (letters(one), letters(other));
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, letter) in one.iter().enumerate() {
        let mut next = vec![place + 1];
        for (at, its) in other.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut least = cell(&row, at) + usize::from(letter != its);
            least = least.min(cell(&row, at + 1) + 1).min(cell(&next, at) + 1);
            let swapped = at > 0 && place > 0 && {
                one.get(place - 1) == Some(its) && other.get(at - 1) == Some(letter)
            };
            if swapped {
                least = least.min(cell(&before, at - 1) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_differ_by_their_letters() {
        for (one, other, far) in [
            ("", "", 0),
            ("", "ab", 2),
            ("limits", "limits", 0),
            ("limit", "limits", 1),
            ("lmiits", "limits", 1),
            ("max-Connections", "max_connections", 0),
            ("tok", "key", 3),
            ("timout", "timeout", 1),
        ] {
            assert_eq!(distance(one, other), far, "{one} {other}");
            assert_eq!(distance(other, one), far, "{other} {one}");
        }
    }

    #[test]
    fn only_what_is_nearly_the_same_may_have_been_meant() {
        let tools = ["approve_payment", "get_claim"];
        for (written, told) in [
            ("approve_paymnt", " (did you mean `approve_payment`?)"),
            ("Get-Claim", " (did you mean `get_claim`?)"),
            ("delete_claims", ""),
            ("", ""),
        ] {
            assert_eq!(meant(written, tools.into_iter()), told, "{written}");
        }
    }
}
