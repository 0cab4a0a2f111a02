//! What Cedar's validator finds wrong, told by what the operator wrote: the expression,
//! the tool, and the arguments that the tool has.

use super::places::Tool;
use super::reads;
use super::shape::Field;
use super::shape::Fields;
use super::shape::Shape;
use super::shape::count_attribute;
use cedar_policy::Policy;
use cedar_policy::ValidationError;
use miette::Diagnostic;

/// The longest expression that is shown, in characters.
const SHOWN: usize = 120;

/// How many arguments of a tool are named.
const NAMED: usize = 20;

/// Tells an error by what stands at its place in the text of its file. `cedar` is how
/// Cedar tells it; that stays where nothing better is known.
pub(super) fn told<'a>(
    (error, cedar): (&ValidationError, &str),
    text: Option<&str>,
    tools: impl Iterator<Item = Tool<'a>> + Clone,
) -> String {
    let written = text.and_then(|text| written(error, text));
    let Some(written) = written else {
        return cedar.to_owned();
    };
    let path = path_of(&written);
    let path: Option<Vec<&str>> = path
        .as_ref()
        .map(|path| path.iter().map(String::as_str).collect());
    let named = |tool: &Tool<'_>| cedar.contains(&format!("Action::{:?}", tool.id.to_string()));
    match (error, path) {
        (ValidationError::UnsafeAttributeAccess(_), Some(path)) => {
            let tool = tools.clone().find(named);
            let absent = tool.and_then(|tool| absent(&tool, &path));
            match (absent, error.help()) {
                (Some(absent), Some(help)) => format!("`{written}`: {absent} ({help})"),
                (Some(absent), None) => format!("`{written}`: {absent}"),
                (None, _) => cedar.to_owned(),
            }
        }
        (ValidationError::UnexpectedType(_), path) => {
            let path = path.unwrap_or_default();
            let mut has_it = tools.filter(|tool| argument(tool.fields, &path).is_some());
            match has_it.next() {
                Some(tool) => format!("`{written}`, an argument of `{}`: {cedar}", tool.id),
                None => format!("`{written}`: {cedar}"),
            }
        }
        (ValidationError::IncompatibleTypes(_), _) => format!("`{written}`: {cedar}"),
        (_, _) => cedar.to_owned(),
    }
}

/// What would be right where a text is no policy at this place, as far as somebody who
/// knows other languages may have meant something by it.
pub(super) fn hint(text: &str, at: usize) -> Option<String> {
    unquoted(text, at)
        .or_else(|| comment(text, at))
        .or_else(|| curly(text, at))
        .or_else(|| beside_context(text, at))
        .or_else(|| elsewhere(text, at))
}

/// What would be right where an operator or a method is one of another language.
fn elsewhere(text: &str, at: usize) -> Option<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let right = |word: &str| match word {
        "and" => Some("`&&`, not `and`"),
        "or" => Some("`||`, not `or`"),
        "not" => Some("`!`, not `not`"),
        "startsWith" | "starts_with" | "startswith" => Some("`like \"x*\"`, with `*` for any text"),
        "endsWith" | "ends_with" | "endswith" => Some("`like \"*x\"`, with `*` for any text"),
        "matches" | "match" => {
            Some("`like \"*x*\"`, with `*` for any text; it has no regular expressions")
        }
        _ => None,
    };
    let mut words = code(text, at)?.flat_map(|part| part.split(|c| !is_word(c)));
    let right = words.find_map(right)?;
    Some(format!("Cedar has {right}"))
}

/// The parts of the line of this place that are neither in quotes nor behind `//`.
fn code(text: &str, at: usize) -> Option<impl Iterator<Item = &str>> {
    let begin = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(begin..)?.lines().next()?;
    Some(line.split("//").next()?.split('"').step_by(2))
}

/// What would be right where a comment is written as in TOML or in a shell.
fn comment(text: &str, at: usize) -> Option<String> {
    let found = code(text, at)?.any(|part| part.contains('#'));
    found.then(|| "a comment begins with `//`, not with `#`".to_owned())
}

/// What would be right where a program for writing letters has bent the quotes.
fn curly(text: &str, at: usize) -> Option<String> {
    let bent = ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}'];
    let found = code(text, at)?.any(|part| part.contains(bent));
    found.then(|| "quotes are straight: write `\"`, not `\u{201c}` or `\u{201d}`".to_owned())
}

/// What would be right where a call is read as if it stood beside the context, like
/// `input.path`.
fn beside_context(text: &str, at: usize) -> Option<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = text.get(at..)?;
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (name, behind) = rest.split_at_checked(end)?;
    let place = match name {
        "input" | "session" | "call" | "meter" | "meters" => name,
        "args" | "arguments" | "params" => "input",
        _ => return None,
    };
    let member = behind.strip_prefix('.').unwrap_or_default();
    let end = member.find(|c| !is_word(c)).unwrap_or(member.len());
    let dot = if end == 0 { "" } else { "." };
    let member = member.get(..end)?;
    Some(format!(
        "what is known of a call stands in `context`: write `context.{place}{dot}{member}`"
    ))
}

