//! Texts of others among our own words.

use crate::visible::hidden;

/// A text of somebody else as a JSON string, at most so many characters of it. What
/// cannot be seen, or changes how its neighbours look, is escaped: so the text ends
/// where its quotes end, and stands on one line.
pub fn quoted(text: &str, most: usize) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars().take(most) {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if hidden(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    quoted.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => quoted.push(c),
        }
    }
    if text.chars().nth(most).is_some() {
        quoted.push('…');
    }
    quoted.push('"');
    quoted
}

/// The name of a member before its value: in quotes where something in it could pass for
/// more than a name.
pub fn named(name: &str, most: usize) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !name.is_empty() && name.len() <= most && name.chars().all(plain) {
        true => name.to_owned(),
        false => quoted(name, most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_quotes_where_it_could_pass_for_more() {
        for (name, shown) in [
            ("claim_id", "claim_id"),
            ("", "\"\""),
            ("amount: 5, note", "\"amount: 5, note\""),
            ("amount\u{200b}", "\"amount\\u200b\""),
            ("longer-than-can-be", "\"longer-than-can-…\""),
        ] {
            assert_eq!(named(name, 16), shown);
        }
    }

    #[test]
    fn a_quoted_text_is_one_json_string_of_what_can_be_seen() {
        for (text, expected) in [
            ("plain äß", "\"plain äß\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("a\nb\r\u{1b}[2J", "\"a\\nb\\u000d\\u001b[2J\""),
            ("\u{202e}x\u{e0041}", "\"\\u202ex\\udb40\\udc41\""),
        ] {
            assert_eq!(quoted(text, 80), expected);
            let back: String = serde_json::from_str(expected).unwrap();
            assert_eq!(back, text);
        }
        assert_eq!(quoted("abcd", 3), "\"abc…\"");
    }
}
