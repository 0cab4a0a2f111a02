//! What the file of a store must have, by its version: a table that somebody took out, or
//! made anew without what it refuses, leaves a file that is whole by itself.

use super::Migration;
use super::migrate;
use crate::visible;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// How many are named one by one.
const TOLD: usize = 20;
/// How much of a name that is none of ours is shown, in characters.
const SHOWN: usize = 100;

/// Tables, indices, triggers and views by kind and name.
type Parts = BTreeMap<(String, String), Part>;

/// What is compared of one.
#[derive(Default)]
struct Part {
    /// The table that it is of.
    table: String,
    /// Of a table its columns.
    columns: BTreeSet<String>,
    /// The statement that made it, word by word.
    made_by: Vec<String>,
}

/// How a store differs from one of its version that was made by the same steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// What may change what is written or read, one line each.
    pub(super) wrong: Vec<String>,
    /// What is there besides and does no harm, likewise.
    pub(super) besides: Vec<String>,
}

/// How `connection` differs from a store of this version.
pub(super) fn differences(
    connection: &Connection,
    version: u32,
    migrations: &[Migration],
) -> rusqlite::Result<Differences> {
    let wanted = parts(&migrate::pattern(version, migrations)?)?;
    let found = parts(connection)?;
    let mut wrong = Vec::new();
    for (place, part) in &wanted {
        let (kind, name) = place;
        let Some(there) = found.get(place) else {
            wrong.push(format!("the {kind} `{name}` is missing"));
            continue;
        };
        let lacks = part.columns.difference(&there.columns);
        let lacks: Vec<String> = lacks
            .map(|column| format!("the {kind} `{name}` lacks its column `{column}`"))
            .collect();
        if lacks.is_empty() && part.made_by != there.made_by {
            wrong.push(format!("the {kind} `{name}` is not the one that we made"));
        }
        wrong.extend(lacks);
    }
    let mut besides = Vec::new();
    for (place, part) in found
        .iter()
        .filter(|(place, _)| !wanted.contains_key(*place))
    {
        let (kind, name) = place;
        let shown = visible::one_line(name, SHOWN);
        match part.meddles_as(kind, &wanted) {
            Some(how) => wrong.push(format!(
                "the {kind} `{shown}` is none of ours, and {how}: take it out with `DROP {}`",
                kind.to_uppercase()
            )),
            None => besides.push(format!("the {kind} `{shown}` is none of ours")),
        }
    }
    Ok(Differences {
        wrong: told(wrong),
        besides: told(besides),
    })
}

fn told(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(TOLD);
    lines.truncate(TOLD);
    if more > 0 {
        lines.push(format!(
            "{more} more parts of the store are not as they were made"
        ));
    }
    lines
}

impl Part {
    /// What one of this kind, which is none of ours, does to what we write.
    fn meddles_as(&self, kind: &str, ours: &Parts) -> Option<&'static str> {
        let is_on_ours = ours.contains_key(&("table".to_owned(), self.table.clone()));
        let is_unique = self.made_by.get(1).is_some_and(|word| word == "unique");
        match kind {
            "trigger" => Some("may change what is written"),
            "index" if is_on_ours && is_unique => Some("may refuse what is written"),
            _ => None,
        }
    }
}

fn parts(connection: &Connection) -> rusqlite::Result<Parts> {
    // The columns of a view, or of a table that a module has, cannot be told where what they
    // are made of is not to be had here.
    let mut statement = connection.prepare(
        "SELECT part.type, lower(part.name), lower(part.tbl_name), part.sql, lower(col.name)
         FROM sqlite_schema AS part
         LEFT JOIN pragma_table_xinfo(CASE
             WHEN part.type = 'table' AND part.sql NOT LIKE 'CREATE VIRTUAL%' THEN part.name
         END) AS col
         WHERE part.name NOT LIKE 'sqlite!_%' ESCAPE '!'",
    )?;
    let mut rows = statement.query([])?;
    let mut parts = Parts::new();
    while let Some(row) = rows.next()? {
        let part: &mut Part = parts.entry((row.get(0)?, row.get(1)?)).or_default();
        if part.made_by.is_empty() {
            part.table = row.get(2)?;
            let made_by: Option<String> = row.get(3)?;
            part.made_by = made_by.as_deref().map(words).unwrap_or_default();
        }
        part.columns.extend(row.get::<_, Option<String>>(4)?);
    }
    Ok(parts)
}

