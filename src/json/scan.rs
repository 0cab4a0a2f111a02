//! Strict reading: one pass over the whole text, then members by name.

use super::quick;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use unicode_normalization::IsNormalized;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::is_nfkc_quick;

/// How deep values may nest. Deeper ones are refused before they cost anything.
pub(super) const MAX_DEPTH: usize = 64;

/// How the keys begin by which serde_json passes values on to itself. A reader
/// built on it takes `{"$serde_json::private::RawValue":"[1]"}` for `[1]`, so
/// that a server would act on arguments that policy never saw.
pub(super) const STANDS_IN: &str = "$serde_json::private::";

/// Why a text was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, has a key twice, or nests too deep.
    #[error("{0}")]
    Malformed(String),
    /// It is JSON, and not an object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// A key that another reader could take for a known one.
    #[error("`{found}` could be read as `{known}`: write the key exactly, or leave it out")]
    Lookalike {
        /// The key as it was sent.
        found: String,
        /// The key it folds to.
        known: String,
    },
}

/// Checks a whole text: UTF-8, one JSON value, no key twice in an object at any
/// depth, none that readers built on serde_json take for the value beside it, at
/// most 64 levels deep, numbers within the range of a double. Returns the text.
///
/// # Errors
///
/// [`JsonError::Malformed`], with the place in the text.
pub fn check(bytes: &[u8]) -> Result<&str, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(malformed)?;
    if !quick::is_strict(text) {
        strict(text)?;
    }
    Ok(text)
}

/// [`check`] of a text that is not plain.
pub(super) fn strict(text: &str) -> Result<(), JsonError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Checked { depth: 0 }
        .deserialize(&mut reader)
        .map_err(malformed)?;
    reader.end().map_err(malformed)
}

/// The members of an object that is not plain.
pub(super) fn strict_members(text: &str) -> Result<Vec<(Cow<'_, str>, &str)>, JsonError> {
    if !text.trim_ascii_start().starts_with('{') {
        return match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(JsonError::NotAnObject),
            Err(source) => Err(malformed(source)),
        };
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Members).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(members)
}

