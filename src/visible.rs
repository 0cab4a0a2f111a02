//! Which characters can be seen. Names that people tell apart by looking at them have
//! no others.

use unicode_general_category::GeneralCategory as Category;
use unicode_general_category::get_general_category;
use unicode_normalization::char::canonical_combining_class;

/// The combining class of marks that are drawn across the character before them
/// (Unicode, section 4.3).
const OVERLAY: u8 = 1;

/// Whether a character is to be spelled out where people read it: one that cannot be
/// seen, changes how its neighbours look, is shown as nothing where it stands after
/// letters of another script, or is a space of another width than that of the space.
pub fn hidden(c: char) -> bool {
    unseen(c) || stacks(c) || (c != ' ' && get_general_category(c) == Category::SpaceSeparator)
}

/// Whether a character cannot be seen, changes how its neighbours look, or has no look
/// that all agree on: controls, formats, what is for private use or not assigned, what is
/// shown as nothing, and marks that are drawn across or around others.
pub fn unseen(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    match get_general_category(c) {
        Category::Control
        | Category::Format
        | Category::LineSeparator
        | Category::ParagraphSeparator
        | Category::Surrogate
        | Category::PrivateUse
        | Category::Unassigned
        | Category::EnclosingMark => true,
        Category::NonspacingMark => is_blank(c) || canonical_combining_class(c) == OVERLAY,
        Category::SpacingMark => canonical_combining_class(c) == OVERLAY,
        Category::OtherLetter | Category::OtherSymbol => is_blank(c),
        _ => false,
    }
}

/// Letters, symbols and marks that are shown as nothing. Most are what Unicode calls
/// `Default_Ignorable_Code_Point`; the others are blank by their nature.
fn is_blank(c: char) -> bool {
    matches!(c, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}' | '\u{fffc}' | '\u{13440}'..='\u{13442}' | '\u{13447}'..='\u{13455}'
        | '\u{16fe4}' | '\u{1d159}' | '\u{e0100}'..='\u{e01ef}')
}

/// Marks that only put the next letter of their script under the last one, and are shown
/// as nothing without that: what Unicode calls invisible stackers, and joiners of numbers
/// and consonants.
fn stacks(c: char) -> bool {
    matches!(
        c,
        '\u{1039}'
            | '\u{17d2}'
            | '\u{1a60}'
            | '\u{1bab}'
            | '\u{2d7f}'
            | '\u{aaf6}'
            | '\u{10a3f}'
            | '\u{1107f}'
            | '\u{11133}'
            | '\u{11a47}'
            | '\u{11a99}'
            | '\u{11d45}'
            | '\u{11d97}'
    )
}

/// Whether a text can name something: 1 to `most` bytes, none of them of a character that
/// cannot be seen. Spaces of any width and marks that stack letters may stand in a name:
/// they are spelled out where it is shown.
pub fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.contains(unseen)
}

/// A text of somebody else on one line, at most so many characters of it: what is hidden
/// is spelled out.
pub fn one_line(text: &str, most: usize) -> String {
    match line(text, most) {
        (line, 0) => line,
        (line, _) => line + "…",
    }
}

/// The same, which says how much is missing where it is cut.
pub fn cut_line(text: &str, most: usize) -> String {
    match line(text, most) {
        (line, 0) => line,
        (line, 1) => line + "… (1 more character)",
        (line, missing) => format!("{line}… ({missing} more characters)"),
    }
}

/// As many characters of a text as fit, with how many are left.
fn line(text: &str, most: usize) -> (String, usize) {
    let mut line = String::new();
    let mut left = most;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let spelled = match hidden(c) {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        };
        let length = spelled.chars().count();
        if length > left {
            return (line, 1 + rest.count());
        }
        left -= length;
        line.push_str(&spelled);
    }
    (line, 0)
}

/// How much is shown of the name of something, in characters.
pub const NAME: usize = 100;

/// How much is shown of a path, or of a command with its arguments, in characters.
pub const PATH: usize = 1000;

