//! What the file of a store must have, by its version: a table that somebody took out
//! leaves a file that is whole by itself.

use super::Migration;
use super::migrate;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// How many are named one by one.
const TOLD: usize = 20;

/// Tables, indices and triggers by kind and name.
type Parts = BTreeMap<(String, String), Part>;

/// What is compared of one.
#[derive(Default)]
struct Part {
    /// Of a table its columns.
    columns: BTreeSet<String>,
    /// Of an index and a trigger the statement that made it. That of a table SQLite
    /// writes anew with each column.
    made_by: Option<String>,
}

/// What a store of this version has and `connection` has not, one line each.
pub(super) fn missing(
    connection: &Connection,
    version: u32,
    migrations: &[Migration],
) -> rusqlite::Result<Vec<String>> {
    let wanted = parts(&migrate::pattern(version, migrations)?)?;
    let found = parts(connection)?;
    let mut missing = Vec::new();
    for ((kind, name), part) in wanted {
        let Some(there) = found.get(&(kind.clone(), name.clone())) else {
            missing.push(format!("the {kind} `{name}` is missing"));
            continue;
        };
        let lacks = part.columns.difference(&there.columns);
        missing
            .extend(lacks.map(|column| format!("the {kind} `{name}` lacks its column `{column}`")));
        if part.made_by != there.made_by {
            missing.push(format!("the {kind} `{name}` is not the one that we made"));
        }
    }
    let more = missing.len().saturating_sub(TOLD);
    missing.truncate(TOLD);
    if more > 0 {
        missing.push(format!("{more} more parts of the store are missing"));
    }
    Ok(missing)
}

fn parts(connection: &Connection) -> rusqlite::Result<Parts> {
    let mut statement = connection.prepare(
        "SELECT part.type, part.name, col.name,
                CASE WHEN part.type IN ('index', 'trigger') THEN part.sql END
         FROM sqlite_schema AS part
         LEFT JOIN pragma_table_xinfo(part.name) AS col ON part.type = 'table'
         WHERE part.name NOT LIKE 'sqlite!_%' ESCAPE '!'",
    )?;
    let mut rows = statement.query([])?;
    let mut parts = Parts::new();
    while let Some(row) = rows.next()? {
        let part: &mut Part = parts.entry((row.get(0)?, row.get(1)?)).or_default();
        part.columns.extend(row.get::<_, Option<String>>(2)?);
        let made_by = row.get::<_, Option<String>>(3)?;
        part.made_by = made_by.as_deref().map(plain);
    }
    Ok(parts)
}

/// A statement apart from how it is laid out, and from the quotes that SQLite puts around
/// the name of a table that was renamed.
fn plain(statement: &str) -> String {
    let unquoted = statement.replace('"', "");
    unquoted.split_whitespace().collect::<Vec<_>>().join(" ")
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
            sql: &["CREATE TABLE b (z);
                CREATE TRIGGER no_b BEFORE DELETE ON b BEGIN SELECT 1; END;"],
        },
    ];

    fn missing_after(version: u32, change: &str) -> Vec<String> {
        let store = migrate::pattern(version, &STEPS).unwrap();
        store.execute_batch(change).unwrap();
        missing(&store, version, &STEPS).unwrap()
    }

    #[test]
    fn what_was_taken_out_is_named_and_what_is_more_is_let_pass() {
        let none = [] as [&str; 0];
        assert_eq!(missing_after(2, "CREATE TABLE mine (a)"), none);
        // Of an older version the newer tables are not missing.
        assert_eq!(missing_after(1, ""), none);
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
            ("DROP INDEX a_by_x; CREATE INDEX\n  a_by_x ON a  (x)", &[]),
            ("ALTER TABLE b RENAME TO c; ALTER TABLE c RENAME TO b", &[]),
        ] {
            assert_eq!(missing_after(2, change), told, "{change}");
        }
    }
}
