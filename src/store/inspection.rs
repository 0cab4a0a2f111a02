//! Looking into a store without changing anything of it: one that may be damaged,
//! or a copy.

use super::Migration;
use super::StoreError;
use super::Tx;
use super::beside;
use super::connect;
use super::hold::Hold;
use super::migrate;
use super::must_be_no_text;
use super::pattern;
use super::pattern::Differences;
use super::room;
use super::wal;
use super::wal::Lost;
use crate::counted::Counted;
use rusqlite::Connection;
use rusqlite::OpenFlags;
use std::path::Path;
use std::path::PathBuf;

/// How many problems of one kind are told.
const TOLD: u32 = 20;

/// A store that is looked into.
#[derive(Debug)]
pub struct Inspection {
    path: PathBuf,
    connection: Connection,
    version: u32,
    /// How it differs from one of this version as we make it.
    differences: Differences,
    lost: Option<Lost>,
    /// The last to go: the file is not replaced meanwhile.
    _hold: Hold,
}

impl Inspection {
    /// Looks at a file: whether it is a store of ours, of a version that is known.
    ///
    /// # Errors
    ///
    /// When it is absent, cannot be read, is none of ours, or of a newer version.
    pub fn of(path: &Path, migrations: &[Migration]) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Absent {
                path: path.to_owned(),
            });
        }
        must_be_no_text(path)?;
        let hold = Hold::shared_if_there(&path.canonicalize().unwrap_or_else(|_gone| path.into()))?;
        // Before anything is opened: whoever closes a log last takes it away.
        let lost = wal::lost(path);
        let looked = || {
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let version = migrate::version_of(&connection, path, migrations)?;
            let differences = pattern::differences(&connection, version, migrations)
                .map_err(StoreError::sql("be compared with what it must have"))?;
            Ok((connection, version, differences))
        };
        let (connection, version, differences) =
            looked().map_err(|error: StoreError| match lost {
                Some(lost) => StoreError::Broken {
                    path: path.to_owned(),
                    what: lost.told(),
                },
                None => room::why_not_opened(error.of_file(path), path),
            })?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            version,
            differences,
            lost,
            _hold: hold,
        })
    }

    /// Its version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How many bytes are in the file, and how many in the log beside it.
    pub fn bytes(&self) -> (u64, u64) {
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        (bytes(&self.path), bytes(&beside(&self.path, "-wal")))
    }

    /// What it has besides what we made, and does no harm, one line each.
    pub fn besides(&self) -> &[String] {
        &self.differences.besides
    }

    /// What does not fit together in the file: structure, parts that are not as they are
    /// in a store of its version, and rows that name others which are not there.
    ///
    /// # Errors
    ///
    /// When it cannot be read at all.
    pub fn problems(&self) -> Result<Vec<String>, StoreError> {
        let list = |sql: &str, told: fn(&rusqlite::Row<'_>) -> rusqlite::Result<String>| {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], told)?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        let told = || {
            let structure = format!("PRAGMA integrity_check({TOLD})");
            let mut problems = list(&structure, |row| row.get(0))?;
            problems.retain(|problem| problem != "ok");
            let strays = format!(
                "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check
                 GROUP BY 1, 2 LIMIT {TOLD}"
            );
            problems.extend(list(&strays, |row| {
                let (table, parent): (String, String) = (row.get(0)?, row.get(1)?);
                let count: u32 = row.get(2)?;
                Ok(format!(
                    "{} of `{table}` without its `{parent}`",
                    Counted(count, "row")
                ))
            })?);
            Ok(problems)
        };
        let mut problems = told()
            .map_err(StoreError::sql("be checked"))
            .map_err(|error| error.of_file(&self.path))?;
        problems.extend(self.differences.wrong.iter().cloned());
        problems.extend(self.lost.map(Lost::told));
        Ok(problems)
    }

    /// Runs `work` on what it holds.
    ///
    /// # Errors
    ///
    /// What `work` returned.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        work(&Tx {
            connection: &self.connection,
            store: &self.path,
        })
    }
}
