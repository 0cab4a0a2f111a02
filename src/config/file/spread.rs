//! Servers at several places (`urls`, `affinity`) and of several instances
//! (`instance` and what goes with it).

use super::NO_TIME;
use super::ServerSection;
use super::Wrong;
use super::whole;
use super::wrong;
use crate::broker::Resume;
use crate::downstream::Affinity;
use crate::downstream::Instance;
use crate::downstream::Instances;
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

/// Whose calls an instance takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum InstanceWord {
    #[default]
    Shared,
    PerSession,
    PerPrincipal,
}

impl InstanceWord {
    fn meant(self) -> Instance {
        match self {
            Self::Shared => Instance::Shared,
            Self::PerSession => Instance::PerSession,
            Self::PerPrincipal => Instance::PerPrincipal,
        }
    }
}

impl ServerSection {
    /// What is wrong with what is said of instances.
    pub(super) fn validate_instances(&self) -> Result<(), Wrong> {
        let shared = self.instance == InstanceWord::Shared;
        for (key, there) in [
            ("max_instances", self.max_instances.is_some()),
            ("instance_idle", self.instance_idle.is_some()),
        ] {
            if there && shared {
                let problem = "it goes with `instance = \"per-session\"` or `\"per-principal\"`: write that, or leave it out";
                return Err(wrong(key, problem));
            }
        }
        if self.max_instances == Some(0) {
            return Err(wrong("max_instances", "write a number above zero"));
        }
        if self.instance_idle.is_some_and(|idle| !idle.is_positive()) {
            return Err(wrong("instance_idle", NO_TIME));
        }
        if self.resume_tool.is_some() && self.instance != InstanceWord::PerSession {
            let problem = "only the instance of one session can be told to resume it: write `instance = \"per-session\"`, or leave it out";
            return Err(wrong("resume_tool", problem));
        }
        if self.resume_argument.is_some() && self.resume_tool.is_none() {
            let problem = "it goes with `resume_tool`: write that too, or leave it out";
            return Err(wrong("resume_argument", problem));
        }
        Ok(())
    }

    /// How many instances there are of the server.
    pub(super) fn instances(&self) -> Instances {
        let default = Instances::default();
        Instances {
            of: self.instance.meant(),
            most: self.max_instances.unwrap_or(default.most),
            idle: self.instance_idle.map_or(default.idle, whole),
        }
    }

    /// How a session's instance that was started again is told to resume.
    pub(super) fn resume(&self) -> Option<Resume> {
        let tool = self.resume_tool.as_deref()?;
        Some(Resume {
            tool: tool.into(),
            argument: self.resume_argument.as_deref().unwrap_or("session").into(),
        })
    }

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