/// What would be right where an attribute that we derive is written like one of Cedar's,
/// `context.input.path#under`, on the line of this place; none where no `#` is.
fn unquoted(text: &str, at: usize) -> Option<String> {
    let (before, after) = code(text, at)?.find_map(|part| part.split_once('#'))?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let path = before.rsplit(|c| !is_word(c) && c != '.').next()?;
    let (inside, argument) = match path.rsplit_once('.') {
        Some((inside, argument)) => (Some(inside), argument),
        None => (None, path),
    };
    let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
    let (fact, rest) = after.split_at_checked(end)?;
    let member = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let member = member.map_or_else(String::new, |(member, _)| format!("({member})"));
    if argument.is_empty() || fact.is_empty() {
        return None;
    }
    let attribute = format!("{argument}#{fact}{member}");
    Some(match inside {
        Some(inside) => {
            format!("`#` stands in quotes: write `{inside}[{attribute:?}]`")
        }
        None => format!("`#` stands in quotes: write `{attribute:?}`"),
    })
}

/// What stands at the place of an error, on one line; none where that is too much.
fn written(error: &ValidationError, text: &str) -> Option<String> {
    let label = error.labels()?.next()?;
    let end = label.offset().checked_add(label.len())?;
    let written = text.get(label.offset()..end)?;
    let written = written.split_whitespace().collect::<Vec<_>>().join(" ");
    (!written.is_empty() && written.chars().count() <= SHOWN).then_some(written)
}

/// The attributes of the context that an expression reads.
fn path_of(written: &str) -> Option<Vec<String>> {
    let policy = format!("forbid (principal, action, resource) when {{ {written} }};");
    let policy = Policy::parse(None, policy).ok()?.to_json().ok()?;
    let path = reads::context_path(policy.pointer("/conditions/0/body")?)?;
    Some(path.into_iter().map(str::to_owned).collect())
}

/// The argument at this place of the context.
fn argument<'f>(fields: &'f Fields, path: &[&str]) -> Option<&'f Field> {
    let mut rest = path.strip_prefix(&["input"])?.iter();
    let mut field = fields.typed.get(*rest.next()?)?;
    for name in rest {
        let Shape::Record(inner) = &field.shape else {
            return None;
        };
        field = inner.typed.get(*name)?;
    }
    Some(field)
}

/// Why nothing is at this place of a call of a tool, and what would be.
fn absent(tool: &Tool<'_>, path: &[&str]) -> Option<String> {
    let id = tool.id;
    let section = format!("`[servers.{}.tools.{}]`", id.server, id.name);
    match path {
        ["input", inside @ ..] => in_input(tool, inside, &section),
        ["meter", of @ ..] => {
            let argument = of.first().copied().unwrap_or("ARGUMENT");
            Some(format!(
                "the tool `{id}` has no such meter: `meter = [{argument:?}]` in {section} makes one of an argument that is a whole number or `money`"
            ))
        }
        ["meters"] => Some(format!("no `[[meters]]` counts the tool `{id}`")),
        ["meters", name, ..] => Some(format!(
            "no `[[meters]]` with `name = {name:?}` counts the tool `{id}`"
        )),
        [other, ..] if !["call", "session"].contains(other) => Some(format!(
            "what is known of a call is `context.input` (its arguments), `context.session`, `context.call`, and `context.meter` and `context.meters` where the tool has some; there is no `context.{other}`"
        )),
        _ => None,
    }
}

fn in_input(tool: &Tool<'_>, inside: &[&str], section: &str) -> Option<String> {
    let (mut fields, mut place) = (tool.fields, String::new());
    for name in inside {
        if let Some(opaque) = fields.opaque.get(*name) {
            return Some(format!(
                "policy cannot see the argument `{place}{name}` of the tool `{}`: {}; only whether it is there, in `context.call.opaque`",
                tool.id, opaque.reason
            ));
        }
        match fields.typed.get(*name).map(|field| &field.shape) {
            Some(Shape::Record(inner)) => {
                place.push_str(&format!("{name}."));
                fields = inner;
            }
            // What is wrong is further in than an argument goes.
            Some(_) => return None,
            None => return Some(no_argument(tool, (fields, &place), name, section)),
        }
    }
    None
}

fn no_argument(
    tool: &Tool<'_>,
    (fields, place): (&Fields, &str),
    name: &str,
    section: &str,
) -> String {
    let derived = name.rsplit_once('#');
    let derived = derived.filter(|(argument, _)| fields.typed.contains_key(*argument));
    if let Some((argument, fact)) = derived {
        let key = match fact {
            "resolved" => Some(format!("path = [\"{place}{argument}\"]")),
            "under" => Some(format!(
                "under = {{ {:?} = \"/a/folder\" }}",
                format!("{place}{argument}")
            )),
            "host" => Some(format!("url = [\"{place}{argument}\"]")),
            sum => sum
                .strip_prefix("sum(")
                .and_then(|member| member.strip_suffix(')'))
                .map(|member| format!("sum = [\"{place}{argument}[].{member}\"]")),
        };
        if let Some(key) = key {
            return format!(
                "`{name}` is there once `{key}` is declared in {section} of the configuration"
            );
        }
    }
    let mut has: Vec<String> = Vec::new();
    for (argument, field) in &fields.typed {
        has.push(format!("{place}{argument}"));
        if matches!(field.shape, Shape::Many(_)) {
            has.push(format!("{place}{}", count_attribute(argument)));
        }
        has.extend(
            field
                .facts
                .iter()
                .map(|fact| format!("{place}{}", fact.attribute(argument))),
        );
    }
    let more = match has.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    has.truncate(NAMED);
    let sees = match has.is_empty() {
        true => "none of its arguments".to_owned(),
        false => format!("`{}`{more}", has.join("`, `")),
    };
    format!(
        "the tool `{}` has no argument `{place}{name}`; policy sees {sees}",
        tool.id
    )
}
