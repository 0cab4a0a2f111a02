//! The gate of one tool: reads the arguments of a call and decides it.

use super::annotations::DEFAULT_EXPIRY;
use super::annotations::Stop;
use super::arguments::ArgumentError;
use super::arguments::Reading;
use super::message::Known;
use super::reader::Reader;
use super::reads::Wants;
use super::slice::Answer;
use super::slice::Slice;
use super::slice::World;
use super::verdict::Allowed;
use super::verdict::Denial;
use super::verdict::Escalation;
use super::verdict::Facts;
use super::verdict::Unseen;
use super::verdict::Verdict;
use crate::principal::PrincipalId;
use crate::tool::CallId;
use crate::tool::Meter;
use crate::tool::ToolId;
use crate::tool::ToolRules;
use cedar_policy::Context;
use cedar_policy::EntityUid;
use cedar_policy::RestrictedExpression;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::RwLock;

/// Why policy cannot see what nobody declared.
const UNDECLARED: &str = "the tool does not declare it";

/// One tool's compiled reader of arguments and the policies that can match it.
#[derive(Debug)]
pub struct Gate {
    pub(super) tool: ToolId,
    pub(super) rules: ToolRules,
    pub(super) reader: Arc<Reader>,
    pub(super) slice: Slice,
    pub(super) world: Arc<World>,
    /// Who could ever be allowed, as far as it was asked.
    listed: RwLock<BTreeMap<PrincipalId, bool>>,
    /// The answer to each principal's [plain](Gate::is_plain) calls, once it was
    /// asked for.
    plain: RwLock<HashMap<EntityUid, Answer>>,
}

impl Gate {
    pub(super) fn new(
        tool: (ToolId, ToolRules),
        reader: Arc<Reader>,
        slice: Slice,
        world: Arc<World>,
    ) -> Self {
        Self {
            tool: tool.0,
            rules: tool.1,
            reader,
            slice,
            world,
            listed: RwLock::default(),
            plain: RwLock::default(),
        }
    }

    /// Which tool it is the gate of.
    pub fn tool(&self) -> &ToolId {
        &self.tool
    }

    /// What the operator declared of the tool.
    pub fn rules(&self) -> &ToolRules {
        &self.rules
    }

    /// The declared meters that count the tool.
    pub fn counted(&self) -> impl Iterator<Item = &Arc<Meter>> {
        self.reader.counted().iter()
    }

    /// Whether there is a forbid of this tool that a person can lift.
    pub fn may_escalate(&self) -> bool {
        self.slice.stops().any(|(_, stop)| stop.escalate.is_some())
    }

    /// Whether there is a forbid of this tool that the person in front of the client
    /// can lift.
    pub fn may_confirm(&self) -> bool {
        self.slice.stops().any(|(_, stop)| stop.confirm.is_some())
    }

    /// Whether a policy of this tool reads how much was denied lately.
    pub fn reads_denials(&self) -> bool {
        self.slice.reads.of("call").wants("deniedLately")
    }

    /// Whether somebody is a member of one of these roles.
    pub fn has_role(&self, principal: &PrincipalId, roles: &[String]) -> bool {
        let Some(user) = self.world.users.get(principal) else {
            return false;
        };
        roles.iter().any(|role| {
            let role = self.world.types.role(role);
            self.world.entities.is_ancestor_of(&role, user)
        })
    }

    /// The role that a principal was given.
    pub fn role(&self, principal: &PrincipalId) -> Option<&str> {
        self.world.roles.get(principal).map(String::as_str)
    }

    /// Reads a call's arguments, `{}` where the client sent none.
    ///
    /// # Errors
    ///
    /// When they do not fit what the tool declares, or hold a number that policy
    /// must compare and cannot compare exactly. The text is for the client.
    pub fn read(&self, arguments: &str) -> Result<Reading, ArgumentError> {
        self.reader.read(arguments, self.slice.reads.of("input"))
    }

