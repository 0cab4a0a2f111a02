//! Policies, schema and entities, checked together and swapped together.

use super::build;
use super::gate::Gate;
use super::gate::instant;
use super::gate::not_permitted;
use super::load::Loaded;
use super::message::Known;
use super::reader::Reader;
use super::slice::Answer;
use super::slice::Slice;
use super::slice::World;
use super::verdict::Denial;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::session::Handle;
use crate::session::SessionFacts;
use crate::tool::Digest;
use crate::tool::Meter;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use crate::tool::ToolId;
use crate::tool::ToolRules;
use cedar_policy::Context;
use cedar_policy::RestrictedExpression;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// One policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its name, for messages.
    pub name: String,
    /// Its text, in Cedar.
    pub text: String,
}

/// One tool as policy is told of it.
#[derive(Clone, Debug)]
pub struct PolicyTool {
    /// What its server said of it when it was pinned.
    pub definition: Arc<ToolDefinition>,
    /// What the operator says of it.
    pub rules: ToolRules,
    /// Whether the server still says the same. Where not, every call is denied.
    pub pinned: bool,
}

/// One configured server.
#[derive(Clone, Debug)]
pub struct PolicyServer {
    /// Its name.
    pub name: ServerName,
    /// How far the operator trusts it, in words of their own.
    pub trust: String,
    /// Its tools; none where it was never seen.
    pub tools: Option<Vec<PolicyTool>>,
}

/// All that a bundle is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The operator's policies.
    pub files: &'a [PolicyFile],
    /// Every configured server.
    pub servers: &'a [PolicyServer],
    /// The broker's own tools, under the server `countersign`.
    pub own: &'a [PolicyTool],
    /// Every principal and role.
    pub principals: &'a Principals,
    /// How many decimals money has: 2 for cents. At most 6.
    pub money_scale: u8,
    /// The meters that the operator declared.
    pub meters: &'a [Arc<Meter>],
}

/// Why a bundle could not be built: everything that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct BundleError {
    pub(super) problems: Vec<String>,
}

impl BundleError {
    /// One readable line for each problem: where it is, what is wrong, and what
    /// would be right.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policies cannot be used:")?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for BundleError {}

/// A policy that was not loaded, because it names a server that was never seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The policy's id.
    pub id: String,
    /// Its file.
    pub file: String,
    /// Why it was not loaded, and what that closes.
    pub reason: String,
}

/// One loaded policy, for those who review them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySummary {
    /// Its id.
    pub id: String,
    /// Its file; `(built in)` for Countersign's own.
    pub file: String,
    /// The line at which it starts.
    pub line: usize,
    /// Whether it permits or forbids.
    pub effect: PolicyEffect,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Whether a policy permits or forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyEffect {
    /// It allows what it matches, unless something forbids it.
    Permit,
    /// It denies what it matches, whatever permits it.
    Forbid,
}

impl PolicyEffect {
    /// The word of the policy language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
        }
    }
}

/// A policy set that is fit for use, with all it needs. Never changes; a reload
/// builds another.
#[derive(Debug)]
pub struct Bundle {
    pub(super) world: Arc<World>,
    pub(super) gates: BTreeMap<ToolId, Arc<Gate>>,
    /// The policies of opening a session.
    pub(super) opening: Slice,
    /// The policies of calling in somebody else's.
    pub(super) joining: Slice,
    /// The policies of sending an event to a session.
    pub(super) informing: Slice,
    /// The meters that some policy reads, by name.
    pub(super) meters_read: BTreeSet<Arc<str>>,
    pub(super) loaded: Vec<Loaded>,
    pub(super) quarantined: Vec<Quarantined>,
    pub(super) warnings: Vec<String>,
    pub(super) schema_text: String,
    pub(super) digest: Digest,
}

impl Bundle {
    /// Builds a bundle, or tells everything that stands against it.
    ///
    /// # Errors
    ///
    /// When a policy does not parse, is not valid against the schema, breaks the
    /// contract of annotations or names what does not exist; when nothing
    /// is permitted at all; when the operator's rules do not fit a tool; when
    /// principals contradict each other.
    pub fn build(inputs: &Inputs<'_>) -> Result<Self, BundleError> {
        build::bundle(inputs)
    }

    /// The Cedar schema of these servers and principals, whatever the policies
    /// are: what one reads before writing the first.
    ///
    /// # Errors
    ///
    /// When the operator's rules do not fit a tool, or principals contradict
    /// each other.
    pub fn schema_of(inputs: &Inputs<'_>) -> Result<String, BundleError> {
        build::schema_text(inputs)
    }

