//! Paths of the configuration. They begin at its folder, and `~` is a name like any other,
//! which only a shell takes for somebody's home: whoever writes it means that, and would
//! get a folder of that name.

use std::path::Path;
use std::path::PathBuf;

/// Where a path leads, or the key with what is wrong: it begins with `~`, and nothing is
/// there.
pub(super) fn within<'k>(
    folder: &Path,
    path: &Path,
    key: &'k str,
) -> Result<PathBuf, (&'k str, String)> {
    let leads = folder.join(path);
    match of_a_shell(path) {
        Some(problem) if !leads.exists() => Err((key, problem)),
        _ => Ok(leads),
    }
}

/// What is wrong with a path that only a shell can read; none with another.
pub fn of_a_shell(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("~").ok()?;
    let home = std::env::home_dir().unwrap_or_else(|| "/home/NAME".into());
    Some(format!(
        "`{}` begins with `~`, which only a shell reads: write the whole path, `{}`",
        path.display(),
        home.join(inside).display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_shell_is_refused_unless_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let read = |path: &str| within(folder, Path::new(path), "store.path");
        let (key, problem) = read("~/x.db").unwrap_err();
        assert_eq!(key, "store.path");
        let whole = std::env::home_dir().unwrap().join("x.db");
        let told = format!(
            "`~/x.db` begins with `~`, which only a shell reads: write the whole path, `{}`",
            whole.display()
        );
        assert_eq!(problem, told);
        for path in ["x.db", "/x.db", "~x.db", "a/~/x.db"] {
            assert_eq!(read(path), Ok(folder.join(path)));
        }
        // Whoever has such a folder has it.
        std::fs::create_dir(folder.join("~")).unwrap();
        assert!(read("~/x.db").is_err());
        std::fs::write(folder.join("~/x.db"), "").unwrap();
        assert_eq!(read("~/x.db"), Ok(folder.join("~/x.db")));
    }
}
