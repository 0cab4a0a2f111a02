//! What `countersign check` says of policies that are valid.

use super::starting::READING;
use crate::broker::Catalogue;
use crate::config::Config;
use crate::config::GLOBAL_POLICY;
use crate::config::STARTING_POLICIES;
use crate::policy::Bundle;
use crate::policy::PolicySummary;
use crate::principal::PrincipalId;
use crate::tool::ServerName;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What an operator should know of policies that are valid, and what is as it may well be.
pub(super) fn of(catalogue: &Catalogue, config: &Config) -> (Vec<String>, Vec<String>) {
    let bundle = catalogue.bundle();
    let (mut warnings, mut notes) = (bundle.warnings().to_vec(), Vec::new());
    let dead = bundle.dead_escalations(GLOBAL_POLICY);
    // Those that we ship stop nothing before somebody says where labels come from.
    let labelled = brings_labels(config);
    let (shipped, dead): (Vec<_>, Vec<_>) = dead
        .into_iter()
        .partition(|dead| dead.is_shipped && dead.has_nobody && !labelled);
    warnings.extend(dead.into_iter().map(|dead| dead.told));
    warnings.extend(bundle.circular_escalations(Timestamp::now()));
    if let Some(first) = shipped.first() {
        let policies = shipped.iter().map(|dead| format!("`{}`", dead.policy));
        notes.push(format!(
            "no principal has the role `{}`, so nobody could lift what {} stop; that matters once `labels` are declared",
            first.role,
            policies.collect::<Vec<_>>().join(" and ")
        ));
    }
    if let Some(unread) = bundle.unread_limits() {
        match unread.could_limit {
            true => warnings.push(unread.told),
            false => notes.push(unread.told),
        }
    }
    warnings.extend(unseen(catalogue));
    warnings.extend(bundle.uncovered().iter().map(|server| {
        format!(
            "server {server}: no permit covers any of its tools for anybody, so every call of it will be denied: {}",
            to_cover(bundle, server)
        )
    }));
    notes.extend(bundle.closed().iter().map(|(server, forbids)| {
        format!(
            "server {server}: nobody can call anything there, because {} all that a permit covers",
            forbid(forbids)
        )
    }));
    (warnings, notes)
}

/// Why somebody sees no tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nothing {
    pub(super) why: String,
    /// What they do who want it otherwise.
    pub(super) advice: &'static str,
}

impl Nothing {
    /// Why this principal sees none.
    pub(super) fn of(catalogue: &Catalogue, principal: &PrincipalId) -> Self {
        const PERMIT: &str = "write a permit, or begin with `countersign policy new --permissive`";
        let bundle = catalogue.bundle();
        if catalogue.names().is_empty() {
            return Self {
                why: "there are no tools yet".to_owned(),
                advice: PERMIT,
            };
        }
        let forbids = bundle.stopped(principal);
        if !forbids.is_empty() {
            return Self {
                why: format!("{} all that they could call", forbid(&forbids)),
                advice: "no permit gets around a forbid: narrow it, or take it out, if that is not meant",
            };
        }
        let mut policies = bundle.policies();
        let is_write = match policies.any(|policy| bundle.permits_reading(&policy.id)) {
            true => " (a tool is `write` unless `access = \"read\"` says otherwise)",
            false => "",
        };
        Self {
            why: format!("no permit covers what they could call{is_write}"),
            advice: PERMIT,
        }
    }
}

/// The subject of what forbids do, with where they stand.
fn forbid(policies: &[PolicySummary]) -> String {
    let places = policies.iter();
    let places = places.map(|policy| format!("`{}` ({}:{})", policy.id, policy.file, policy.line));
    let verb = match policies.len() {
        1 => "forbids",
        _ => "forbid",
    };
    format!("{} {verb}", places.collect::<Vec<_>>().join(" and "))
}

/// Whether the configuration says that a label could join a session.
fn brings_labels(config: &Config) -> bool {
    let of_events = &config.broker.event_labels;
    let mut of_kinds = of_events.kinds.values();
    let mut servers = config.broker.servers.values();
    servers.any(|server| {
        let mut tools = server.tools.values();
        !server.labels.is_empty() || tools.any(|tool| !tool.labels.is_empty())
    }) || !of_events.others.is_empty()
        || of_kinds.any(|labels| !labels.is_empty())
}

/// The tools with arguments for which a policy would refuse their calls, because it
/// cannot see them.
fn unseen(catalogue: &Catalogue) -> Vec<String> {
    let bundle = catalogue.bundle();
    let mut tools: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let names = catalogue.names();
    for tool in names.values() {
        let arguments = bundle.opaque_arguments(tool);
        if let (Some(policy), false) = (bundle.stops_unseen(tool), arguments.is_empty()) {
            let arguments = arguments.iter().map(|(argument, _why)| argument.as_str());
            let arguments = arguments.collect::<Vec<_>>().join(", ");
            let known = tools.entry(policy).or_default();
            known.push(format!("{tool} ({arguments})"));
        }
    }
    let warned = tools.into_iter().map(|(policy, tools)| {
        format!(
            "`{policy}` refuses calls with arguments that policy cannot see, which these may have: {}. Where you can live with one, say so in that policy, as in `unless {{ [\"ARGUMENT\"].containsAll(context.call.opaque) }}`; or declare a tool that only reads as `access = \"read\"`",
            tools.join(", ")
        )
    });
    warned.collect()
}

/// What has a permit cover the tools of a server, by how the policies began.
fn to_cover(bundle: &Bundle, server: &ServerName) -> String {
    let own = format!("start.{server}");
    // A permissive one of its own would cover them.
    let reads = |policy: &PolicySummary| {
        let has_started = policy.id == READING || policy.id == own;
        has_started && bundle.permits_reading(&policy.id)
    };
    if let Some(policy) = bundle.policies().find(reads) {
        return format!(
            "`{}` permits what you declare as reading; write `access = \"read\"` into `[servers.{server}.tools.TOOL]` of each tool that only reads (`countersign policy new --read-only --add` prints those that call themselves so), or write a permit",
            policy.id
        );
    }
    let has_started = bundle
        .policies()
        .any(|policy| policy.file == STARTING_POLICIES);
    let how = match has_started {
        true => "`countersign policy new --permissive --add`",
        false => "`countersign policy new --permissive` (or `--read-only`)",
    };
    format!("write one, or let {how} do it")
}