/// The members of one JSON object, each value as the text it was.
#[derive(Debug)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Object<'a> {
    /// Reads the members of an object. Deeper values are not looked at: call
    /// [`check`] on the whole text once.
    ///
    /// # Errors
    ///
    /// [`JsonError::NotAnObject`] for other values; [`JsonError::Malformed`]
    /// where it is no JSON or has a key twice.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let members = match quick::members(text) {
            Some(members) => members,
            None => strict_members(text)?,
        };
        Ok(Self { members })
    }

    /// [`check`] and [`parse`](Self::parse) in one go, which is what each message
    /// begins with. Returns the text too.
    ///
    /// # Errors
    ///
    /// Outside, where the whole text does not pass; inside, where it does and is no
    /// object.
    pub fn checked(bytes: &'a [u8]) -> Result<(&'a str, Result<Self, JsonError>), JsonError> {
        let text = std::str::from_utf8(bytes).map_err(malformed)?;
        if let Some(members) = quick::strict_members(text) {
            return Ok((text, Ok(Self { members })));
        }
        strict(text)?;
        Ok((text, Self::parse(text)))
    }

    /// The value of a key, as the text it was.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Keys and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(key, value)| (&**key, *value))
    }

    /// Refuses a key that is none of `known` and folds to one of them.
    ///
    /// # Errors
    ///
    /// [`JsonError::Lookalike`] for the first such key.
    pub fn refuse_lookalikes<'k>(
        &self,
        known: impl Iterator<Item = &'k str> + Clone,
    ) -> Result<(), JsonError> {
        for (found, _) in self.iter() {
            if known.clone().any(|known| known == found) {
                continue;
            }
            let folded = fold(found);
            if let Some(known) = known.clone().find(|known| fold(known) == folded) {
                return Err(JsonError::Lookalike {
                    found: found.to_owned(),
                    known: known.to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// A key as the laxest readers see it: compatibility-normalised (NFKC), without
/// case, and cut at its first NUL. Two keys with the same fold are one key to
/// some server.
pub fn fold(key: &str) -> Cow<'_, str> {
    let plain = key
        .bytes()
        .all(|b| b.is_ascii() && !b.is_ascii_uppercase() && b != 0);
    if plain {
        return Cow::Borrowed(key);
    }
    let cut = key.split('\0').next().unwrap_or_default();
    // No form of normalisation changes ASCII (UAX #15, section 1.1).
    if cut.is_ascii() {
        return Cow::Owned(cut.to_ascii_lowercase());
    }
    let composed: Cow<'_, str> = match is_nfkc_quick(cut.chars()) {
        IsNormalized::Yes => Cow::Borrowed(cut),
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(cut.nfkc().collect()),
    };
    // By way of the upper case, and without the dot that it may leave, because to
    // Java's `equalsIgnoreCase` the i without a dot and the I with one are i. A
    // second normalisation: a change of case can leave a form that NFKC changes.
    let folded = composed.to_uppercase().to_lowercase();
    Cow::Owned(folded.replace("i\u{307}", "i").nfkc().collect())
}

/// The string that a JSON text is, or none where it is something else.
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    let raw = raw.trim_ascii();
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if quick::is_plain(inner) {
        return Some(Cow::Borrowed(inner));
    }
    if inner.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        serde_json::from_str(raw).ok().map(Cow::Borrowed)
    }
}

fn malformed(source: impl fmt::Display) -> JsonError {
    JsonError::Malformed(source.to_string())
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, &'de str)> = Vec::with_capacity(8);
        let mut many = HashSet::new();
        while let Some(Key(key)) = map.next_key()? {
            // The first ones are searched where they are kept.
            let mut few = members.iter().take(Seen::FEW);
            let is_new = !few.any(|(seen, _)| *seen == key)
                && (members.len() < Seen::FEW || many.insert(key.clone()));
            if !is_new {
                return Err(duplicate(&key));
            }
            members.push((key, map.next_value::<&RawValue>()?.get()));
        }
        Ok(members)
    }
}

/// Any value, checked to its last level.
#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(E::custom(format_args!(
                "values nest deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = Seen::default();
        while let Some(Key(key)) = map.next_key()? {
            if !seen.insert(key.clone()) {
                return Err(duplicate(&key));
            }
            map.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// The keys of one object so far. Nearly every object is small enough to be
/// searched from its start, which is quicker than hashing; a large one is not,
/// or the time for a message would grow with the square of its keys.
#[derive(Default)]
struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    /// How many keys are searched one by one.
    const FEW: usize = 16;

    /// False where the key was there already.
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
            return true;
        }
        self.many.insert(key)
    }
}

fn duplicate<E: serde::de::Error>(key: &str) -> E {
    let shown: String = key.chars().take(80).collect();
    E::custom(format_args!("the key `{shown}` stands twice in one object"))
}

