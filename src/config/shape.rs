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
        if message == DOUBLED {
            let written = text.get(span.clone()).unwrap_or_default();
            let _infallible = match doubled(text, span) {
                Some((key, first)) => write!(
                    said,
                    ", at `{key}`: it stands on line {first} already: leave one of the two"
                ),
                None => write!(
                    said,
                    ": `{written}` stands there already: leave one of the two"
                ),
            };
            return said;
        }
        if let Some(key) = key_at(text, span.start) {
            let _infallible = write!(said, ", at `{key}`");
        }
        said.push_str(": ");
    }
    said + &without_values(message)
}

/// What the parser says of a key that stands there twice.
const DOUBLED: &str = "duplicate key";

/// A name that no key has.
const STAND_IN: &str = "countersign-stand-in";

/// How many keys that stand there twice are looked through for one.
const MOST_DOUBLED: usize = 16;

/// The dotted key that stands at `second` and before, and the line on which it does so
/// first. A text with such keys cannot be read, so others stand in for them.
fn doubled(text: &str, second: Range<usize>) -> Option<(String, usize)> {
    let name: Key = text.get(second.clone())?.parse().ok()?;
    let mut readable = text.to_owned();
    let mut span = second;
    for number in 0..MOST_DOUBLED {
        readable.get(span.clone())?;
        readable.replace_range(span, &format!("{STAND_IN}-{number}"));
        match Document::parse(readable.as_str()) {
            Ok(document) => {
                let stand_in = format!("{STAND_IN}-0");
                let names = (stand_in.as_str(), name.get());
                let (key, first) = beside(document.as_table(), "", names)?;
                let before = readable.get(..first)?;
                return Some((key, before.matches('\n').count() + 1));
            }
            Err(error) if error.message() == DOUBLED => span = error.span()?,
            Err(_) => return None,
        }
    }
    None
}

/// The dotted key of this name beside the other, and where it begins.
fn beside(
    table: &dyn TableLike,
    before: &str,
    (other, name): (&str, &str),
) -> Option<(String, usize)> {
    if table.contains_key(other) {
        let first = table.key(name)?.span()?;
        return Some((dotted(before, name), first.start));
    }
    let mut inside = table.iter().flat_map(|(key, item)| {
        let path = dotted(before, key);
        tables_of(&path, item)
    });
    inside.find_map(|(path, table)| beside(table, &path, (other, name)))
}

fn dotted(before: &str, name: &str) -> String {
    let name = Key::new(name);
    match before.is_empty() {
        true => name.to_string(),
        false => format!("{before}.{name}"),
    }
}

/// The tables that a value is, or that are the members of its list, with their keys.
fn tables_of<'a>(path: &str, item: &'a Item) -> Vec<(String, &'a dyn TableLike)> {
    let numbered = |place: usize| format!("{path}[{place}]");
    match item {
        Item::ArrayOfTables(tables) => {
            let tables = tables.iter().enumerate();
            let tables = tables.map(|(place, table)| (numbered(place), table as &dyn TableLike));
            tables.collect()
        }
        Item::Value(Value::Array(values)) => {
            let tables = values.iter().enumerate().filter_map(|(place, value)| {
                let table: &dyn TableLike = value.as_inline_table()?;
                Some((numbered(place), table))
            });
            tables.collect()
        }
        other => {
            let table = other.as_table_like();
            table
                .map(|table| (path.to_owned(), table))
                .into_iter()
                .collect()
        }
    }
}

/// A message of serde's without the value that it is about: of `invalid type: string
/// "x", expected a map` the kind stays. A key that is not known is told with the one that
/// may have been meant.
fn without_values(message: &str) -> String {
    let message = message.replace('\n', " ");
    if message.starts_with("unknown field `servers_from`") {
        return "`servers_from` belongs to no section: move it before the first `[…]`".to_owned();
    }
    if message.starts_with("unknown field `tools`") {
        return "`tools` belongs to a server: write `[servers.NAME.tools.TOOL]`".to_owned();
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
        let path = dotted(before, name);
        let key = table.key(name).and_then(Key::span);
        for span in key.into_iter().chain(item.span()) {
            let is_shorter = best
                .as_ref()
                .is_none_or(|(length, _)| span.len() <= *length);
            if span.contains(&at) && is_shorter {
                *best = Some((span.len(), path.clone()));
            }
        }
        for (path, table) in tables_of(&path, item) {
            look(table, &path, at, best);
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
                "[[part]]\n[part.tools.\"pay.approve\"]\n",
                "line 2, column 7, at `part[0].tools`: `tools` belongs to a server: write `[servers.NAME.tools.TOOL]`",
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

    #[test]
    fn a_key_that_stands_there_twice_is_named_with_both_lines() {
        let said = |text: &str| {
            let error = toml::from_str::<toml::Table>(text).err().unwrap();
            toml_problem(text, error.message(), error.span())
        };
        for (text, due) in [
            (
                "a = 1\n\na = 2\n",
                "line 3, column 1, at `a`: it stands on line 1 already: leave one of the two",
            ),
            (
                "[servers.x]\ncommand = \"hunter2\"\n[servers.y]\n[servers.x]\n",
                "line 4, column 10, at `servers.x`: it stands on line 1 already",
            ),
            (
                "[servers.x]\ncommand = \"hunter2\"\ncommand = \"hunter2\"\n",
                "line 3, column 1, at `servers.x.command`: it stands on line 2 already",
            ),
            (
                "[[a]]\nb = 1\n[[a]]\nenv = { B = 1, \"B\" = 2 }\n",
                "line 4, column 16, at `a[1].env.B`: it stands on line 4 already",
            ),
            // The first of two.
            (
                "[a]\nb = 1\nb = 2\n[c]\nd = 1\nd = 2\n",
                "line 3, column 1, at `a.b`: it stands on line 2 already",
            ),
            (
                "a.b = 1\na.b = 2\n",
                "line 2, column 3, at `a.b`: it stands on line 1 already",
            ),
            (
                "[a]\n[[a]]\n",
                "line 2, column 3, at `a`: it stands on line 1 already",
            ),
        ] {
            let said = said(text);
            assert!(said.starts_with(due), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        // Too many to be looked through.
        let text = "a = 1\n".repeat(20);
        assert_eq!(
            said(&text),
            "line 2, column 1: `a` stands there already: leave one of the two"
        );
    }
}