    /// The digest of policies, schema, principals and tools, whatever their order.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The whole Cedar schema, for people who write policies.
    pub fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// The policies that were not loaded, because they name a server that was
    /// never seen.
    pub fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// What an operator should know and what does not stop the start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The loaded policies by id, Countersign's own among them.
    pub fn policies(&self) -> impl Iterator<Item = PolicySummary> {
        self.loaded.iter().map(|loaded| PolicySummary {
            id: loaded.id.clone(),
            file: loaded.file.clone(),
            line: loaded.line,
            effect: match loaded.policy.effect() {
                cedar_policy::Effect::Permit => PolicyEffect::Permit,
                cedar_policy::Effect::Forbid => PolicyEffect::Forbid,
            },
            annotations: loaded
                .policy
                .annotations()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    /// The gate of a tool. A tool without one cannot be called.
    pub fn gate(&self, tool: &ToolId) -> Option<&Arc<Gate>> {
        self.gates.get(tool)
    }

    /// Whether a tool is shown to a principal: unless policy denies it whatever
    /// the arguments and the session are. Depends on nothing that a session did.
    pub fn lists(&self, principal: &PrincipalId, tool: &ToolId) -> bool {
        self.gate(tool).is_some_and(|gate| gate.lists(principal))
    }

    /// Whether a tool that changed since it was pinned would be shown to a
    /// principal, had it not changed.
    pub fn listed(&self, principal: &PrincipalId, tool: &ToolId) -> bool {
        self.gate(tool).is_some_and(|gate| gate.listed(principal))
    }

    /// Whether some policy reads a meter of some tool, so that a limit may depend on
    /// it.
    pub fn reads(&self, meter: &Meter) -> bool {
        self.meters_read.contains(&meter.name)
    }

    /// Whether the operator declared this principal.
    pub fn knows(&self, principal: &PrincipalId) -> bool {
        self.world.users.contains_key(principal)
    }

    /// Whether the operator named the agent software that acts for this principal: then
    /// it is a model that reads and decides, whichever way it comes.
    pub fn acts_by_agent(&self, principal: &PrincipalId) -> bool {
        self.world.with_agents.contains(principal)
    }

    /// Decides whether a principal may open a new session by this handle (the
    /// Cedar action `session/open`).
    ///
    /// # Errors
    ///
    /// The denial, as for a call.
    pub fn may_open(
        &self,
        principal: &PrincipalId,
        handle: &Handle,
        now: Timestamp,
    ) -> Result<(), Denial> {
        let handle = RestrictedExpression::new_string(handle.as_str().to_owned());
        let context = [
            ("handle".to_owned(), handle),
            ("now".to_owned(), instant(now)),
        ];
        self.may(&self.opening, principal, context)
    }

    /// Decides whether a principal may call in a session of somebody else (the
    /// Cedar action `session/join`).
    ///
    /// # Errors
    ///
    /// The denial, as for a call.
    pub fn may_join(
        &self,
        principal: &PrincipalId,
        session: &SessionFacts,
        handles: &[String],
        now: Timestamp,
    ) -> Result<(), Denial> {
        let context = self.of_session(session, handles, now);
        self.may(&self.joining, principal, context)
    }

    /// Decides whether a principal may send an event of this kind to a session,
    /// their own or another's (the Cedar action `session/event`).
    ///
    /// # Errors
    ///
    /// The denial, as for a call.
    pub fn may_inform(
        &self,
        principal: &PrincipalId,
        (session, handles): (&SessionFacts, &[String]),
        kind: &str,
        now: Timestamp,
    ) -> Result<(), Denial> {
        let mut context = self.of_session(session, handles, now);
        let kind = RestrictedExpression::new_string(kind.to_owned());
        context.push(("kind".to_owned(), kind));
        self.may(&self.informing, principal, context)
    }

    /// What a question about somebody's session is told of it.
    fn of_session(
        &self,
        session: &SessionFacts,
        handles: &[String],
        now: Timestamp,
    ) -> Vec<(String, RestrictedExpression)> {
        let owner = self.world.types.user(&session.owner.to_string());
        let texts = |texts: &mut dyn Iterator<Item = &String>| {
            let texts = texts.cloned().map(RestrictedExpression::new_string);
            RestrictedExpression::new_set(texts)
        };
        vec![
            (
                "owner".to_owned(),
                RestrictedExpression::new_entity_uid(owner),
            ),
            ("handles".to_owned(), texts(&mut handles.iter())),
            ("labels".to_owned(), texts(&mut session.labels.iter())),
            ("now".to_owned(), instant(now)),
        ]
    }

    /// Asks about something that is no call.
    fn may(
        &self,
        slice: &Slice,
        principal: &PrincipalId,
        context: impl IntoIterator<Item = (String, RestrictedExpression)>,
    ) -> Result<(), Denial> {
        let user = self.world.users.get(principal).ok_or_else(not_permitted)?;
        let answer = match Context::from_pairs(context) {
            Ok(context) => slice.ask(&self.world, user, context),
            Err(_) => Answer::failed(vec!["countersign.context".to_owned()]),
        };
        if answer.allows() {
            Ok(())
        } else {
            Err(slice.denial(&answer, &Known::default()))
        }
    }

    /// The id of a forbid that stops calls of this tool with arguments that policy cannot
    /// see; none where they pass.
    pub fn stops_unseen(&self, tool: &ToolId) -> Option<&str> {
        self.gate(tool).and_then(|gate| gate.stops_unseen())
    }

    /// The declared arguments of a tool that policy cannot see, and why.
    pub fn opaque_arguments(&self, tool: &ToolId) -> Vec<(String, String)> {
        self.gate(tool)
            .map(|gate| Reader::fields(&gate.reader).unseen(""))
            .unwrap_or_default()
    }
}
