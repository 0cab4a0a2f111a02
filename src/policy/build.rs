//! How a bundle is put together: each step adds what it finds wrong, so that
//! an operator sees everything at once.

use super::annotations;
use super::annotations::Stop;
use super::attributes;
use super::bundle::Bundle;
use super::bundle::BundleError;
use super::bundle::Inputs;
use super::bundle::PolicyTool;
use super::bundle::Quarantined;
use super::digest;
use super::entities;
use super::entities::Types;
use super::gate::Gate;
use super::load;
use super::load::Loaded;
use super::message;
use super::message::Message;
use super::message::Unsaid;
use super::meters;
use super::meters::OfTool;
use super::names::Checked;
use super::names::Names;
use super::places;
use super::reader::Reader;
use super::rules;
use super::schema;
use super::schema::BASE_ACTIONS;
use super::schema::BROKER;
use super::schema::ToolSchema;
use super::shape::Fields;
use super::slice::Slice;
use super::slice::Target;
use super::slice::World;
use super::unmatched;
use super::validation;
use crate::principal::Attribute;
use crate::tool::ToolId;
use cedar_policy::Authorizer;
use cedar_policy::Effect;
use cedar_policy::PartialEntities;
use cedar_policy::Schema;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The largest number of decimals that money may have.
const MAX_MONEY_SCALE: u8 = 6;

pub(super) fn bundle(inputs: &Inputs<'_>) -> Result<Bundle, BundleError> {
    let mut problems = Vec::new();
    let users = attributes::of_users(inputs.principals, &mut problems);
    let tools = tools(inputs, &mut problems);
    let Sorted {
        live,
        quarantined,
        mut warnings,
    } = sort(inputs, &mut problems);
    let built = cedar_schema(inputs, &users, &tools).and_then(|(schema, text)| {
        validation::validate(
            &live,
            &schema,
            (inputs, &tools),
            &mut problems,
            &mut warnings,
        )?;
        let world = world(inputs, schema)?;
        unmatched::note(&live, &world, &tools, &mut warnings);
        Ok((world, text))
    });
    let (world, schema_text) = match built {
        Ok(built) if problems.is_empty() => built,
        Ok(_) => return Err(BundleError { problems }),
        Err(problem) => {
            problems.push(problem);
            return Err(BundleError { problems });
        }
    };
    let policies = live.iter().map(|(loaded, _)| loaded);
    let digest = digest::of(inputs, policies, &schema_text);
    assemble(inputs, (world, tools), live, quarantined)
        .map(|assembled| Bundle {
            world: assembled.world,
            gates: assembled.gates,
            opening: assembled.opening,
            joining: assembled.joining,
            informing: assembled.informing,
            meters_read: assembled.meters_read,
            loaded: assembled.loaded,
            quarantined: assembled.quarantined,
            warnings: warnings.into_iter().chain(assembled.warnings).collect(),
            schema_text,
            digest,
        })
        .map_err(|problems| BundleError { problems })
}

/// The schema of these servers, users and tools, for Cedar and for people.
fn cedar_schema(
    inputs: &Inputs<'_>,
    users: &BTreeMap<String, &Attribute>,
    tools: &[Compiled<'_>],
) -> Result<(Schema, String), String> {
    let servers = inputs.servers.iter().map(|server| server.name.as_str());
    let servers: Vec<&str> = servers.chain([BROKER]).collect();
    let parts: Vec<ToolSchema<'_>> = tools.iter().map(Compiled::schema).collect();
    schema::assemble(users, &servers, &parts)
}

pub(super) fn schema_text(inputs: &Inputs<'_>) -> Result<String, BundleError> {
    let mut problems = Vec::new();
    let users = attributes::of_users(inputs.principals, &mut problems);
    let tools = tools(inputs, &mut problems);
    match cedar_schema(inputs, &users, &tools) {
        Ok((_schema, text)) if problems.is_empty() => Ok(text),
        Ok(_) => Err(BundleError { problems }),
        Err(problem) => {
            problems.push(problem);
            Err(BundleError { problems })
        }
    }
}

/// A tool with its arguments read as types.
pub(super) struct Compiled<'a> {
    tool: &'a PolicyTool,
    fields: Fields,
    counted: Vec<OfTool>,
}

