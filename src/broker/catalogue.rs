//! The catalogue: which tools there are, under which names, with which gate.
//! Built when pins or policies change, never for a call.

mod has;

pub use has::Has;

use super::names;
use super::own;
use super::own::OWN;
use super::own::Own;
use super::own::OwnTools;
use super::own::pages;
use super::resources::Listing;
use super::resources::Owners;
use super::said::ServerRules;
use super::tasks::only_as_task;
use crate::downstream::Replicas;
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
use crate::tool::Asking;
use crate::tool::Digest;
use crate::tool::Kind;
use crate::tool::Lists;
use crate::tool::Meter;
use crate::tool::Mirrored;
use crate::tool::Offered;
use crate::tool::ServerName;
use crate::tool::TaskAsk;
use crate::tool::ToolDefinition;
use crate::tool::ToolId;
use crate::tool::ToolRules;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
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

/// Where one exposed name leads.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) tool: ToolId,
    pub(super) gate: Arc<Gate>,
    /// The digest of the policy set that the gate belongs to.
    pub(super) policies: Digest,
    pub(super) leads: Leads,
    /// The digest of the pin.
    pub(super) definition: Digest,
    /// The arguments that are repeated in headers.
    pub(super) mirrored: Arc<[Mirrored]>,
    /// The server says something else of it than what was pinned.
    pub(super) changed: bool,
    /// To whom the server offers it.
    pub(super) offered: Offered,
    /// Its server of before 2026-07-28 takes no call of it that becomes no task.
    pub(super) only_as_task: bool,
}

/// Who answers a call.
#[derive(Clone, Debug)]
pub(super) enum Leads {
    /// A server.
    Out(Replicas),
    /// The broker itself.
    Own(Own),
}

impl Route {
    /// How long a call may take.
    pub(super) fn deadline(&self) -> Duration {
        let own = self.gate.rules().timeout;
        own.unwrap_or_else(|| match &self.leads {
            Leads::Out(downstream) => downstream.timeout(),
            Leads::Own(_) => Duration::MAX,
        })
    }
}

/// One tool or prompt as clients see it.
#[derive(Debug)]
struct Listed {
    route: Arc<Route>,
    json: Arc<str>,
}

/// What else a catalogue depends on.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// How many digits of money are minor units (2 for cents).
    pub money_scale: u8,
    /// How tools and prompts are named towards clients.
    pub naming: Naming,
    /// The meters that the operator declared.
    pub meters: &'a [Arc<Meter>],
    /// What is offered of the broker's own tools.
    pub own: &'a OwnTools,
}

/// How tools and prompts are named towards clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `server__tool`, at most so many characters.
    Prefixed {
        /// How many.
        longest: usize,
    },
    /// As the one server names them.
    Plain,
}

/// What there is to know of the servers.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What was pinned of each that was ever seen.
    pub pins: &'a BTreeMap<ServerName, Vec<Pin>>,
    /// What is known of the resources of each.
    pub resources: &'a BTreeMap<ServerName, Listing>,
    /// The way to each.
    pub downstreams: &'a BTreeMap<ServerName, Replicas>,
}

/// Everything that calls and lists are answered from, swapped whole.
#[derive(Debug)]
pub struct Catalogue {
    bundle: Bundle,
    tools: Named,
    prompts: Named,
    /// What can be asked of a server besides its tools and prompts.
    others: HashMap<(ServerName, Asking), Arc<Route>>,
    owners: Owners,
    /// Whether a person may come to decide on a call.
    decides: bool,
    refused: Vec<String>,
}

/// Tools or prompts under their exposed names.
#[derive(Debug, Default)]
struct Named {
    routes: HashMap<String, Arc<Route>>,
    listed: Vec<Listed>,
    /// Names that two of them would have, so that neither does.
    clashing: HashSet<String>,
}

