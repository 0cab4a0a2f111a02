//! What is wrong with a text of TOML: where and why, and no value of it, because that may
//! be a secret, and terminals are recorded.

use crate::nearest;
use std::fmt::Write;
use std::ops::Range;
use toml_edit::Document;
use toml_edit::Item;
use toml_edit::Key;
use toml_edit::TableLike;
use toml_edit::Value;

/// The problem as one line: `line 2, column 8, at `store.durability`: …`.
pub fn toml_problem(text: &str, message: &str, span: Option<Range<usize>>) -> String {
    let mut said = String::new();
    if let Some(span) = span {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        let _infallible = write!(said, "line {line}, column {column}");
        if let Some(key) = key_at(text, span.start) {
            let _infallible = write!(said, ", at `{key}`");
        }
        said.push_str(": ");
    }
    said + &without_values(message)
}

/// A message of serde's without the value that it is about: of `invalid type: string
/// "x", expected a map` the kind stays. A key that is not known is told with the one that
/// may have been meant.
fn without_values(message: &str) -> String {
    let message = message.replace('\n', " ");
    if message.starts_with("unknown field `servers_from`") {
        return "`servers_from` belongs to no section: move it before the first `[…]`".to_owned();
    }
    if let Some(meant) = meant(&message) {
        return meant;
    }
    // What the reader of times says of one that is none.
    if message.starts_with("failed to parse") && message.contains("duration") {
        return format!("it is no time: {TIME}");
    }
    for about in ["invalid type: ", "invalid value: ", "unknown variant "] {
        let Some((found, expected)) = message
            .strip_prefix(about)
            .and_then(|rest| rest.rsplit_once(", expected "))
        else {
            continue;
        };
        let kind = found.split(['"', '`']).next().unwrap_or_default().trim();
        let about = format!("{about}{kind}");
        let about = about.trim_end();
        let hint = match (kind, expected) {
            (_, "a signed duration string") => return format!("{about}: {TIME}"),
            ("string", "a sequence") => ": write a list, like `[\"x\"]`",
            ("map", "a sequence") => ": write its section in double brackets, `[[…]]`",
            _ => "",
        };
        return format!("{about}, expected {expected}{hint}");
    }
    message
}

/// How a time is written.
const TIME: &str = "write a time with its unit, in quotes, like `\"60s\"` or `\"8h\"`";

/// The message of an unknown key, with the known one that is most like it; none where it
/// is another message, or none is.
fn meant(message: &str) -> Option<String> {
    let (written, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    // They stand in quotes: every other piece is one.
    let all = known.split('`').skip(1).step_by(2);
    let near = nearest::meant(written, all);
    (!near.is_empty()).then(|| format!("unknown field `{written}`{near}{known}"))
}

/// The dotted key that stands at this place of a text; none where the text is no TOML.
fn key_at(text: &str, at: usize) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let mut best = None;
    look(document.as_table(), "", at, &mut best);
    best.map(|(_length, key)| key)
}

/// Keeps the key with the shortest span around `at`.
fn look(table: &dyn TableLike, before: &str, at: usize, best: &mut Option<(usize, String)>) {
    for (name, item) in table.iter() {
        let name = Key::new(name);
        let path = match before.is_empty() {
            true => name.to_string(),
            false => format!("{before}.{name}"),
        };
        let key = table.key(name.get()).and_then(Key::span);
        for span in key.into_iter().chain(item.span()) {
            let is_shorter = best
                .as_ref()
                .is_none_or(|(length, _)| span.len() <= *length);
            if span.contains(&at) && is_shorter {
                *best = Some((span.len(), path.clone()));
            }
        }
        match item {
            Item::ArrayOfTables(tables) => {
                for (place, table) in tables.iter().enumerate() {
                    look(table, &format!("{path}[{place}]"), at, best);
                }
            }
            Item::Value(Value::Array(values)) => {
                let tables = values.iter().enumerate();
                for (place, value) in tables {
                    if let Some(table) = value.as_inline_table() {
                        look(table, &format!("{path}[{place}]"), at, best);
                    }
                }
            }
            other => {
                if let Some(table) = other.as_table_like() {
                    look(table, &path, at, best);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_and_why_and_no_value() {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            One,
            Two,
        }
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Part {
            #[serde(rename = "env")]
            _env: Option<std::collections::BTreeMap<String, String>>,
            #[serde(rename = "word")]
            _word: Option<Word>,
        }
        #[derive(serde::Deserialize)]
        struct Whole {
            #[serde(rename = "part")]
            _part: Vec<Part>,
        }
        for (text, due) in [
            (
                "[[part]]\nenv = { TOKEN = \"hunter2 }\n",
                "line 2, column 27: unclosed inline table",
            ),
            (
                "[[part]]\nenv = \"TOKEN=hunter2\\\", expected x\"\n",
                "line 2, column 7, at `part[0].env`: invalid type: string, expected a map",
            ),
            (
                "[[part]]\n[[part]]\nenv.TOKEN = 4711\n",
                "line 3, column 13, at `part[1].env.TOKEN`: invalid type: integer, expected a string",
            ),
            (
                "[[part]]\nword = \"hunter2\"",
                "line 2, column 8, at `part[0].word`: unknown variant, expected `one` or `two`",
            ),
            (
                "[[part]]\nwrod = 1",
                "line 2, column 1, at `part[0].wrod`: unknown field `wrod` (did you mean `word`?), expected `env` or `word`",
            ),
            (
                "[[part]]\n\"E-N_v\" = 1",
                "line 2, column 1, at `part[0].E-N_v`: unknown field `E-N_v` (did you mean `env`?), expected",
            ),
            (
                "[[part]]\nother = 1",
                "line 2, column 1, at `part[0].other`: unknown field `other`, expected `env` or `word`",
            ),
            (
                "part = 4711",
                "line 1, column 8, at `part`: invalid type: integer, expected a sequence",
            ),
        ] {
            let error = toml::from_str::<Whole>(text).err().unwrap();
            let said = toml_problem(text, error.message(), error.span());
            assert!(said.starts_with(due), "{said}");
            assert!(
                !said.contains("hunter2") && !said.contains("4711"),
                "{said}"
            );
        }
    }
}
