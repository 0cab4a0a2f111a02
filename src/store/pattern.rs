//! What the file of a store must have, by its version: a table that somebody took out
//! leaves a file that is whole by itself.

use super::Migration;
use super::migrate;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// How many are named one by one.
const TOLD: usize = 20;

/// Tables, indices and triggers by kind and name, each table with its columns.
type Parts = BTreeMap<(String, String), BTreeSet<String>>;

/// What a store of this version has and `connection` has not, one line each.
pub(super) fn missing(
    connection: &Connection,
    version: u32,
    migrations: &[Migration],
) -> rusqlite::Result<Vec<String>> {
    let wanted = parts(&migrate::pattern(version, migrations)?)?;
    let found = parts(connection)?;
    let mut missing = Vec::new();
    for ((kind, name), columns) in wanted {
        match found.get(&(kind.clone(), name.clone())) {
            None => missing.push(format!("the {kind} `{name}` is missing")),
            Some(there) => missing.extend(
                columns
                    .difference(there)
                    .map(|column| format!("the {kind} `{name}` lacks its column `{column}`")),
            ),
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
        "SELECT part.type, part.name, col.name
         FROM sqlite_schema AS part
         LEFT JOIN pragma_table_xinfo(part.name) AS col ON part.type = 'table'
         WHERE part.name NOT LIKE 'sqlite!_%' ESCAPE '!'",
    )?;
    let mut rows = statement.query([])?;
    let mut parts = Parts::new();
    while let Some(row) = rows.next()? {
        let columns = parts.entry((row.get(0)?, row.get(1)?)).or_default();
        columns.extend(row.get::<_, Option<String>>(2)?);
    }
    Ok(parts)
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
        ] {
            assert_eq!(missing_after(2, change), told, "{change}");
        }
    }
}
