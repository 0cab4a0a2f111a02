//! Of what a modern client asks to be told.

use super::object;
use super::params::Body;
use super::params::MAX_URI;
use super::refuse_lookalikes;
use crate::mcp::write::Fault;
use crate::mcp::write::INVALID_PARAMS;
use std::collections::HashSet;

/// How many resources one request may follow.
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
        uris: followed(filter.get("resourceSubscriptions"))?,
    }))
}

/// The resources of a filter, each once, in their order.
fn followed(raw: Option<&str>) -> Result<Vec<Box<str>>, Fault> {
    let Some(raw) = raw else {
        return Ok(Vec::new());
    };
    let uris: Option<Vec<Box<str>>> = serde_json::from_str(raw).ok();
    let usable = |uri: &str| !uri.is_empty() && uri.len() <= MAX_URI;
    let mut uris = uris
        .filter(|uris| uris.len() <= MAX_FOLLOWED && uris.iter().all(|uri| usable(uri)))
        .ok_or_else(|| {
            let message = format!(
                "`resourceSubscriptions` must be a list of at most {MAX_FOLLOWED} URIs of 1 to {MAX_URI} bytes"
            );
            Fault::new(INVALID_PARAMS, message)
        })?;
    let mut seen = HashSet::new();
    uris.retain(|uri| seen.insert(uri.clone()));
    Ok(uris)
}