/// The words of a statement, apart from how it is laid out, what is noted in it, and the
/// quotes that SQLite puts around the name of a table that was renamed.
fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let long = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '\'' | '"' | '`' => quoted(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |at| at + 1),
            _ if is_of_word(first) => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at_checked(long).unwrap_or((rest, ""));
        rest = after;
        let is_noted = word.starts_with("--") || word.starts_with("/*");
        if is_noted || first.is_whitespace() {
            continue;
        }
        words.push(match first {
            '\'' => word.to_owned(),
            _ => plain(word).to_ascii_lowercase(),
        });
    }
    words
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// How long what begins with a quote is, in bytes: doubled, the quote stands for itself.
fn quoted(text: &str, quote: char) -> usize {
    let mut inside = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            continue;
        }
        let is_doubled = inside && chars.peek().is_some_and(|(_, next)| *next == quote);
        if is_doubled {
            chars.next();
        } else if inside {
            return at + c.len_utf8();
        } else {
            inside = true;
        }
    }
    text.len()
}

/// A name without its quotes, where it needs none.
fn plain(word: &str) -> &str {
    let inside = word.strip_prefix(['"', '`', '[']);
    let inside = inside.and_then(|word| word.strip_suffix(['"', '`', ']']));
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(is_of_word);
    inside.filter(is_name).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Migration; 2] = [
        Migration {
            number: 1,
            sql: &["CREATE TABLE a (x, y); CREATE INDEX a_by_x ON a (x);"],
        },
        Migration {
            number: 2,
            sql: &["CREATE TABLE b (          -- of one column
                    z TEXT NOT NULL CHECK (z IN ('it''s', 'not'))
                ) STRICT;
                ALTER TABLE a ADD COLUMN later INTEGER NOT NULL DEFAULT 0; -- of all
                CREATE TRIGGER no_b BEFORE DELETE ON b BEGIN SELECT 1; END;"],
        },
    ];

    const B: &str = "CREATE TABLE b (z TEXT NOT NULL CHECK (z IN ('it''s', 'not'))) STRICT";
    const NO_B: &str = "CREATE TRIGGER no_b BEFORE DELETE ON b BEGIN SELECT 1; END";

    fn differences_after(version: u32, change: &str) -> Differences {
        let store = migrate::pattern(version, &STEPS).unwrap();
        store.execute_batch(change).unwrap();
        differences(&store, version, &STEPS).unwrap()
    }

    #[test]
    fn what_was_taken_out_is_named() {
        // Of an older version the newer tables are not missing.
        assert_eq!(differences_after(1, ""), Differences::default());
        for (change, told) in [
            (
                "DROP TABLE a",
                &["the index `a_by_x` is missing", "the table `a` is missing"][..],
            ),
            ("DROP INDEX a_by_x", &["the index `a_by_x` is missing"]),
            ("DROP TRIGGER no_b", &["the trigger `no_b` is missing"]),
            (
                "ALTER TABLE a DROP COLUMN y",
                &["the table `a` lacks its column `y`"],
            ),
            (
                "DROP TRIGGER no_b;
                 CREATE TRIGGER no_b BEFORE DELETE ON b WHEN 0 BEGIN SELECT 1; END",
                &["the trigger `no_b` is not the one that we made"],
            ),
            (
                "DROP INDEX a_by_x; CREATE INDEX a_by_x ON a (y)",
                &["the index `a_by_x` is not the one that we made"],
            ),
        ] {
            let found = differences_after(2, change);
            assert_eq!(found.wrong, told, "{change}");
        }
    }

    #[test]
    fn what_is_of_no_use_here_does_no_harm_either() {
        for change in [
            "CREATE TABLE gone (a); CREATE VIEW v AS SELECT a FROM gone; DROP TABLE gone",
            "PRAGMA writable_schema = 1;
             INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql)
             VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING no_such_module(a)');
             PRAGMA writable_schema = RESET",
        ] {
            let found = differences_after(2, change);
            assert_eq!(found.wrong, [""; 0], "{change}");
            assert_eq!(found.besides.len(), 1, "{change}: {:?}", found.besides);
        }
    }

    #[test]
    fn what_is_only_written_otherwise_is_the_same() {
        let made = "CREATE table [b] (\"z\" text NOT null -- one\n
            CHECK(z in('it''s','not')) /* two */ ) strict";
        for change in [
            "DROP INDEX a_by_x; CREATE INDEX\n  a_by_x ON a  (x)",
            "ALTER TABLE b RENAME TO c; ALTER TABLE c RENAME TO b",
            &format!("DROP TABLE b; {made}; {NO_B}"),
        ] {
            let found = differences_after(2, change);
            assert_eq!(found, Differences::default(), "{change}");
        }
    }

    #[test]
    fn a_table_that_was_made_anew_with_the_same_columns_is_another() {
        for (ours, theirs) in [
            ("TEXT", "BLOB"),
            (" NOT NULL", ""),
            (" CHECK (z IN ('it''s', 'not'))", ""),
            ("'it''s'", "'IT''S'"),
            (" STRICT", ""),
            (") STRICT", ", UNIQUE (z)) STRICT"),
            (") STRICT", ", PRIMARY KEY (z)) STRICT"),
            (") STRICT", ", PRIMARY KEY (z)) STRICT, WITHOUT ROWID"),
            ("z TEXT", "z TEXT UNIQUE ON CONFLICT IGNORE"),
            (") STRICT", ", more TEXT) STRICT"),
        ] {
            let made = B.replacen(ours, theirs, 1);
            assert_ne!(made, B);
            let found = differences_after(2, &format!("DROP TABLE b; {made}; {NO_B}"));
            let told = "the table `b` is not the one that we made";
            assert_eq!(found.wrong, [told], "{made}");
        }
        let found = differences_after(2, "ALTER TABLE a RENAME COLUMN y TO x2");
        assert_eq!(found.wrong, ["the table `a` lacks its column `y`"]);
    }

    #[test]
    fn what_is_more_is_wrong_only_where_it_may_change_what_is_written() {
        for (change, wrong, besides) in [
            (
                "CREATE TABLE mine (a)",
                None,
                Some("the table `mine` is none of ours"),
            ),
            (
                "CREATE VIEW v AS SELECT x FROM a",
                None,
                Some("the view `v` is none of ours"),
            ),
            (
                "CREATE INDEX a_by_y ON a (y)",
                None,
                Some("the index `a_by_y` is none of ours"),
            ),
            (
                "CREATE UNIQUE INDEX a_by_y ON a (y)",
                Some(
                    "the index `a_by_y` is none of ours, and may refuse what is written: take it out with `DROP INDEX`",
                ),
                None,
            ),
            (
                "CREATE TRIGGER \"spy\n\" AFTER INSERT ON a BEGIN DELETE FROM b; END",
                Some(
                    "the trigger `spy\\n` is none of ours, and may change what is written: take it out with `DROP TRIGGER`",
                ),
                None,
            ),
        ] {
            let found = differences_after(2, change);
            let lines =
                |line: Option<&str>| line.map(str::to_owned).into_iter().collect::<Vec<_>>();
            assert_eq!(
                (found.wrong, found.besides),
                (lines(wrong), lines(besides)),
                "{change}"
            );
        }
        let found = differences_after(
            2,
            "CREATE TABLE mine (a); CREATE UNIQUE INDEX m ON mine (a)",
        );
        assert_eq!((found.wrong.len(), found.besides.len()), (0, 2));
    }
}
