//! Which configuration is meant.

use std::path::Path;
use std::path::PathBuf;

/// The one that was named, or the first of the usual places.
pub(super) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
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
        "there is no configuration at {}: name one with `--config FILE`, or begin with `countersign example > countersign.toml`",
        looked.join(" or ")
    )
}