impl Compiled<'_> {
    pub(super) fn id(&self) -> &ToolId {
        &self.tool.definition.id
    }

    /// What policies may say of it.
    pub(super) fn seen(&self) -> places::Tool<'_> {
        places::Tool {
            id: self.id(),
            fields: &self.fields,
            schema: &self.tool.definition.input_schema,
        }
    }

    fn schema(&self) -> ToolSchema<'_> {
        ToolSchema {
            id: self.id(),
            access: self.tool.rules.access,
            fields: &self.fields,
            meters: &self.tool.rules.meters,
            counted: self.counted.iter().map(|of| &*of.meter.name).collect(),
        }
    }
}

fn tools<'a>(inputs: &Inputs<'a>, problems: &mut Vec<String>) -> Vec<Compiled<'a>> {
    if inputs.money_scale > MAX_MONEY_SCALE {
        problems.push(format!(
            "money has {} decimals: at most {MAX_MONEY_SCALE} are allowed",
            inputs.money_scale
        ));
    }
    let mut compiled: Vec<Compiled<'a>> = Vec::new();
    let mut servers = BTreeSet::new();
    for server in inputs.servers {
        let name = &server.name;
        if name.as_str() == BROKER {
            problems.push(format!(
                "the server name `{BROKER}` is the broker's own: choose another"
            ));
        }
        if !servers.insert(name) {
            problems.push(format!("the server `{name}` is configured twice"));
        }
        let mut ids = BTreeSet::new();
        for tool in server.tools.iter().flatten() {
            let id = &tool.definition.id;
            if id.server != *name {
                problems.push(format!(
                    "the tool `{id}` is entered for the server `{name}`"
                ));
            }
            if BASE_ACTIONS.contains(&id.to_string().as_str()) {
                problems.push(format!(
                    "the tool `{id}` is named like an action of Countersign's own: rename the server"
                ));
            }
            if !ids.insert(id) {
                problems.push(format!("the server `{name}` has the tool `{id}` twice"));
                continue;
            }
            compiled.push(compile(inputs, tool, problems));
        }
    }
    let own = inputs.own.iter();
    compiled.extend(own.map(|tool| compile(inputs, tool, problems)));
    let counted: Vec<&[OfTool]> = compiled.iter().map(|tool| &*tool.counted).collect();
    meters::check(inputs, &counted, problems);
    compiled
}

fn compile<'a>(
    inputs: &Inputs<'a>,
    tool: &'a PolicyTool,
    problems: &mut Vec<String>,
) -> Compiled<'a> {
    let mut fields = Fields::of_tool(&tool.definition.input_schema);
    let mut wrong = rules::apply(&mut fields, &tool.rules, inputs.money_scale);
    let id = &tool.definition.id;
    let (counted, miscounted) = meters::apply(&mut fields, id, inputs.meters);
    wrong.extend(miscounted);
    problems.extend(
        wrong
            .into_iter()
            .map(|what| format!("the tool `{id}`: {what}")),
    );
    Compiled {
        tool,
        fields,
        counted,
    }
}

/// Policies sorted into those that count and those that wait for a server.
struct Sorted {
    live: Vec<(Loaded, Option<Stop>)>,
    quarantined: Vec<(Loaded, String)>,
    warnings: Vec<String>,
}

fn sort(inputs: &Inputs<'_>, problems: &mut Vec<String>) -> Sorted {
    let names = Names::new(inputs);
    let found = problems.len();
    let own = load::files(inputs.files, problems);
    let permits = own
        .iter()
        .any(|loaded| loaded.policy.effect() == Effect::Permit);
    if !permits && problems.len() == found {
        problems.push(
            "no policy permits anything: write at least one `permit`, or nothing could ever be called"
                .to_owned(),
        );
    }
    let mut sorted = Sorted {
        live: Vec::new(),
        quarantined: Vec::new(),
        warnings: Vec::new(),
    };
    for loaded in load::builtin(problems).into_iter().chain(own) {
        let stop = annotations::read(&loaded.policy, names.roles()).unwrap_or_else(|wrong| {
            problems.extend(wrong.into_iter().map(|what| loaded.problem(what)));
            None
        });
        match names.check(&loaded, &mut sorted.warnings) {
            Checked::Known => sorted.live.push((loaded, stop)),
            Checked::NeverSeen(server) => sorted.quarantined.push((loaded, server)),
            Checked::Wrong(wrong) => {
                problems.extend(wrong.into_iter().map(|what| loaded.problem(what)));
            }
        }
    }
    sorted
}