/// A text as one word of a command that is shown for somebody to run: in quotes where a
/// shell would take it for anything else.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| !hidden(c) && (c.is_alphanumeric() || "/._-+:@%,=".contains(c));
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    if !text.contains(hidden) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            c if hidden(c) => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    word.push_str(&format!("\\x{byte:02x}"));
                }
            }
            c => word.push(c),
        }
    }
    word + "'"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_command_is_one_word_to_a_shell() {
        for text in [
            "/srv/plain-1.toml",
            "/srv/my project/a.toml",
            "it's",
            "$(touch x) `y` \\ \"z\" ; & | * ~ # \u{3164}",
            "a\nb\tc\u{202e}d\\'e",
            "",
            "~",
            "-n",
        ] {
            let script = format!("printf %s {}", shell_word(text));
            let done = std::process::Command::new("bash")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(done.stdout).unwrap(), text);
            assert!(!shell_word(text).contains(hidden), "{text:?}");
        }
    }

    #[test]
    fn a_text_of_somebody_else_is_one_line_of_what_can_be_seen() {
        assert_eq!(one_line("a\nb", 80), "a\\nb");
        assert_eq!(one_line("\u{202e}x", 80), "\\u{202e}x");
        assert_eq!(one_line("abcd", 3), "abc…");
        assert_eq!(one_line("ab\u{202e}", 5), "ab…");
        assert_eq!(one_line("abc", 3), "abc");
    }

    #[test]
    fn where_a_text_is_cut_it_can_be_said_how_much_is_missing() {
        assert_eq!(cut_line("abc", 3), "abc");
        assert_eq!(cut_line("abcd", 3), "abc… (1 more character)");
        assert_eq!(cut_line("ab\u{202e}def", 5), "ab… (4 more characters)");
    }

    /// What a terminal or a mail shows as nothing, or as something else.
    #[test]
    fn what_cannot_be_seen_or_misleads_is_spelled_out() {
        let ranges = [
            // Controls, joiners, directions, tags, and what was never assigned.
            0x00..=0x1f,
            0x7f..=0x9f,
            0xad..=0xad,
            0x34f..=0x34f,
            0x61c..=0x61c,
            0x115f..=0x1160,
            0x17b4..=0x17b5,
            0x180b..=0x180f,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0x2800..=0x2800,
            0x3164..=0x3164,
            0xe000..=0xf8ff,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xffa0..=0xffa0,
            0xfff0..=0xfffc,
            0x13430..=0x13442,
            0x13447..=0x1345f,
            0x16fe4..=0x16fe4,
            0x1bca0..=0x1bca3,
            0x1d159..=0x1d159,
            0x1d173..=0x1d17a,
            0xe0000..=0xe0fff,
            0x10ffff..=0x10ffff,
            // Marks across and around others.
            0x334..=0x338,
            0x488..=0x489,
            0x20d2..=0x20d3,
            0x20d8..=0x20da,
            0x20dd..=0x20e0,
            0x20e2..=0x20e6,
            0x20ea..=0x20eb,
            0x1d167..=0x1d169,
        ];
        let spaces = [
            0xa0..=0xa0,
            0x1680..=0x1680,
            0x2000..=0x200a,
            0x202f..=0x202f,
            0x205f..=0x205f,
            0x3000..=0x3000,
        ];
        let stackers = [
            0x1039, 0x17d2, 0x1a60, 0x1bab, 0x2d7f, 0xaaf6, 0x10a3f, 0x1107f, 0x11133, 0x11a47,
            0x11a99, 0x11d45, 0x11d97,
        ];
        for c in stackers.into_iter().filter_map(char::from_u32) {
            assert!(hidden(c) && !unseen(c), "{c:?}");
        }
        let all = |ranges: &[std::ops::RangeInclusive<u32>]| {
            let numbers = ranges.iter().cloned().flatten();
            numbers.filter_map(char::from_u32).collect::<Vec<char>>()
        };
        for c in all(&ranges) {
            assert!(hidden(c) && unseen(c), "{c:?}");
            let shown = one_line(&format!("a{c}b"), 80);
            assert!(
                shown.starts_with("a\\") && shown.is_ascii(),
                "{c:?}: {shown}"
            );
        }
        for c in all(&spaces) {
            assert!(hidden(c) && !unseen(c), "{c:?}");
        }
        let seen = "AzÉß ñ 山田 カ 한국어 Здравствуй שָׁלוֹם العَرَبِيَّة हिन्दी ไทย e\u{301} €→≠½☃🦳𝄞";
        assert_eq!(one_line(seen, usize::MAX), seen);
    }

    #[test]
    fn a_name_has_no_characters_that_cannot_be_seen() {
        for good in ["alice", "Zoë Müller", "山田\u{3000}太郎", "a|b"] {
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
            "a\u{338}b",
            "a\u{2800}",
            "a\nb",
            &"x".repeat(33),
        ] {
            assert!(!is_name(bad, 32), "{bad:?}");
        }
    }
}
