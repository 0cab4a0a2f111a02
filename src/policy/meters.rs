//! The meters that the operator declared, held against the tools that they count and
//! the policies that read them.

use super::annotations::listed;
use super::bundle::Inputs;
use super::gate::Gate;
use super::load::Loaded;
use super::names;
use super::reads;
use super::shape::Fields;
use super::shape::Shape;
use crate::nearest;
use crate::tool::Meter;
use crate::tool::ToolId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A declared meter of one tool.
#[derive(Clone, Debug)]
pub(super) struct OfTool {
    pub(super) meter: Arc<Meter>,
    /// What it sums is money.
    is_money: bool,
}

/// The declared meters that count a tool, put on its arguments. Returns with them
/// what is wrong.
pub(super) fn apply(
    fields: &mut Fields,
    tool: &ToolId,
    meters: &[Arc<Meter>],
) -> (Vec<OfTool>, Vec<String>) {
    let (mut own, mut wrong) = (Vec::new(), Vec::new());
    for meter in meters.iter().filter(|meter| meter.counts(tool)) {
        let summed = meter.sum.as_deref();
        let rule = format!("meters.{}.sum", meter.name);
        let shape = summed.map(|path| super::rules::feed(fields, &rule, path, own.len()));
        match shape.transpose() {
            Ok(shape) => own.push(OfTool {
                meter: Arc::clone(meter),
                is_money: matches!(shape, Some(Shape::Money(_))),
            }),
            Err(what) => wrong.push(what),
        }
    }
    (own, wrong)
}

/// What is wrong with the meters among each other and with what they name.
pub(super) fn check(inputs: &Inputs<'_>, counted: &[&[OfTool]], problems: &mut Vec<String>) {
    for meter in inputs.meters {
        let name = &meter.name;
        for counted in &meter.tools {
            let server = inputs.servers.iter().find(|s| s.name == counted.server);
            let Some(server) = server else {
                let known = inputs.servers.iter().map(|server| server.name.as_str());
                let known: Vec<&str> = known.collect();
                problems.push(format!(
                    "`meters.{name}.tools` names `{counted}`: the server `{}` is not configured{}; the servers are {}",
                    counted.server,
                    nearest::meant(counted.server.as_str(), known.iter().copied()),
                    listed(&known)
                ));
                continue;
            };
            let (Some(wanted), Some(tools)) = (&counted.tool, &server.tools) else {
                continue;
            };
            let mut known = BTreeSet::new();
            known.extend(tools.iter().map(|tool| tool.definition.id.to_string()));
            let id = format!("{}/{wanted}", counted.server);
            if !known.contains(&id) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                problems.push(format!(
                    "`meters.{name}.tools` names `{counted}`, which the server does not have{}: its tools are {}",
                    names::meant_tool(&id, &known),
                    listed(&known)
                ));
            }
        }
        let same = |of: &&OfTool| Arc::ptr_eq(&of.meter, meter);
        let units = counted.iter().flat_map(|of_tool| of_tool.iter());
        let units: BTreeSet<bool> = units.filter(same).map(|of| of.is_money).collect();
        if units.len() > 1 {
            problems.push(format!(
                "`meters.{name}.sum` is money in some of its tools and not in others: declare it as `money` in all of them, or make two meters"
            ));
        }
    }
}

/// The names of the meters that some policy reads of some tool.
pub(super) fn read<'a>(gates: impl Iterator<Item = &'a Arc<Gate>>) -> BTreeSet<Arc<str>> {
    let mut read = BTreeSet::new();
    for gate in gates {
        let wants = gate.slice.reads.of("meters");
        let names = gate.counted().map(|meter| &meter.name);
        read.extend(names.filter(|name| wants.wants(name)).map(Arc::clone));
    }
    read
}

/// Meters that count tools and that no policy reads, nor one that waits for its
/// server.
pub(super) fn unread(
    inputs: &Inputs<'_>,
    read: &BTreeSet<Arc<str>>,
    waiting: &[Loaded],
) -> Vec<String> {
    let unread = inputs.meters.iter().filter(|meter| {
        let mentioned = |loaded: &Loaded| reads::mentions(&loaded.policy, &meter.name);
        !read.contains(&meter.name) && !waiting.iter().any(mentioned)
    });
    let unread = unread.map(|meter| {
        let name = &meter.name;
        format!(
            "no policy reads the meter `{name}`, so it counts and limits nothing: write a `forbid` on `context.meters.{name}`"
        )
    });
    unread.collect()
}