fn world(inputs: &Inputs<'_>, schema: Schema) -> Result<World, String> {
    let types = Types::new()?;
    let entities = entities::build(&types, inputs, &schema)?;
    let partial = PartialEntities::from_concrete(entities.clone(), &schema)
        .map_err(|source| format!("the entities cannot be used: {source}"))?;
    let roles = inputs.principals.by_id.iter();
    let roles = roles.map(|(id, principal)| (id.clone(), principal.role.clone()));
    let roles = roles.collect();
    let ids = inputs.principals.by_id.keys();
    let users = ids
        .map(|id| (id.clone(), types.user(&id.to_string())))
        .collect();
    let with_agents = inputs.principals.by_id.values();
    let with_agents = with_agents.filter(|principal| principal.agent.is_some());
    let with_agents = with_agents.map(|principal| principal.id.clone()).collect();
    let limits = message::limits_of(inputs.principals);
    Ok(World {
        authorizer: Authorizer::new(),
        types,
        schema,
        entities,
        partial,
        users,
        roles,
        with_agents,
        limits,
        money_scale: inputs.money_scale,
    })
}

struct Assembled {
    world: Arc<World>,
    gates: BTreeMap<ToolId, Arc<Gate>>,
    opening: Slice,
    joining: Slice,
    informing: Slice,
    meters_read: BTreeSet<Arc<str>>,
    warnings: Vec<String>,
    loaded: Vec<Loaded>,
    quarantined: Vec<Quarantined>,
}

fn assemble(
    inputs: &Inputs<'_>,
    (world, tools): (World, Vec<Compiled<'_>>),
    live: Vec<(Loaded, Option<Stop>)>,
    quarantined: Vec<(Loaded, String)>,
) -> Result<Assembled, Vec<String>> {
    let world = Arc::new(world);
    let waiting: Vec<Loaded> = quarantined
        .iter()
        .map(|(loaded, _)| loaded.clone())
        .collect();
    let cut = |target| Slice::cut(&world, target, &live, &waiting).map_err(|problem| vec![problem]);
    let of_broker = |action| Target {
        action: world.types.action(action),
        resource: world.types.server(BROKER),
    };
    let opening = cut(of_broker(schema::OPEN))?;
    let joining = cut(of_broker(schema::JOIN))?;
    let informing = cut(of_broker(schema::EVENT))?;
    let mut unsaid = Unsaid::of(&live);
    let others = [
        (schema::OPEN, &opening),
        (schema::JOIN, &joining),
        (schema::EVENT, &informing),
    ];
    for (action, slice) in others {
        unsaid.note(slice, action, Message::is_of_call);
    }
    let mut gates = BTreeMap::new();
    for Compiled {
        tool,
        mut fields,
        counted,
    } in tools
    {
        let id = tool.definition.id.clone();
        let slice = cut(Target {
            action: world.types.action(&id.to_string()),
            resource: world.types.tool(&id.to_string()),
        })?;
        if slice.messages().any(|(_, message)| message.is_of_call())
            && !message::mark_amount(&mut fields)
        {
            unsaid.note(&slice, &id.to_string(), Message::says_amount);
        }
        let meters = tool.rules.meters.iter();
        let meters =
            meters.map(|argument| (format!("{id}#{argument}").into(), argument.as_str().into()));
        let counted = counted.into_iter().map(|of| of.meter).collect();
        let reader = Arc::new(Reader::new(fields, meters.collect(), counted));
        let gate = Gate::new(
            (id.clone(), tool.rules.clone()),
            reader,
            slice,
            Arc::clone(&world),
        );
        gates.insert(id, Arc::new(gate));
    }
    unsaid.none()?;
    let meters_read = meters::read(gates.values());
    let warnings = meters::unread(inputs, &meters_read, &waiting);
    let quarantined = quarantined.into_iter().map(waits).collect();
    let loaded = live.into_iter().map(|(loaded, _)| loaded).collect();
    Ok(Assembled {
        world,
        gates,
        opening,
        joining,
        informing,
        meters_read,
        warnings,
        loaded,
        quarantined,
    })
}

/// A policy that is not loaded, as people are told of it.
fn waits((loaded, server): (Loaded, String)) -> Quarantined {
    Quarantined {
        reason: match loaded.policy.effect() {
            Effect::Permit => format!(
                "the server `{server}` was never seen: what this permits stays closed until it was"
            ),
            Effect::Forbid => format!(
                "the server `{server}` was never seen: whatever this could forbid stays closed until it was"
            ),
        },
        id: loaded.id,
        file: loaded.file,
    }
}
