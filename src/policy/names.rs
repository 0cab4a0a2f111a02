//! What policies name, held against what there is. A misspelt name in a forbid
//! would stop nothing, and nobody would notice.

use super::annotations::listed;
use super::bundle::Inputs;
use super::bundle::PolicyTool;
use super::load::Loaded;
use super::schema::BASE_ACTIONS;
use super::schema::BROKER;
use crate::nearest;
use cedar_policy::EntityUid;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Everything that a policy may name.
pub(super) struct Names<'a> {
    /// The tools of each server as `server/tool`; none where it was never seen.
    servers: BTreeMap<&'a str, Option<BTreeSet<String>>>,
    roles: BTreeSet<&'a str>,
    users: BTreeSet<String>,
    teams: BTreeSet<&'a str>,
    agents: BTreeSet<&'a str>,
}

/// What became of the names in a policy.
pub(super) enum Checked {
    /// All of them exist.
    Known,
    /// A server that is configured and was never seen.
    NeverSeen(String),
    /// Some do not exist.
    Wrong(Vec<String>),
}

impl<'a> Names<'a> {
    pub(super) fn new(inputs: &Inputs<'a>) -> Self {
        let principals = inputs.principals;
        let by_id = principals.by_id.values();
        let ids = |tools: &[PolicyTool]| -> BTreeSet<String> {
            let ids = tools.iter().map(|tool| tool.definition.id.to_string());
            ids.collect()
        };
        let servers = inputs.servers.iter();
        let servers = servers.map(|server| {
            let tools = server.tools.as_ref().map(|tools| ids(tools));
            (server.name.as_str(), tools)
        });
        Self {
            servers: servers.chain([(BROKER, Some(ids(inputs.own)))]).collect(),
            roles: principals.roles.keys().map(String::as_str).collect(),
            users: principals.by_id.keys().map(ToString::to_string).collect(),
            teams: by_id
                .clone()
                .flat_map(|p| p.teams.iter().map(String::as_str))
                .collect(),
            agents: by_id
                .filter_map(|p| p.agent.as_ref().map(|agent| agent.name.as_str()))
                .collect(),
        }
    }

    pub(super) fn roles(&self) -> &BTreeSet<&'a str> {
        &self.roles
    }

    /// Checks the names in one policy. Names of people that are unknown only
    /// warn: people come and go, and a name that matches nobody permits nothing.
    pub(super) fn check(&self, loaded: &Loaded, warnings: &mut Vec<String>) -> Checked {
        let mut wrong = Vec::new();
        let mut never_seen = None;
        let mut literals = loaded.policy.entity_literals();
        literals.sort_by_key(ToString::to_string);
        literals.dedup();
        for literal in literals {
            match self.literal(&literal) {
                Found::Known => {}
                Found::NeverSeen(server) => never_seen = Some(server),
                Found::Wrong(what) => wrong.push(what),
                Found::Unknown(what) => warnings.push(loaded.problem(what)),
            }
        }
        match (wrong.is_empty(), never_seen) {
            (false, _) => Checked::Wrong(wrong),
            (true, Some(server)) => Checked::NeverSeen(server),
            (true, None) => Checked::Known,
        }
    }

    fn literal(&self, literal: &EntityUid) -> Found {
        let id = literal.id().unescaped();
        let kind = literal.type_name().to_string();
        match kind.as_str() {
            "Broker::Action" if BASE_ACTIONS.contains(&id) => Found::Known,
            "Broker::Action" => match id.strip_prefix("server:") {
                Some(server) => self.server(server),
                None => self.tool("action", id),
            },
            "Broker::Tool" => self.tool("tool", id),
            "Broker::Server" => self.server(id),
            "Broker::Role" if !self.roles.contains(id) => Found::Wrong(format!(
                "it names the role `{id}`, which nobody declared{}: the roles are {}",
                nearest::meant(id, self.roles.iter().copied()),
                listed(&self.roles)
            )),
            "Broker::User" if !self.users.contains(id) => {
                Found::Unknown(format!("it names the user `{id}`, who is no principal"))
            }
            "Broker::Team" if !self.teams.contains(id) => {
                Found::Unknown(format!("it names the team `{id}`, which nobody is in"))
            }
            "Broker::Agent" if !self.agents.contains(id) => {
                Found::Unknown(format!("it names the agent `{id}`, which acts for nobody"))
            }
            // A type that does not exist is found by Cedar's own validation.
            _ => Found::Known,
        }
    }

    fn server(&self, server: &str) -> Found {
        match self.servers.get(server) {
            Some(Some(_)) => Found::Known,
            Some(None) => Found::NeverSeen(server.to_owned()),
            None => self.unconfigured(server, server),
        }
    }

    fn tool(&self, kind: &str, id: &str) -> Found {
        let Some((server, _)) = id.split_once('/') else {
            return Found::Wrong(format!(
                "it names the {kind} `{id}`{}: write `server/tool`, or for all calls `tools/call`, `read`, `write` or `server:name`",
                self.without_server(id)
            ));
        };
        match self.servers.get(server) {
            Some(Some(tools)) if tools.contains(id) => Found::Known,
            Some(Some(tools)) => {
                let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
                Found::Wrong(format!(
                    "it names `{id}`, which the server `{server}` does not have{}: its tools are {}",
                    meant_tool(id, &tools),
                    listed(&tools)
                ))
            }
            Some(None) => Found::NeverSeen(server.to_owned()),
            None => self.unconfigured(server, id),
        }
    }

    /// A server that is not there, in a name of it or of something of its.
    fn unconfigured(&self, server: &str, whole: &str) -> Found {
        let servers: Vec<&str> = self.servers.keys().copied().collect();
        let meant = match nearest::meant(server, servers.iter().copied()) {
            near if near.is_empty() => nearest::meant(whole, BASE_ACTIONS.into_iter()),
            near => near,
        };
        Found::Wrong(format!(
            "it names the server `{server}`, which is not configured{meant}: the servers are {}",
            listed(&servers)
        ))
    }

    /// What may have been meant by a tool that is named without its server.
    fn without_server(&self, name: &str) -> String {
        let known = self.servers.values().flatten().flatten();
        let known: Vec<&str> = known.map(String::as_str).collect();
        let groups = BASE_ACTIONS.into_iter().chain(known.iter().copied());
        match nearest::meant(name, groups) {
            near if near.is_empty() => meant_tool(&format!("/{name}"), &known),
            near => near,
        }
    }
}

/// The tool of `server/tool` that may have been meant. What they have in common by their
/// server says nothing.
pub(super) fn meant_tool(id: &str, known: &[&str]) -> String {
    let near = nearest::nearest(own_name(id), known.iter().map(|id| own_name(id)));
    let near = near.and_then(|near| known.iter().find(|id| own_name(id) == near));
    near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

fn own_name(id: &str) -> &str {
    id.split_once('/').map_or("", |(_server, name)| name)
}

enum Found {
    Known,
    NeverSeen(String),
    /// A name that must exist and does not.
    Wrong(String),
    /// A name that need not exist.
    Unknown(String),
}