impl Named {
    fn add(&mut self, name: String, route: Arc<Route>, json: Arc<str>, refused: &mut Vec<String>) {
        if self.clashing.contains(&name) {
            refused.push(format!(
                "`{}` would be called `{name}` like others: none is offered",
                route.tool
            ));
            return;
        }
        if let Some(other) = self.routes.remove(&name) {
            refused.push(format!(
                "`{}` and `{}` would both be called `{name}`: neither is offered",
                route.tool, other.tool
            ));
            self.listed
                .retain(|listed| !Arc::ptr_eq(&listed.route, &other));
            self.clashing.insert(name);
            return;
        }
        self.listed.push(Listed {
            route: Arc::clone(&route),
            json,
        });
        self.routes.insert(name, route);
    }
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
        known: Known<'_>,
        shape: Shape<'_>,
    ) -> Result<Self, BundleError> {
        let own = own::definitions();
        let bundle = Bundle::build(&Inputs {
            files: &rules.files,
            servers: &policy_servers(servers, known.pins),
            own: &policy_own(&own),
            principals: &rules.principals,
            money_scale: shape.money_scale,
            meters: shape.meters,
        })?;
        let mut catalogue = Self {
            bundle,
            tools: Named::default(),
            prompts: Named::default(),
            others: HashMap::new(),
            owners: Owners::default(),
            decides: false,
            refused: Vec::new(),
        };
        for (server, downstream) in known.downstreams {
            let listed = known.pins.get(server).into_iter().flatten();
            for (pin, offered) in listed.filter_map(|pin| Some((pin, pin.offered()?))) {
                let tool = &pin.definition.id;
                let name = match shape.naming {
                    Naming::Prefixed { longest } => names::exposed(tool, longest),
                    Naming::Plain => tool.native().to_owned(),
                };
                let leads = Leads::Out(downstream.clone());
                let how = (pin.changed.is_some(), offered);
                catalogue.add(&pin.definition, (leads, name), how);
            }
        }
        for (tool, definition) in own.iter().filter(|_| shape.own.offered) {
            let name = shape.own.name(*tool, &definition.id);
            catalogue.add(definition, (Leads::Own(*tool), name), (false, Offered::All));
        }
        let mut routes = catalogue.tools.routes.values();
        catalogue.decides = shape.own.offered && routes.any(|route| route.gate.may_escalate());
        let readable = catalogue.others.keys();
        let readable = readable.filter(|(_, asking)| *asking == Asking::Read);
        let readable = readable.map(|(server, _)| server.clone()).collect();
        let mut resources = known.resources.clone();
        if let (true, Some((_, page))) = (shape.own.offered, own.first()) {
            let listing = Listing::of(Arc::new(pages::listing()));
            resources.insert(page.id.server.clone(), listing);
        }
        catalogue.owners = Owners::new(resources, readable);
        let contested = catalogue.owners.contested();
        let contested: Vec<String> = contested
            .map(|uri| {
                format!(
                    "the resource `{uri}` is listed by several servers: nobody can say whose it is, so it is not offered"
                )
            })
            .collect();
        catalogue.refused.extend(contested);
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
        shape: Shape<'_>,
    ) -> Result<String, BundleError> {
        Bundle::schema_of(&Inputs {
            files: &[],
            servers: &policy_servers(servers, pins),
            own: &policy_own(&own::definitions()),
            principals: &rules.principals,
            money_scale: shape.money_scale,
            meters: shape.meters,
        })
    }

    fn add(
        &mut self,
        definition: &ToolDefinition,
        (leads, name): (Leads, String),
        (changed, offered): (bool, Offered),
    ) {
        let tool = &definition.id;
        let Some(gate) = self.bundle.gate(tool) else {
            self.refused.push(format!(
                "`{tool}` has no policy action, so it is not offered"
            ));
            return;
        };
        let route = Arc::new(Route {
            tool: tool.clone(),
            gate: Arc::clone(gate),
            policies: self.bundle.digest(),
            leads,
            definition: definition.digest,
            // Where they break a rule, no client follows them.
            mirrored: Mirrored::of(&definition.input_schema)
                .unwrap_or_default()
                .into(),
            changed,
            offered,
            only_as_task: only_as_task(&definition.json),
        });
        let json = &*definition.json;
        match tool.asking() {
            Asking::Tool => {
                let entry = renamed(json, &name);
                self.tools.add(name, route, entry, &mut self.refused);
            }
            Asking::Prompt => {
                let whole = Object::parse(json).ok();
                let entry = whole.and_then(|whole| whole.get("prompt")).unwrap_or(json);
                let entry = renamed(entry, &name);
                self.prompts.add(name, route, entry, &mut self.refused);
            }
            asking @ (Asking::Read | Asking::Subscribe | Asking::Complete | Asking::Task(_)) => {
                self.others.insert((tool.server.clone(), asking), route);
            }
        }
    }

    /// The policies in force.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What is not offered, and why.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// The tools of this catalogue with their exposed names, by name.
    pub fn names(&self) -> BTreeMap<&str, &ToolId> {
        let routes = self.tools.routes.iter();
        routes.map(|(name, r)| (name.as_str(), &r.tool)).collect()
    }

    /// What there is besides tools.
    pub fn has(&self) -> Has {
        let has = |asking| {
            let mut others = self.others.keys();
            others.any(|(server, other)| *other == asking && server.as_str() != OWN)
        };
        // Ours are there always, where its tools are.
        let reads = |asking| self.others.keys().any(|(_, other)| *other == asking);
        let mut tools = self.tools.routes.values();
        Has {
            prompts: !self.prompts.routes.is_empty(),
            resources: reads(Asking::Read),
            subscriptions: reads(Asking::Subscribe),
            completions: has(Asking::Complete),
            logging: false,
            decides: self.decides,
            // Each revision has one of its own.
            tasks: self.decides
                || has(Asking::Task(TaskAsk::Update))
                || tools.any(|tool| self.only_as_task(tool)),
            asked_tasks: has(Asking::Task(TaskAsk::Result)),
            apps: false,
        }
    }

    /// Where a name or a URI leads; completion is found by what it completes.
    pub(super) fn route(&self, asking: Asking, name: &str) -> Option<Arc<Route>> {
        match asking {
            Asking::Tool => self.tools.routes.get(name).map(Arc::clone),
            Asking::Prompt => self.prompts.routes.get(name).map(Arc::clone),
            Asking::Read | Asking::Subscribe => {
                let server = self.owners.of(name)?;
                self.other(server, asking)
            }
            // Whose it is only the store knows.
            Asking::Task(_) => None,
            Asking::Complete => {
                let server = self.owners.of_template(name)?;
                self.other(server, asking)
            }
        }
    }

    /// What one of our own tools is called, where this principal has it.
    pub(super) fn own_tool(&self, own: Own, principal: &PrincipalId) -> Option<Box<str>> {
        let mut routes = self.tools.routes.iter();
        let (name, route) =
            routes.find(|(_, route)| matches!(&route.leads, Leads::Own(it) if *it == own))?;
        self.shows(principal, route).then(|| name.as_str().into())
    }

    /// What a tool is called towards clients.
    pub(super) fn exposed(&self, tool: &ToolId) -> Option<&str> {
        let mut routes = self.tools.routes.iter();
        let (name, _) = routes.find(|(_, route)| route.tool == *tool)?;
        Some(name)
    }

    /// Where a tool leads, by its own name.
    pub(super) fn route_of(&self, tool: &ToolId) -> Option<Arc<Route>> {
        let mut routes = self.tools.routes.values();
        routes.find(|route| route.tool == *tool).map(Arc::clone)
    }

    /// What is asked of this server under a method of its own.
    pub(super) fn other(&self, server: &ServerName, asking: Asking) -> Option<Arc<Route>> {
        let route = self.others.get(&(server.clone(), asking));
        route.map(Arc::clone)
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

    /// The entries of a list that a principal may see with a client of this kind,
    /// in one order.
    pub fn visible(&self, principal: &PrincipalId, kind: &Kind, list: Lists) -> Vec<Arc<str>> {
        let named = |named: &Named| {
            let listed = named.listed.iter();
            let offered = listed.filter(|listed| listed.route.offered.includes(kind));
            let seen = offered.filter(|listed| self.bundle.lists(principal, &listed.route.tool));
            seen.map(|listed| Arc::clone(&listed.json)).collect()
        };
        let may_read = |server: &ServerName| {
            let route = self.other(server, Asking::Read);
            route.is_some_and(|route| self.bundle.lists(principal, &route.tool))
        };
        match list {
            Lists::Tools => named(&self.tools),
            Lists::Prompts => named(&self.prompts),
            Lists::Resources => {
                let resources = self.owners.resources(kind);
                let seen = resources.filter(|(server, _)| may_read(server));
                seen.map(|(_, one)| Arc::clone(&one.json)).collect()
            }
            Lists::Templates => {
                let templates = self.owners.templates(kind);
                let seen = templates.filter(|(server, _)| may_read(server));
                seen.map(|(_, one)| Arc::clone(&one.json)).collect()
            }
        }
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

/// The broker's own tools as policy is told of them.
fn policy_own(own: &[(Own, Arc<ToolDefinition>)]) -> Vec<PolicyTool> {
    let tools = own.iter().map(|(tool, definition)| PolicyTool {
        definition: Arc::clone(definition),
        rules: ToolRules {
            access: tool.access(),
            risk: tool.risk().to_owned(),
            ..ToolRules::unmentioned(definition.id.asking())
        },
        pinned: true,
    });
    tools.collect()
}

fn policy_tools(rules: &ServerRules, pins: &[Pin]) -> Vec<PolicyTool> {
    let tools = pins.iter().map(|pin| PolicyTool {
        definition: Arc::clone(&pin.definition),
        rules: rules.of(&pin.definition.id),
        pinned: pin.changed.is_none(),
    });
    tools.collect()
}
