//! What a server is started with: the program, found before anything is
//! spawned so that its absence has a clear message, and the environment.

use rustix::fs::Access;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

/// The variables of ours that every server gets: what the MCP SDKs hand on by
/// default, and what locale, time zone and temporary files need. Anything else,
/// above all a credential, is for the operator to give.
const INHERITED: [&str; 13] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SYSTEMROOT",
    "TERM",
    "TMPDIR",
    "TZ",
    "TZDIR",
    "USER",
];

/// The whole environment of a server: the few variables of ours, and over them
/// those that the operator gave.
pub(super) fn environment(given: &BTreeMap<String, String>) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<OsString, OsString> = INHERITED
        .into_iter()
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
        .collect();
    all.extend(
        given
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    all
}

/// Finds the program of a command as the child would: by its path, or on the
/// child's `PATH`. Paths are taken from the folder that the child runs in.
///
/// # Errors
///
/// In words that say what to do, where there is no such program.
pub(super) fn find(command: &str, path: Option<&OsStr>, folder: &Path) -> Result<PathBuf, String> {
    if command.is_empty() {
        return Err("the command is empty".to_owned());
    }
    if command.contains('/') {
        let program = folder.join(command);
        return match usability(&program) {
            Usability::Runs => Ok(program),
            Usability::CannotRun => Err(format!(
                "`{}` is no program that we may run: check its permissions",
                program.display()
            )),
            Usability::Folder => Err(format!(
                "`{}` is a folder: name the program in it",
                program.display()
            )),
            Usability::Absent => {
                let hint = match arguments_within(command) {
                    "" => of_a_shell(&program),
                    hint => hint,
                };
                Err(format!("`{}` does not exist{hint}", program.display()))
            }
        };
    }
    let path = path.unwrap_or_default();
    let mut forbidden = None;
    for place in std::env::split_paths(path) {
        let program = folder.join(place).join(command);
        match usability(&program) {
            Usability::Runs => return Ok(program),
            Usability::CannotRun => forbidden = forbidden.or(Some(program)),
            Usability::Folder | Usability::Absent => {}
        }
    }
    Err(match forbidden {
        Some(program) => format!(
            "`{}` is no program that we may run: check its permissions",
            program.display()
        ),
        None => {
            let place = path.to_string_lossy();
            match arguments_within(command) {
                "" => format!(
                    "`{command}` was not found on PATH ({place}): install it or give the full path"
                ),
                hint => format!("`{command}` was not found on PATH ({place}){hint}"),
            }
        }
    })
}

/// What is said of a command that looks as if its arguments stood in it.
fn arguments_within(command: &str) -> &'static str {
    match command.trim().contains(char::is_whitespace) {
        true => ": a command is the program alone, its arguments go into `args`",
        false => "",
    }
}

/// What is said of a path that is not there and has a `~` for somebody's home.
pub(super) fn of_a_shell(path: &Path) -> &'static str {
    match path.components().any(|part| part.as_os_str() == "~") {
        true => ": only a shell reads `~` as a home, so write the whole path",
        false => "",
    }
}

enum Usability {
    Runs,
    CannotRun,
    Folder,
    Absent,
}

fn usability(program: &Path) -> Usability {
    match std::fs::metadata(program) {
        Ok(found) if found.is_file() => match rustix::fs::access(program, Access::EXEC_OK) {
            Ok(()) => Usability::Runs,
            Err(_) => Usability::CannotRun,
        },
        Ok(found) if found.is_dir() => Usability::Folder,
        Ok(_) | Err(_) => Usability::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_is_found_by_path_or_on_the_path_of_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, mode| {
            let file = folder.path().join(name);
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            file
        };
        let (runs, plain) = (place("runs", 0o755), place("plain", 0o644));
        let on_path = |command| find(command, Some(folder.path().as_os_str()), Path::new("/"));
        assert_eq!(on_path("runs"), Ok(runs.clone()));
        assert_eq!(on_path(runs.to_str().unwrap()), Ok(runs.clone()));
        assert_eq!(
            find("./runs", None, folder.path()).map(|p| p.exists()),
            Ok(true)
        );
        assert!(on_path("plain").unwrap_err().contains("permissions"));
        assert!(
            on_path(plain.to_str().unwrap())
                .unwrap_err()
                .contains("permissions")
        );
        assert_eq!(
            on_path("npx").unwrap_err(),
            format!(
                "`npx` was not found on PATH ({}): install it or give the full path",
                folder.path().display()
            )
        );
        assert!(on_path("/no/such").unwrap_err().contains("does not exist"));
        assert!(on_path("").is_err());
        let folder = folder.path().to_str().unwrap();
        assert!(on_path(folder).unwrap_err().contains("is a folder"));
        let problem = on_path("~/bin/files").unwrap_err();
        assert!(
            problem.ends_with("/bin/files` does not exist: only a shell reads `~` as a home, so write the whole path"),
            "{problem}"
        );
        for within in ["npx -y files", "/no/such --flag"] {
            let problem = on_path(within).unwrap_err();
            assert!(problem.contains("go into `args`"), "{problem}");
        }
    }

    #[test]
    fn what_the_operator_gives_stands_over_what_is_inherited() {
        let given = BTreeMap::from([("PATH".to_owned(), "/x".to_owned())]);
        let all = environment(&given);
        assert_eq!(all.get(OsStr::new("PATH")), Some(&OsString::from("/x")));
        assert!(!all.contains_key(OsStr::new("CARGO_MANIFEST_DIR")));
    }
}
