//! Writing by splicing: a text with some of its parts replaced, every other
//! byte as it was.

use super::Object;
use std::ops::Range;

/// Replaces parts of a JSON text. The parts are slices of that text, as
/// [`Object::get`](super::Object::get) returns them.
#[derive(Debug)]
pub struct Splice<'a> {
    text: &'a str,
    edits: Vec<(Range<usize>, String)>,
}

impl<'a> Splice<'a> {
    /// Starts with the text as it is.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            edits: Vec::new(),
        }
    }

    /// Puts `new` in the place of `part`. A part that is no slice of the text
    /// changes nothing.
    #[must_use]
    pub fn replace(mut self, part: &str, new: impl Into<String>) -> Self {
        if let Some(range) = self.range_of(part) {
            self.edits.push((range, new.into()));
        }
        self
    }

    /// Adds a member at the front of `object`, after those that were added before.
    /// The object must not have it yet, and nothing may be removed from it in the
    /// same go. A part that is no object of the text changes nothing.
    #[must_use]
    pub fn add_member(mut self, object: &str, key: &str, value: &str) -> Self {
        let after_brace = object.trim_ascii_start().strip_prefix('{');
        let place = after_brace.and_then(|rest| self.range_of(rest));
        if let (Some(rest), Some(range)) = (after_brace, place) {
            let key = serde_json::Value::from(key);
            let at = range.start..range.start;
            let is_empty = rest.trim_ascii_start().starts_with('}');
            let is_first = self.edits.iter().all(|(range, _)| *range != at);
            let member = match (is_empty, is_first) {
                (false, _) => format!("{key}:{value},"),
                (true, true) => format!("{key}:{value}"),
                (true, false) => format!(",{key}:{value}"),
            };
            self.edits.push((at, member));
        }
        self
    }

    /// Takes a member out of `object`, with its key and one comma. A part that is
    /// no object of the text, or has no such member, changes nothing.
    #[must_use]
    pub fn remove_member(self, object: &str, key: &str) -> Self {
        match Object::parse(object) {
            Ok(members) => self.remove_from(object, &members, key),
            Err(_no_object) => self,
        }
    }

    /// [`remove_member`](Self::remove_member) of an object whose members were read.
    #[must_use]
    pub fn remove_from(mut self, object: &str, members: &Object<'_>, key: &str) -> Self {
        let Some(place) = members.iter().position(|(found, _)| found == key) else {
            return self;
        };
        let range_of = |place: usize| self.range_of(members.iter().nth(place)?.1);
        let before = place.checked_sub(1).and_then(range_of);
        let (own, after) = (range_of(place), range_of(place + 1));
        let brace = object.trim_ascii_start().strip_prefix('{');
        let brace = brace.and_then(|rest| self.range_of(rest));
        let range = match (before, own, after, brace) {
            (Some(before), Some(own), _, _) => before.end..own.end,
            (None, Some(own), None, Some(brace)) => brace.start..own.end,
            (None, Some(own), Some(_), Some(brace)) => {
                let rest = self.text.get(own.end..).unwrap_or_default();
                let comma = rest.find(',').map_or(0, |place| place + 1);
                brace.start..own.end + comma
            }
            (_, None, _, _) | (None, Some(_), _, None) => return self,
        };
        self.edits.push((range, String::new()));
        self
    }

    /// The text with the edits made. Edits that overlap an earlier one are left out.
    pub fn finish(mut self) -> String {
        self.edits
            .sort_by_key(|(range, _)| (range.start, range.end));
        let grown: usize = self.edits.iter().map(|(_, new)| new.len()).sum();
        let mut spliced = String::with_capacity(self.text.len() + grown);
        let mut done = 0;
        for (range, new) in &self.edits {
            let Some(kept) = self.text.get(done..range.start) else {
                continue;
            };
            spliced.push_str(kept);
            spliced.push_str(new);
            done = range.end;
        }
        spliced.push_str(self.text.get(done..).unwrap_or_default());
        spliced
    }

    fn range_of(&self, part: &str) -> Option<Range<usize>> {
        let start = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        (end <= self.text.len() && self.text.get(start..end) == Some(part)).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Object;

    #[test]
    fn every_byte_outside_the_replaced_part_stays() {
        let text = r#"{ "id" : 7, "params": {"name":"a__b", "arguments": { "n": 1e3 } } }"#;
        let envelope = Object::parse(text).unwrap();
        let params = Object::parse(envelope.get("params").unwrap()).unwrap();
        let spliced = Splice::new(text)
            .replace(params.get("name").unwrap(), "\"b\"")
            .replace(envelope.get("id").unwrap(), "42")
            .finish();
        assert_eq!(
            spliced,
            r#"{ "id" : 42, "params": {"name":"b", "arguments": { "n": 1e3 } } }"#
        );
    }

    #[test]
    fn a_member_joins_an_empty_and_a_full_object() {
        let add = |text: &str| {
            Splice::new(text)
                .add_member(text, "resultType", "\"complete\"")
                .finish()
        };
        assert_eq!(add("{}"), r#"{"resultType":"complete"}"#);
        assert_eq!(add(" { } "), r#" {"resultType":"complete" } "#);
        assert_eq!(add(r#"{"a":1}"#), r#"{"resultType":"complete","a":1}"#);
        assert_eq!(add("[]"), "[]");
    }

    #[test]
    fn several_members_join_an_empty_and_a_full_object() {
        for (text, whole) in [
            ("{}", r#"{"a":1,"b":2}"#),
            (r#"{"c":3}"#, r#"{"a":1,"b":2,"c":3}"#),
        ] {
            let splice = Splice::new(text).add_member(text, "a", "1");
            assert_eq!(splice.add_member(text, "b", "2").finish(), whole);
        }
    }

    #[test]
    fn a_part_of_another_text_changes_nothing() {
        let other = String::from("{\"a\":1}");
        assert_eq!(
            Splice::new("{\"a\":1}")
                .replace(other.get(5..6).unwrap(), "2")
                .finish(),
            "{\"a\":1}"
        );
    }
}