    /// Decides a call. The reading must be this gate's: after a reload the
    /// arguments are read again, and a reading of before is denied.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a question of its own: which call, whose, with what, in what state, when"
    )]
    pub fn decide(
        &self,
        call: CallId,
        principal: &PrincipalId,
        reading: &Reading,
        facts: &Facts,
        now: Timestamp,
    ) -> Verdict {
        let Some(user) = self.world.users.get(principal) else {
            return Verdict::Deny(not_permitted());
        };
        if !Arc::ptr_eq(&reading.reader, &self.reader) {
            let stale = Answer::failed(vec!["countersign.stale-reading".to_owned()]);
            return Verdict::Deny(self.slice.denial(&stale, &Known::default()));
        }
        let question = Question {
            user,
            reading,
            facts,
            confirmed: facts.confirmed,
            now,
        };
        // Nobody approves their own call, even where a policy forgets to say so.
        let approval = facts.approval.as_ref().filter(|by| *by != principal);
        let answer = self.ask(&question, approval);
        if answer.allows() {
            return Verdict::Allow(Allowed::new(call, answer.determining));
        }
        let known = Known {
            amount: reading.amount,
            limits: self.world.limits.get(principal),
            scale: self.world.money_scale,
        };
        let mut denial = self.slice.denial(&answer, &known);
        denial.unseen = self.unseen(reading, &answer);
        if !denial.errors.is_empty() {
            return Verdict::Deny(denial);
        }
        if self.passes_confirmed(&question, approval, &answer)
            && let Some(confirmation) = self.slice.confirmation(&answer, &known)
        {
            return Verdict::Confirm(denial, confirmation);
        }
        if let Some(escalation) = self.escalation(principal, &question, &answer) {
            return Verdict::Escalate(denial, escalation);
        }
        Verdict::Deny(match self.is_permitted(&question, approval) {
            true => denial,
            // Who may not use the tool at all is not told its limits.
            false => not_permitted(),
        })
    }

    /// The arguments that policy cannot see, where a forbid asked for them.
    fn unseen(&self, reading: &Reading, answer: &Answer) -> Vec<Unseen> {
        let mut stops = answer
            .determining
            .iter()
            .filter_map(|id| self.slice.stop(id));
        if !stops.any(|stop| stop.asks_unseen) {
            return Vec::new();
        }
        let declared = self.reader.fields().unseen("");
        let why = |argument: &String| {
            let known = declared.iter().find(|(name, _)| name == argument);
            known.map_or_else(|| UNDECLARED.to_owned(), |(_, why)| why.clone())
        };
        let arguments = reading.opaque().iter();
        arguments
            .map(|argument| Unseen {
                argument: argument.clone(),
                why: why(argument),
            })
            .collect()
    }

    /// The forbid that stops calls with arguments that policy cannot see, where there is
    /// one for this tool.
    pub(super) fn stops_unseen(&self) -> Option<&str> {
        let mut stops = self.slice.stops();
        stops.find(|(_, stop)| stop.asks_unseen).map(|(id, _)| id)
    }

    /// Whether the tool is shown to a principal. Asked once for each.
    pub(super) fn lists(&self, principal: &PrincipalId) -> bool {
        let Some(user) = self.world.users.get(principal) else {
            return false;
        };
        let known = self.listed.read().ok();
        if let Some(listed) = known.and_then(|known| known.get(principal).copied()) {
            return listed;
        }
        let listed = self.slice.is_possible(&self.world, user);
        if let Ok(mut known) = self.listed.write() {
            known.insert(principal.clone(), listed);
        }
        listed
    }

    /// Whether a tool that changed would be shown, had it not.
    pub(super) fn listed(&self, principal: &PrincipalId) -> bool {
        let user = self.world.users.get(principal);
        user.is_some_and(|user| self.slice.was_possible(&self.world, user))
    }

    /// Whether the person in front of the client could lift this denial: every forbid
    /// must ask for that, and a yes must really turn the answer.
    fn passes_confirmed(
        &self,
        question: &Question<'_>,
        approval: Option<&PrincipalId>,
        answer: &Answer,
    ) -> bool {
        let confirmed = Question {
            confirmed: true,
            ..*question
        };
        self.slice.confirmation(answer, &Known::default()).is_some()
            && self.ask(&confirmed, approval).allows()
    }

    /// Who could lift this denial: every forbid must name a role or ask for a
    /// confirmation, at least one a role, and an approval must really turn the answer,
    /// but for a confirmation that is asked for after it. A role counts when one of
    /// its members, who is not the caller, alone suffices.
    fn escalation(
        &self,
        caller: &PrincipalId,
        question: &Question<'_>,
        answer: &Answer,
    ) -> Option<Escalation> {
        let stops: Vec<_> = answer
            .determining
            .iter()
            .map(|id| self.slice.stop(id))
            .collect::<Option<_>>()?;
        let liftable = |stop: &&Stop| stop.escalate.is_some() || stop.confirm.is_some();
        if !stops.iter().all(liftable) {
            return None;
        }
        let to_approve = stops.iter().filter(|stop| stop.escalate.is_some());
        let roles = to_approve
            .clone()
            .filter_map(|stop| stop.escalate.as_deref());
        let roles: BTreeSet<&str> = roles.collect();
        let suffices = |role: &str| {
            let role = self.world.types.role(role);
            self.world
                .users
                .iter()
                .filter(|(id, user)| {
                    *id != caller && self.world.entities.is_ancestor_of(&role, user)
                })
                .any(|(id, _)| {
                    let answer = self.ask(question, Some(id));
                    answer.allows() || self.passes_confirmed(question, Some(id), &answer)
                })
        };
        let roles: Vec<String> = roles
            .into_iter()
            .filter(|role| suffices(role))
            .map(str::to_owned)
            .collect();
        let expires = to_approve.map(|stop| stop.expires).min();
        (!roles.is_empty()).then(|| Escalation {
            roles,
            expires: expires.unwrap_or(DEFAULT_EXPIRY),
        })
    }

    pub(super) fn ask(&self, question: &Question<'_>, approval: Option<&PrincipalId>) -> Answer {
        if approval.is_some() || !self.is_plain(question) {
            return self.ask_anew(question, approval);
        }
        let known = self.plain.read().ok();
        if let Some(answer) = known.and_then(|known| known.get(question.user).cloned()) {
            return answer;
        }
        let answer = self.ask_anew(question, None);
        if let Ok(mut known) = self.plain.write() {
            known.insert(question.user.clone(), answer.clone());
        }
        answer
    }

    /// Whether every policy of this tool sees the same of this call as of the
    /// caller's other plain ones, so that the answer is the same.
    // INVARIANT: whatever `context` puts into the parts that `are_plain` lets
    // pass is asked for here.
    fn is_plain(&self, question: &Question<'_>) -> bool {
        let session = &question.facts.session;
        self.slice.reads.are_plain()
            && question.reading.opaque().is_empty()
            && session.labels.is_empty()
            && !session.frozen
            && !session.paused
            && question.facts.totals.len() == question.reading.amounts().len()
            && question.facts.meters.len() == question.reading.counts().len()
    }

    fn ask_anew(&self, question: &Question<'_>, approval: Option<&PrincipalId>) -> Answer {
        match self.context(question, approval) {
            Ok(context) => self.slice.ask(&self.world, question.user, context),
            Err(failed) => failed,
        }
    }

    fn is_permitted(&self, question: &Question<'_>, approval: Option<&PrincipalId>) -> bool {
        self.context(question, approval).is_ok_and(|context| {
            let answer = self.slice.permits(&self.world, question.user, context);
            answer.allows()
        })
    }

    /// The context of a call, with the parts that this gate's policies read.
    pub(super) fn context(
        &self,
        question: &Question<'_>,
        approval: Option<&PrincipalId>,
    ) -> Result<Context, Answer> {
        let Question {
            reading,
            facts,
            now,
            ..
        } = question;
        let unusable = || Answer::failed(vec!["countersign.context".to_owned()]);
        if facts.totals.len() != reading.amounts().len()
            || facts.meters.len() != reading.counts().len()
        {
            return Err(Answer::failed(vec!["countersign.totals".to_owned()]));
        }
        let mut call = Members::of(self.slice.reads.of("call"));
        call.push("opaque", || texts(reading.opaque()));
        call.push("now", || instant(*now));
        call.push("deniedLately", || {
            RestrictedExpression::new_long(i64::from(facts.denied_lately))
        });
        call.push("confirmed", || {
            RestrictedExpression::new_bool(question.confirmed)
        });
        // An approver who is no principal any more approves nothing.
        if let Some(by) = approval.and_then(|by| self.world.users.get(by)) {
            let by = RestrictedExpression::new_entity_uid(by.clone());
            let by = RestrictedExpression::new_record([("by".to_owned(), by)]);
            let by = by.map_err(|_| unusable())?;
            call.push("approval", || by);
        }
        let mut session = Members::of(self.slice.reads.of("session"));
        let text = RestrictedExpression::new_string;
        session.push("id", || text(facts.session.id.to_string()));
        session.push("owner", || {
            let owner = self.world.types.user(&facts.session.owner.to_string());
            RestrictedExpression::new_entity_uid(owner)
        });
        session.push("labels", || texts(&facts.session.labels));
        session.push("frozen", || {
            RestrictedExpression::new_bool(facts.session.frozen)
        });
        session.push("paused", || {
            RestrictedExpression::new_bool(facts.session.paused)
        });
        let mut meter = Members::of(self.slice.reads.of("meter"));
        for (amount, totals) in reading.amounts().iter().zip(&facts.totals) {
            let long = RestrictedExpression::new_long;
            let totals = RestrictedExpression::new_record([
                ("sessionAfter".to_owned(), long(totals.session_after)),
                ("dayAfter".to_owned(), long(totals.day_after)),
            ]);
            let totals = totals.map_err(|_| unusable())?;
            meter.push(&amount.argument, || totals);
        }
        let mut members = vec![
            ("call".to_owned(), call.record().ok_or_else(unusable)?),
            ("session".to_owned(), session.record().ok_or_else(unusable)?),
            ("input".to_owned(), reading.input.clone()),
        ];
        if !facts.totals.is_empty() {
            members.push(("meter".to_owned(), meter.record().ok_or_else(unusable)?));
        }
        if !facts.meters.is_empty() {
            let mut meters = Members::of(self.slice.reads.of("meters"));
            for ((meter, _), total) in reading.counts().zip(&facts.meters) {
                meters.push(&meter.name, || RestrictedExpression::new_long(*total));
            }
            members.push(("meters".to_owned(), meters.record().ok_or_else(unusable)?));
        }
        Context::from_pairs(members).map_err(|_| unusable())
    }
}

