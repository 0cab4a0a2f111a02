//! Comparing a line with the one that was expected, where some texts are not known
//! before.

use std::collections::BTreeMap;

/// What stood where a line has `«#name»`.
#[derive(Default)]
pub(super) struct Captured {
    found: BTreeMap<String, String>,
}

impl Captured {
    /// Gives a request of ours an id of its own.
    pub(super) fn asks(&mut self, request: &str, id: u64) {
        if let Some(name) = asked_under(request) {
            self.found.insert(name.to_owned(), id.to_string());
        }
    }

    /// A line with what was captured so far.
    pub(super) fn filled(&self, text: &str) -> String {
        let found = self.found.iter();
        found.fold(text.to_owned(), |text, (name, found)| {
            text.replace(&format!("«#{name}»"), found)
        })
    }

    /// Compares a line with what was heard, and keeps what stands at its places.
    pub(super) fn take(&mut self, expected: &str, heard: &str) -> Result<(), String> {
        if let Some(name) = asked_under(expected) {
            self.found.remove(name);
        }
        let mut expected = self.filled(expected);
        loop {
            let Some(place) = expected.find("«#") else {
                return compared(&expected, heard);
            };
            let (before, rest) = expected.split_at(place);
            let rest = rest.strip_prefix("«#").unwrap();
            let (name, _) = rest.split_once('»').unwrap();
            let Some(token) = heard.strip_prefix(before).and_then(token) else {
                return compared(&expected, heard);
            };
            self.found.insert(name.to_owned(), token.to_owned());
            expected = self.filled(&expected);
        }
    }
}

/// Under which name a request has its id: that of each is its own.
fn asked_under(expected: &str) -> Option<&str> {
    let rest = expected.strip_prefix("{\"jsonrpc\":\"2.0\",\"id\":«#")?;
    let (name, rest) = rest.split_once('»')?;
    rest.starts_with(",\"method\"").then_some(name)
}

/// The number, id of a call or string that a text begins with.
fn token(text: &str) -> Option<&str> {
    let end = match text.strip_prefix('"') {
        Some(string) => {
            let mut escaped = false;
            let end = string.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end? + 2
        }
        None => text
            .find(|c: char| !(c.is_ascii_hexdigit() || c == '-'))
            .unwrap_or(text.len()),
    };
    text.get(..end).filter(|token| !token.is_empty())
}

fn compared(expected: &str, heard: &str) -> Result<(), String> {
    if expected == heard {
        return Ok(());
    }
    let same = expected.chars().zip(heard.chars());
    let same = same.take_while(|(one, other)| one == other).count();
    // Long lines are shown from shortly before the place on.
    let from = same.saturating_sub(60);
    let shown = |text: &str| text.chars().skip(from).take(240).collect::<String>();
    Err(format!(
        "    expected  {}\n    heard     {}\n              {}^",
        shown(expected),
        shown(heard),
        " ".repeat(same - from)
    ))
}

#[test]
fn a_place_takes_a_number_or_a_string_and_is_the_same_from_then_on() {
    let mut captured = Captured::default();
    let heard = r#"{"id":12,"s":"a\"b","again":12}"#;
    let expected = "{\"id\":«#id»,\"s\":«#s»,\"again\":«#id»}";
    assert_eq!(captured.take(expected, heard), Ok(()));
    assert_eq!(captured.filled("«#s» «#id»"), r#""a\"b" 12"#);
    let difference = captured.take("[«#id»]", "[13]").unwrap_err();
    assert!(difference.contains("expected  [12]"), "{difference}");
    assert!(captured.take("[«#other»]", "[null]").is_err());
}
