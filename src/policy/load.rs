//! Policies read from their files: each with the id it was given, the place it
//! stands at, and what it names.

use super::bundle::PolicyFile;
use super::decimals;
use super::mistakes;
use cedar_policy::Policy;
use cedar_policy::PolicyId;
use cedar_policy::PolicySet;
use miette::Diagnostic;
use std::str::FromStr;

/// The forbids that are always there.
const BUILTIN: &str = include_str!("builtin.cedar");

/// Ids that begin so are Countersign's own.
const OWN_PREFIX: &str = "countersign.";

/// The name that built-in policies have in place of a file.
const OWN_FILE: &str = "(built in)";

/// One policy and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) policy: Policy,
    pub(super) id: String,
    pub(super) file: String,
    pub(super) line: usize,
}

impl Loaded {
    /// A problem of this policy, for people.
    pub(super) fn problem(&self, what: impl std::fmt::Display) -> String {
        format!("{}:{}: policy `{}`: {what}", self.file, self.line, self.id)
    }
}

/// Whether an id is one of Countersign's own.
pub(super) fn is_own(id: &str) -> bool {
    id.starts_with(OWN_PREFIX)
}

/// The policies that are always there.
pub(super) fn builtin(problems: &mut Vec<String>) -> Vec<Loaded> {
    let file = PolicyFile {
        name: OWN_FILE.to_owned(),
        text: BUILTIN.to_owned(),
    };
    parse(&file, problems)
}

/// The operator's policies, by id.
pub(super) fn files(files: &[PolicyFile], problems: &mut Vec<String>) -> Vec<Loaded> {
    let mut all: Vec<Loaded> = Vec::new();
    for file in files {
        for loaded in parse(file, problems) {
            if is_own(&loaded.id) {
                problems.push(loaded.problem(format_args!(
                    "ids that begin with `{OWN_PREFIX}` are Countersign's own: choose another"
                )));
            } else if let Some(other) = all.iter().find(|other| other.id == loaded.id) {
                problems.push(loaded.problem(format_args!(
                    "the id is taken by the policy at {}:{}: give each its own",
                    other.file, other.line
                )));
            } else {
                all.push(loaded);
            }
        }
    }
    // The disk may list a folder in any order.
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

fn parse(file: &PolicyFile, problems: &mut Vec<String>) -> Vec<Loaded> {
    let set = match PolicySet::from_str(&file.text) {
        Ok(set) => set,
        Err(errors) => {
            problems.extend(errors.iter().map(|error| {
                let line = line_of(error, &file.text).unwrap_or(1);
                let label = error.labels().and_then(|mut labels| labels.next());
                let hint = label.and_then(|label| {
                    let at = label.offset();
                    let point = decimals::point(&file.text, at);
                    point.or_else(|| mistakes::hint(&file.text, at))
                });
                let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
                format!("{}:{line}: {}{hint}", file.name, in_full(error))
            }));
            return Vec::new();
        }
    };
    for template in set.templates() {
        let line = place_of(&file.text, &template.to_cedar(), 0).map_or(1, |(line, _)| line);
        let id = template.annotation("id").unwrap_or("without @id");
        problems.push(format!(
            "{}:{line}: policy `{id}`: it is a template (it has `?principal` or `?resource`), which nothing fills: name an entity",
            file.name
        ));
    }
    let mut policies: Vec<&Policy> = set.policies().collect();
    policies.sort_by_key(|policy| ordinal(policy));
    let mut from = 0;
    let mut loaded = Vec::new();
    for policy in policies {
        let text = policy.to_cedar().unwrap_or_default();
        let (line, end) = place_of(&file.text, &text, from).unwrap_or((1, from));
        from = end;
        match policy.annotation("id") {
            Some(id) => loaded.push(Loaded {
                policy: policy.new_id(PolicyId::new(id)),
                id: id.to_owned(),
                file: file.name.clone(),
                line,
            }),
            None => problems.push(format!(
                "{}:{line}: a policy without `@id`: write `@id(\"some.name\")` before it, unique among all policies",
                file.name
            )),
        }
    }
    loaded
}

/// A set names its policies `policy0`, `policy1`, … in their order.
fn ordinal(policy: &Policy) -> usize {
    let id = policy.id().to_string();
    id.strip_prefix("policy")
        .and_then(|number| number.parse().ok())
        .unwrap_or(usize::MAX)
}

/// The line at which a policy's text stands, and where it ends.
fn place_of(text: &str, policy: &str, from: usize) -> Option<(usize, usize)> {
    let start = from + text.get(from..)?.find(policy)?;
    Some((line_at(text, start), start + policy.len()))
}

/// The line that a message of Cedar's points to.
pub(super) fn line_of(message: &dyn Diagnostic, text: &str) -> Option<usize> {
    let label = message.labels()?.next()?;
    Some(line_at(text, label.offset()))
}

/// A message of Cedar's with the hint that belongs to it, on one line.
pub(super) fn in_full(message: &dyn Diagnostic) -> String {
    let mut full = message.to_string();
    if let Some(label) = message.labels().and_then(|mut labels| labels.next())
        && let Some(label) = label.label()
    {
        full = format!("{full}: {label}");
    }
    if let Some(help) = message.help() {
        full = format!("{full} ({help})");
    }
    full.replace('\n', " ")
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|&&byte| byte == b'\n').count()
}
