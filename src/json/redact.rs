//! Taking values out of a JSON text, by JSON pointers (RFC 6901). What is not taken
//! out keeps its spelling.

use super::canonical::write_string;
use crate::tool::Pointer;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;
use std::fmt;

/// What stands in the place of a value.
const REDACTED: &str = "\"[redacted]\"";

/// The text without what these pointers name; none where it is no JSON.
pub fn redacted(text: &str, pointers: &[Pointer]) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    let paths: Vec<&[String]> = pointers.iter().map(Pointer::steps).collect();
    let mut out = String::with_capacity(text.len());
    write(raw.get(), &paths, &mut out)?;
    Some(out)
}

fn write(text: &str, paths: &[&[String]], out: &mut String) -> Option<()> {
    if paths.iter().any(|path| path.is_empty()) {
        out.push_str(REDACTED);
        return Some(());
    }
    match text.as_bytes().first() {
        Some(b'{') if !paths.is_empty() => {
            let Members(members) = serde_json::from_str(text).ok()?;
            out.push('{');
            for (place, (name, value)) in members.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write(value.get(), &below(paths, name), out)?;
            }
            out.push('}');
        }
        Some(b'[') if !paths.is_empty() => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (place, value) in elements.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(value.get(), &below(paths, &place.to_string()), out)?;
            }
            out.push(']');
        }
        _ => out.push_str(text),
    }
    Some(())
}

/// What the paths that go on by this step name there.
fn below<'a>(paths: &[&'a [String]], step: &str) -> Vec<&'a [String]> {
    let on = paths.iter().filter_map(|path| path.split_first());
    let on = on.filter(|(first, _rest)| *first == "*" || *first == step);
    on.map(|(_first, rest)| rest).collect()
}

/// The members of an object in their order, a name that stands twice too: whatever
/// another reader takes for the value, it is looked at.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pointers_name_is_taken_out_and_all_else_keeps_its_spelling() {
        let text = r#"{"card": {"number":"4711", "n": 1.10},"items":[{"pin":1},{"pin":2,"a/b":3}],"x":12345678901234567890123}"#;
        for (pointers, left) in [
            (
                &["/card/number"][..],
                r#"{"card":{"number":"[redacted]","n":1.10},"items":[{"pin":1},{"pin":2,"a/b":3}],"x":12345678901234567890123}"#,
            ),
            (
                &["/items/*/pin", "/items/1/a~1b", "/card"],
                r#"{"card":"[redacted]","items":[{"pin":"[redacted]"},{"pin":"[redacted]","a/b":"[redacted]"}],"x":12345678901234567890123}"#,
            ),
            (
                &["/absent/deep", "/x/y"],
                r#"{"card":{"number":"4711", "n": 1.10},"items":[{"pin":1},{"pin":2,"a/b":3}],"x":12345678901234567890123}"#,
            ),
        ] {
            let pointers: Vec<Pointer> =
                pointers.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(redacted(text, &pointers).as_deref(), Some(left));
        }
        let pin: Pointer = "/pin".parse().unwrap();
        let twice = redacted(r#"{"pin":1,"pin":2}"#, std::slice::from_ref(&pin));
        assert_eq!(
            twice.as_deref(),
            Some(r#"{"pin":"[redacted]","pin":"[redacted]"}"#)
        );
        assert_eq!(redacted("{", &[pin]), None);
    }
}
