//! The arguments of a call for a person who decides on it: what is sent, each argument by
//! itself, so that a long one hides no other.

use super::Fact;
use super::SHOWN;
use crate::json;
use crate::json::Object;
use crate::visible;

/// How many arguments are shown with their values.
const MOST: usize = 16;
/// How much of each name and value is shown, in characters.
const NAME: usize = 60;
const VALUE: usize = 120;

/// What is said of the arguments: all of them as they are, or where that would be too
/// long, one after the other, each cut by itself.
pub(super) fn facts(body: &str) -> Vec<Fact> {
    let said = |label, text| Fact {
        label,
        text,
        outside: true,
    };
    // What an approval is bound to: no escape stands for what can be written as it is.
    let canonical = json::canonical(body).unwrap_or_else(|_unread| body.to_owned());
    let whole = visible::cut_line(&canonical, SHOWN);
    if whole == visible::one_line(&canonical, SHOWN) {
        return vec![said("Arguments", whole)];
    }
    let Ok(members) = Object::parse(&canonical) else {
        return vec![said("Arguments", whole)];
    };
    let all: Vec<(&str, &str)> = members.iter().collect();
    let mut facts = vec![Fact {
        label: "Arguments",
        text: format!("{}, too long to be shown whole", all.len()),
        outside: false,
    }];
    facts.extend(all.iter().take(MOST).map(|(name, value)| {
        let value = visible::cut_line(value, VALUE);
        said("Argument", format!("{}: {value}", json::named(name, NAME)))
    }));
    if let Some(rest) = all.get(MOST..).filter(|rest| !rest.is_empty()) {
        let names = rest.iter().map(|(name, _)| json::named(name, NAME));
        let names = names.collect::<Vec<_>>().join(", ");
        let text = visible::cut_line(&format!("{} more: {names}", rest.len()), SHOWN);
        facts.push(said("Arguments", text));
    }
    facts
}
