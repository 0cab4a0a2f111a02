//! Of what a modern client asks to be told.

use super::MAX_NAME;
use super::object;
use super::params::Body;
use super::params::MAX_URI;
use super::refuse_lookalikes;
use crate::json::Object;
use crate::mcp::write::Fault;
use crate::mcp::write::INVALID_PARAMS;
use std::collections::HashSet;

/// How many resources one request may follow, and how many tasks.
const MAX_FOLLOWED: usize = 256;

/// Of which changes a client wants to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of the list of tools.
    pub tools: bool,
    /// Of the list of prompts.
    pub prompts: bool,
    /// Of the lists of resources and of templates.
    pub resources: bool,
    /// Of these resources, each once.
    pub uris: Vec<Box<str>>,
    /// Of these tasks, each once (ext-tasks, task status notifications).
    pub tasks: Vec<Box<str>>,
}

/// Reads the filter of `subscriptions/listen`.
pub(super) fn listen(raw: Option<&str>) -> Result<Body, Fault> {
    let Some(filter) = object(raw, "notifications")? else {
        return Err(Fault::new(
            INVALID_PARAMS,
            "`params` needs `notifications`, an object like {\"toolsListChanged\":true}",
        ));
    };
    refuse_lookalikes(
        &filter,
        &[
            "toolsListChanged",
            "promptsListChanged",
            "resourcesListChanged",
            "resourceSubscriptions",
            "taskIds",
        ],
    )?;
    let wants = |key: &str| match filter.get(key).map(serde_json::from_str) {
        None => Ok(false),
        Some(Ok(wanted)) => Ok(wanted),
        Some(Err(_)) => Err(Fault::new(
            INVALID_PARAMS,
            format!("`{key}` must be true or false"),
        )),
    };
    Ok(Body::Listen(Wanted {
        tools: wants("toolsListChanged")?,
        prompts: wants("promptsListChanged")?,
        resources: wants("resourcesListChanged")?,
        uris: followed(&filter, ("resourceSubscriptions", "URIs", MAX_URI))?,
        tasks: followed(&filter, ("taskIds", "ids of tasks", MAX_NAME))?,
    }))
}

/// The resources or tasks of a filter, each once, in their order.
fn followed(
    filter: &Object<'_>,
    (key, what, longest): (&str, &str, usize),
) -> Result<Vec<Box<str>>, Fault> {
    let Some(raw) = filter.get(key) else {
        return Ok(Vec::new());
    };
    let named: Option<Vec<Box<str>>> = serde_json::from_str(raw).ok();
    let usable = |name: &str| !name.is_empty() && name.len() <= longest;
    let mut named = named
        .filter(|named| named.len() <= MAX_FOLLOWED && named.iter().all(|name| usable(name)))
        .ok_or_else(|| {
            let message = format!(
                "`{key}` must be a list of at most {MAX_FOLLOWED} {what} of 1 to {longest} bytes"
            );
            Fault::new(INVALID_PARAMS, message)
        })?;
    let mut seen = HashSet::new();
    named.retain(|name| seen.insert(name.clone()));
    Ok(named)
}