/// A key, borrowed from the text unless it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'a> Key<'a> {
    fn of<E: serde::de::Error>(key: Cow<'a, str>) -> Result<Self, E> {
        if key.starts_with(STANDS_IN) {
            return Err(E::custom(
                "a key is read by some as the value beside it: leave out what begins with `$serde_json::private::`",
            ));
        }
        Ok(Self(key))
    }
}

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, key: &'de str) -> Result<Key<'de>, E> {
                Key::of(Cow::Borrowed(key))
            }

            fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Key<'de>, E> {
                Key::of(Cow::Owned(key.to_owned()))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_refused_at_every_depth() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[0,{"y":{"a":1,"b":0,"a":2}}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let error = check(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("`a` stands twice"), "{text}: {error}");
        }
        assert!(check(br#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#).is_ok());
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_in_an_object_of_any_size() {
        for size in [2, Seen::FEW, Seen::FEW + 1, 3 * Seen::FEW] {
            let keys: Vec<String> = (0..size).map(|n| format!("\"k{n}\":{n}")).collect();
            let text = format!("{{{}}}", keys.join(","));
            assert!(check(text.as_bytes()).is_ok() && Object::parse(&text).is_ok());
            for again in 0..size {
                let text = format!("{{{},\"k{again}\":0}}", keys.join(","));
                assert!(check(text.as_bytes()).is_err(), "{text}");
                assert!(Object::parse(&text).is_err(), "{text}");
            }
        }
    }

    #[test]
    fn a_key_that_stands_for_the_value_beside_it_is_refused() {
        let smuggled = r#"{"$serde_json::private::RawValue":"{\"amount\":9}"}"#;
        let read: serde_json::Value = serde_json::from_str(smuggled).unwrap();
        assert_eq!(read, serde_json::json!({"amount": 9}));
        for text in [
            smuggled.to_owned(),
            format!(r#"{{"x":[{smuggled}]}}"#),
            smuggled.replace("$s", r"\u0024\u0073"),
            r#"{"n":{"$serde_json::private::Number":"1e400"}}"#.to_owned(),
        ] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Object::parse(smuggled).is_err());
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for bytes in [
            b"".as_slice(),
            b"{",
            b"{} {}",
            b"{\"a\":1,}",
            b"{'a':1}",
            b"NaN",
            b"\"\xff\"",
            b"\"\\ud800\"",
            b"{\"a\":1e999}",
            b"\xef\xbb\xbf{}",
        ] {
            assert!(check(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(check(deep(MAX_DEPTH).as_bytes()).is_ok());
        assert!(check(deep(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(check(deep(100_000).as_bytes()).is_err());
    }

    #[test]
    fn keys_that_some_reader_confuses_have_one_fold() {
        for alias in ["Name", "NAME", "name\0", "name\0x", "ｎａｍｅ"] {
            assert_eq!(fold(alias), "name", "{alias:?}");
        }
        // The Kelvin sign and the long s are letters to a case-folding reader.
        assert_eq!(fold("toKen"), "token");
        assert_eq!(fold("argumentſ"), "arguments");
        assert_eq!(fold("l\u{131}m\u{131}t"), "limit");
        assert_eq!(fold("L\u{130}MI\u{307}T"), "limit");
        assert_eq!(fold("line_items"), "line_items");
        assert_ne!(fold("name "), "name");
    }

    #[test]
    fn members_are_the_text_they_were() {
        let object = Object::parse(r#" {"a": 1e3 , "b\u0063": { "x" : [1, 2] } }"#).unwrap();
        assert_eq!(object.get("a"), Some("1e3"));
        assert_eq!(object.get("bc"), Some(r#"{ "x" : [1, 2] }"#));
        assert_eq!(object.get("b"), None);
        assert!(matches!(Object::parse("[1]"), Err(JsonError::NotAnObject)));
        assert!(matches!(Object::parse("nul"), Err(JsonError::Malformed(_))));
    }

    #[test]
    fn a_lookalike_of_a_known_key_is_refused_and_the_key_itself_is_not() {
        let known = ["name", "arguments"];
        let refused = |text| {
            Object::parse(text)
                .unwrap()
                .refuse_lookalikes(known.into_iter())
        };
        assert!(refused(r#"{"name":1,"other":2}"#).is_ok());
        assert_eq!(
            refused(r#"{"name":1,"Name":2}"#),
            Err(JsonError::Lookalike {
                found: "Name".to_owned(),
                known: "name".to_owned()
            })
        );
        assert!(refused("{\"arguments\\u0000\":1}").is_err());
    }

    #[test]
    fn a_string_is_read_with_its_escapes_and_nothing_else_is_a_string() {
        assert_eq!(text(r#""a\u0062""#).as_deref(), Some("ab"));
        assert_eq!(text("\"é\"").as_deref(), Some("é"));
        assert_eq!(text("\"\""), Some(Cow::Borrowed("")));
        for other in ["1", "null", "\"", "\"a", "[\"a\"]"] {
            assert_eq!(text(other), None, "{other}");
        }
    }
}
