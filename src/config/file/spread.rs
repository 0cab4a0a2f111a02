//! Servers at several places: `urls` and `affinity`.

use super::ServerSection;
use super::Wrong;
use super::wrong;
use crate::downstream::Affinity;
use crate::downstream::Place;
use crate::downstream::Remote;
use crate::downstream::Spread;
use serde::Deserialize;
use std::path::Path;

/// Whose calls go to one and the same replica.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AffinityWord {
    Session,
    Principal,
    None,
}

impl AffinityWord {
    fn meant(self) -> Affinity {
        match self {
            Self::Session => Affinity::Session,
            Self::Principal => Affinity::Principal,
            Self::None => Affinity::Nobody,
        }
    }
}

impl ServerSection {
    /// The first of its places, and how calls are spread over all of them.
    pub(super) fn places(&self, urls: &[String], folder: &Path) -> Result<(Place, Spread), Wrong> {
        if self.command.is_some() {
            return Err(wrong(
                "urls",
                "a server has a `command` or `urls`, not both: leave one out",
            ));
        }
        if self.url.is_some() {
            return Err(wrong(
                "urls",
                "a server has `url` or `urls`, not both: write all of them in `urls`",
            ));
        }
        let mut remotes: Vec<Remote> = Vec::new();
        for (place, url) in urls.iter().enumerate() {
            let key = format!("urls[{place}]");
            let remote = self.remote((&key, url), folder)?;
            if remotes.iter().any(|other| other.url() == remote.url()) {
                return Err(wrong(&key, "it stands there twice: leave one out"));
            }
            remotes.push(remote);
        }
        let mut remotes = remotes.into_iter();
        let Some(first) = remotes.next() else {
            return Err(wrong(
                "urls",
                "write the URL of each replica, like `[\"https://a.example/mcp\", \"https://b.example/mcp\"]`",
            ));
        };
        let spread = Spread {
            others: remotes.collect(),
            affinity: self.affinity.map(AffinityWord::meant).unwrap_or_default(),
        };
        Ok((Place::Remote(first), spread))
    }
}
