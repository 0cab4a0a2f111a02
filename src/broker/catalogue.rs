//! The catalogue: which tools there are, under which names, with which gate.
//! Built when pins or policies change, never for a call.

use super::names;
use crate::downstream::Downstream;
use crate::json::Object;
use crate::json::Splice;
use crate::pins::Pin;
use crate::policy::Bundle;
use crate::policy::BundleError;
use crate::policy::Gate;
use crate::policy::Inputs;
use crate::policy::PolicyFile;
use crate::policy::PolicyServer;
use crate::policy::PolicyTool;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::tool::Digest;
use crate::tool::Mirrored;
use crate::tool::ServerName;
use crate::tool::ToolId;
use crate::tool::ToolRules;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What an operator can change while the broker runs.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The policy files.
    pub files: Vec<PolicyFile>,
    /// Who there is.
    pub principals: Principals,
}

/// What the configuration says of one server, as far as policy cares.
#[derive(Clone, Debug, Default)]
pub struct ServerRules {
    /// How far the operator trusts it, in his own words.
    pub trust: String,
    /// What he says of its tools, by their own names.
    pub tools: BTreeMap<String, ToolRules>,
}

/// Where one exposed name leads.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) tool: ToolId,
    pub(super) gate: Arc<Gate>,
    /// The digest of the policy set that the gate belongs to.
    pub(super) policies: Digest,
    pub(super) downstream: Downstream,
    /// The digest of the pin.
    pub(super) definition: Digest,
    /// The arguments that are repeated in headers.
    pub(super) mirrored: Arc<[Mirrored]>,
    /// The server says something else of it than what was pinned.
    pub(super) changed: bool,
}

impl Route {
    /// How long a call may take.
    pub(super) fn deadline(&self) -> Duration {
        let own = self.gate.rules().timeout;
        own.unwrap_or_else(|| self.downstream.timeout())
    }
}

/// One tool as clients see it.
#[derive(Debug)]
struct Listed {
    tool: ToolId,
    json: Arc<str>,
}

/// Everything that calls and lists are answered from, swapped whole.
#[derive(Debug)]
pub struct Catalogue {
    bundle: Bundle,
    routes: HashMap<String, Arc<Route>>,
    listed: Vec<Listed>,
    refused: Vec<String>,
}

impl Catalogue {
    /// Builds the catalogue, and with it the policies for these tools.
    ///
    /// # Errors
    ///
    /// When the policies are not valid for them.
    pub fn build(
        rules: &Rules,
        servers: &BTreeMap<ServerName, ServerRules>,
        pins: &BTreeMap<ServerName, Vec<Pin>>,
        downstreams: &BTreeMap<ServerName, Downstream>,
        (money_scale, longest_name): (u8, usize),
    ) -> Result<Self, BundleError> {
        let bundle = Bundle::build(&Inputs {
            files: &rules.files,
            servers: &policy_servers(servers, pins),
            principals: &rules.principals,
            money_scale,
        })?;
        let mut catalogue = Self {
            bundle,
            routes: HashMap::new(),
            listed: Vec::new(),
            refused: Vec::new(),
        };
        for (server, downstream) in downstreams {
            let listed = pins.get(server).into_iter().flatten();
            for pin in listed.filter(|pin| pin.listed) {
                catalogue.add(pin, downstream, longest_name);
            }
        }
        catalogue
            .listed
            .retain(|listed| catalogue.routes.values().any(|r| r.tool == listed.tool));
        Ok(catalogue)
    }

    /// The Cedar schema of these tools and principals, whatever the policies are.
    ///
    /// # Errors
    ///
    /// When what the operator says of the tools does not fit them.
    pub fn schema(
        rules: &Rules,
        servers: &BTreeMap<ServerName, ServerRules>,
        pins: &BTreeMap<ServerName, Vec<Pin>>,
        money_scale: u8,
    ) -> Result<String, BundleError> {
        Bundle::schema_of(&Inputs {
            files: &[],
            servers: &policy_servers(servers, pins),
            principals: &rules.principals,
            money_scale,
        })
    }

    fn add(&mut self, pin: &Pin, downstream: &Downstream, longest_name: usize) {
        let tool = &pin.definition.id;
        let name = names::exposed(tool, longest_name);
        let Some(gate) = self.bundle.gate(tool) else {
            self.refused.push(format!("`{tool}` has no policy action"));
            return;
        };
        let route = Arc::new(Route {
            tool: tool.clone(),
            gate: Arc::clone(gate),
            policies: self.bundle.digest(),
            downstream: downstream.clone(),
            definition: pin.definition.digest,
            // Where they break a rule, no client follows them.
            mirrored: Mirrored::of(&pin.definition.input_schema)
                .unwrap_or_default()
                .into(),
            changed: pin.changed.is_some(),
        });
        if let Some(other) = self.routes.get(&name) {
            self.refused.push(format!(
                "`{tool}` and `{}` would both be called `{name}`: neither is offered",
                other.tool
            ));
            // The name stays taken by nobody, so that a third tool does not get it.
            self.routes.remove(&name);
            return;
        }
        self.listed.push(Listed {
            tool: tool.clone(),
            json: renamed(&pin.definition.json, &name),
        });
        self.routes.insert(name, route);
    }

    /// The policies in force.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Tools that are not offered, and why.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// The tools of this catalogue with their exposed names, by name.
    pub fn names(&self) -> BTreeMap<&str, &ToolId> {
        let routes = self.routes.iter();
        routes.map(|(name, r)| (name.as_str(), &r.tool)).collect()
    }

    pub(super) fn route(&self, name: &str) -> Option<Arc<Route>> {
        self.routes.get(name).map(Arc::clone)
    }

    /// Whether a principal may know of a tool. A tool that changed since it was
    /// pinned is in nobody's list, and whoever had it there should read why.
    pub(super) fn shows(&self, principal: &PrincipalId, route: &Route) -> bool {
        if route.changed {
            self.bundle.listed(principal, &route.tool)
        } else {
            self.bundle.lists(principal, &route.tool)
        }
    }

    /// The entries of `tools/list` that a principal may see, in one order.
    pub fn visible(&self, principal: &PrincipalId) -> Vec<Arc<str>> {
        let listed = self.listed.iter();
        listed
            .filter(|listed| self.bundle.lists(principal, &listed.tool))
            .map(|listed| Arc::clone(&listed.json))
            .collect()
    }
}

/// The definition as its server wrote it, but for the name.
fn renamed(json: &str, name: &str) -> Arc<str> {
    let written = Object::parse(json).ok().and_then(|tool| tool.get("name"));
    let name = serde_json::Value::from(name).to_string();
    match written {
        Some(written) => Splice::new(json).replace(written, name).finish().into(),
        None => json.into(),
    }
}

fn policy_servers(
    servers: &BTreeMap<ServerName, ServerRules>,
    pins: &BTreeMap<ServerName, Vec<Pin>>,
) -> Vec<PolicyServer> {
    let servers = servers.iter().map(|(name, rules)| PolicyServer {
        name: name.clone(),
        trust: rules.trust.clone(),
        tools: pins.get(name).map(|pins| policy_tools(rules, pins)),
    });
    servers.collect()
}

fn policy_tools(rules: &ServerRules, pins: &[Pin]) -> Vec<PolicyTool> {
    let tools = pins.iter().map(|pin| PolicyTool {
        definition: Arc::clone(&pin.definition),
        rules: rules
            .tools
            .get(&*pin.definition.id.name)
            .cloned()
            .unwrap_or_default(),
        pinned: pin.changed.is_none(),
    });
    tools.collect()
}
