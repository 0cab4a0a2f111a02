//! Which configuration is meant.

use crate::config;
use crate::visible;
use std::path::Path;
use std::path::PathBuf;

/// The one that was named, or the first of the usual places.
pub(super) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return there(path);
    }
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
        .map(|folder| folder.join("countersign/countersign.toml"));
    let places: Vec<PathBuf> = [Some(PathBuf::from("countersign.toml")), home]
        .into_iter()
        .flatten()
        .collect();
    if let Some(found) = places.iter().find(|place| place.is_file()) {
        return Ok(found.clone());
    }
    let looked: Vec<_> = places
        .iter()
        .map(|place| format!("`{}`", place.display()))
        .collect();
    anyhow::bail!(
        "there is no configuration at {}: begin with `countersign init`, or name one with `--config FILE` (`countersign example` shows every key of it)",
        looked.join(" or ")
    )
}

/// The one that was named, if it is there.
fn there(path: &Path) -> anyhow::Result<PathBuf> {
    let shown = path.display();
    anyhow::ensure!(
        !path.is_dir(),
        "`{shown}` is a folder: name the file in it, as in `--config {}`",
        visible::shell_word(&path.join("countersign.toml").to_string_lossy())
    );
    // A shell leaves `--config=~/x` as it is, and a client what it gives its servers.
    if let (Some(problem), false) = (config::of_a_shell(path), path.exists()) {
        anyhow::bail!("there is no configuration at `{shown}`: {problem}");
    }
    // It is read by its name, and may be no plain file (`<(…)`).
    anyhow::ensure!(
        path.exists(),
        "there is no configuration at `{shown}`: begin with `countersign init{}`, or name another with `--config FILE`",
        beginning(path)
    );
    Ok(path.to_owned())
}

/// What has `init` make the file of this name.
fn beginning(path: &Path) -> String {
    let folder = path.parent().filter(|one| !one.as_os_str().is_empty());
    match (path.file_name(), folder) {
        (Some(name), Some(folder)) if name == "countersign.toml" => {
            format!(" --dir {}", visible::shell_word(&folder.to_string_lossy()))
        }
        (Some(name), None) if name == "countersign.toml" => " --dir .".to_owned(),
        _ => String::new(),
    }
}
