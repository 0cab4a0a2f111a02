//! One text for all texts that mean the same value.

use super::JsonError;
use super::Object;
use super::quick;
use super::text;
use serde_json::value::RawValue;

/// The same value without spaces, its keys sorted and its strings escaped one
/// way, so that two texts of one value have one digest. Numbers keep their
/// text: `1` and `1.0` are two values to some servers.
///
/// # Errors
///
/// As for [`Object::parse`], at any depth.
pub fn canonical(json: &str) -> Result<String, JsonError> {
    let mut written = String::with_capacity(json.len());
    write(json.trim_ascii(), &mut written)?;
    Ok(written)
}

fn write(json: &str, to: &mut String) -> Result<(), JsonError> {
    match json.as_bytes().first() {
        Some(b'{') => {
            let object = Object::parse(json)?;
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable();
            to.push('{');
            for (place, (key, value)) in members.into_iter().enumerate() {
                if place > 0 {
                    to.push(',');
                }
                write_string(key, to);
                to.push(':');
                write(value, to)?;
            }
            to.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)
                .map_err(|source| JsonError::Malformed(source.to_string()))?;
            to.push('[');
            for (place, item) in items.into_iter().enumerate() {
                if place > 0 {
                    to.push(',');
                }
                write(item.get(), to)?;
            }
            to.push(']');
        }
        Some(b'"') => {
            let value =
                text(json).ok_or_else(|| JsonError::Malformed("not a string".to_owned()))?;
            write_string(&value, to);
        }
        _ => to.push_str(json),
    }
    Ok(())
}

/// Adds a string as JSON has it, with the quotes.
pub fn write_string(value: &str, to: &mut String) {
    if quick::is_plain(value) {
        to.push('"');
        to.push_str(value);
        to.push('"');
    } else {
        to.push_str(&serde_json::Value::from(value).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_one_value_have_one_canonical_text() {
        let texts = [
            r#"{"b":[1, {"y":"\u00e9","x":null}],"a":true}"#,
            "{ \"a\" : true , \"b\" : [1,{\"x\":null,\"y\":\"é\"}] }",
        ];
        for text in texts {
            assert_eq!(
                canonical(text).unwrap(),
                r#"{"a":true,"b":[1,{"x":null,"y":"é"}]}"#
            );
        }
        assert_ne!(canonical("[1]").unwrap(), canonical("[1.0]").unwrap());
        assert_ne!(canonical("[1,2]").unwrap(), canonical("[2,1]").unwrap());
    }
}
