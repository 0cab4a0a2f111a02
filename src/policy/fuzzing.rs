//! What holds of whatever a client sends as arguments.

use super::Bundle;
use super::Gate;
use super::Inputs;
use super::PolicyFile;
use super::PolicyServer;
use super::PolicyTool;
use crate::json;
use crate::principal::Principals;
use crate::tool::Digest;
use crate::tool::Hints;
use crate::tool::ToolDefinition;
use crate::tool::ToolId;
use crate::tool::ToolRules;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::LazyLock;

/// A number is read exactly, digit by digit, or the arguments are refused.
pub fn arguments(input: &[u8]) {
    let Ok(text) = json::check(input) else {
        return;
    };
    let Some(gate) = &*GATE else {
        unreachable!("the tool has no gate");
    };
    let read = gate.read(text);
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
        assert!(read.is_err());
        return;
    };
    let amount = |key: &str, scale| match members.get(key).map(|raw| raw.get()) {
        None => Some(0),
        Some(raw) => whole(raw, scale),
    };
    let (money, count) = (amount("amount", 2), amount("count", 0));
    match read {
        Ok(reading) => {
            let read = |name: &str| {
                let mut amounts = reading.amounts().iter();
                let found = amounts.find(|amount| &*amount.argument == name);
                found.map(|amount| amount.value)
            };
            assert_eq!((read("amount"), read("count")), (money, count), "{text}");
        }
        Err(problem) => {
            let plain = members
                .keys()
                .all(|key| ["amount", "count"].contains(&key.as_str()));
            let fits = money.is_some() && count.is_some();
            assert!(!(plain && fits), "{text}: {problem}");
        }
    }
}

/// The number of 10^-`scale` that a JSON number is, by its digits written out.
fn whole(raw: &str, scale: i64) -> Option<i64> {
    let (sign, digits) = match raw.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", raw),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{before}{after}");
    if all.bytes().all(|digit| digit == b'0') {
        return Some(0);
    }
    // No text of a fuzzer is so long that a larger exponent could be made good.
    let exponent: i64 = exponent
        .parse()
        .ok()
        .filter(|e| (-1 << 13..1 << 13).contains(e))?;
    let point = i64::try_from(before.len()).ok()? + exponent + scale;
    let at = usize::try_from(point.max(0)).ok()?;
    let (whole, rest) = match all.split_at_checked(at) {
        Some((whole, rest)) => (whole.to_owned(), rest),
        None => (format!("{all:0<at$}"), ""),
    };
    let nothing = rest.bytes().all(|digit| digit == b'0') && point >= 0;
    let whole = whole.trim_start_matches('0');
    nothing
        .then(|| format!("{sign}{whole:0>1}").parse().ok())
        .flatten()
}

/// A tool with an amount of money and a whole number, both metered.
static GATE: LazyLock<Option<Arc<Gate>>> = LazyLock::new(|| {
    let id = ToolId {
        server: "t".parse().ok()?,
        name: "x".into(),
    };
    let number = json!({"type": "number"});
    let definition = ToolDefinition {
        id: id.clone(),
        json: "{}".into(),
        digest: Digest::of(b""),
        input_schema: json!({"type": "object", "properties": {
            "amount": number, "count": {"type": "integer"}, "other": number, "name": {"type": "string"},
        }}),
        hints: Hints::default(),
    };
    let tool = PolicyTool {
        definition: Arc::new(definition),
        rules: ToolRules {
            money: vec!["amount".to_owned()],
            meters: vec!["amount".to_owned(), "count".to_owned()],
            ..ToolRules::default()
        },
        pinned: true,
    };
    let server = PolicyServer {
        name: id.server.clone(),
        trust: "internal".to_owned(),
        tools: Some(vec![tool]),
    };
    let all = "@id(\"all\") permit(principal, action, resource);";
    let bundle = Bundle::build(&Inputs {
        files: &[PolicyFile {
            name: "all.cedar".to_owned(),
            text: all.to_owned(),
        }],
        servers: &[server],
        own: &[],
        principals: &Principals {
            roles: BTreeMap::new(),
            by_id: BTreeMap::new(),
        },
        money_scale: 2,
        meters: &[],
    });
    bundle.ok()?.gate(&id).cloned()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_of_arguments_is_read_exactly() {
        crate::fuzzing::replay("arguments", arguments);
    }

    #[test]
    fn the_second_reading_of_numbers_is_right() {
        for (raw, scale, value) in [
            ("12.5", 2, Some(1250)),
            ("-1e3", 0, Some(-1000)),
            ("1200e-2", 0, Some(12)),
            ("0.001e1", 2, Some(1)),
            ("0.001", 2, None),
            ("1e-400", 2, None),
            ("9223372036854775808", 0, None),
            ("-9223372036854775808", 0, Some(i64::MIN)),
            ("null", 0, None),
        ] {
            assert_eq!(whole(raw, scale), value, "{raw}");
        }
    }
}
