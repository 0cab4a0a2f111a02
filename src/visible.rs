//! Which characters can be seen. Names that people tell apart by looking at them have
//! no others.

/// Whether a character changes how its neighbours look, or cannot be seen.
pub fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a text can name something: 1 to `most` bytes, none of them of a hidden
/// character.
pub fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.contains(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_characters_that_cannot_be_seen() {
        for good in ["alice", "Zoë Müller", "山田", "a|b"] {
            assert!(is_name(good, 32), "{good}");
        }
        for bad in [
            "",
            "al\u{200b}ice",
            "\u{202e}ecila",
            "alice\u{feff}",
            "a\u{ad}lice",
            "alice\u{3164}",
            "a\u{e0061}",
            "a\nb",
            &"x".repeat(33),
        ] {
            assert!(!is_name(bad, 32), "{bad:?}");
        }
    }
}