/// One call as it is asked about.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) user: &'a EntityUid,
    pub(super) reading: &'a Reading,
    pub(super) facts: &'a Facts,
    /// Whether the person in front of the client said yes to it.
    pub(super) confirmed: bool,
    pub(super) now: Timestamp,
}

/// The denial of one who has no permit.
pub(super) fn not_permitted() -> Denial {
    Denial {
        code: "not_permitted".to_owned(),
        reasons: Vec::new(),
        errors: Vec::new(),
        unseen: Vec::new(),
    }
}

/// An instant as Cedar takes it, in milliseconds.
pub(super) fn instant(now: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// The members of one record of the context, as far as they are read.
struct Members<'a> {
    wants: Wants<'a>,
    members: Vec<(String, RestrictedExpression)>,
}

impl<'a> Members<'a> {
    fn of(wants: Wants<'a>) -> Self {
        Self {
            wants,
            members: Vec::new(),
        }
    }

    fn push(&mut self, name: &str, value: impl FnOnce() -> RestrictedExpression) {
        if self.wants.wants(name) {
            self.members.push((name.to_owned(), value()));
        }
    }

    fn record(self) -> Option<RestrictedExpression> {
        RestrictedExpression::new_record(self.members).ok()
    }
}

fn texts(values: &BTreeSet<String>) -> RestrictedExpression {
    let values = values.iter().cloned();
    RestrictedExpression::new_set(values.map(RestrictedExpression::new_string))
}
