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

/// A text of somebody else on one line, at most so many characters of it: what is hidden
/// is spelled out.
pub fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    let mut left = most;
    for c in text.chars() {
        let spelled = match hidden(c) {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        };
        let length = spelled.chars().count();
        if length > left {
            line.push('…');
            break;
        }
        left -= length;
        line.push_str(&spelled);
    }
    line
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
