//! The quick reading of plain JSON, which nearly every message is: a few keys to
//! an object, short numbers, no escapes but the simple ones.
//!
//! INVARIANT: it only ever says that a text is right, never that one is wrong.
//! What it is not sure of goes to the strict reader, whose word it is; so it
//! must take nothing that the strict reader refuses (a test compares them).

use super::scan::MAX_DEPTH;
use super::scan::STANDS_IN;
use std::borrow::Cow;

/// The most keys of an object that is read here, because each is compared with
/// all before it.
const MAX_KEYS: usize = 16;

/// The most digits of a number that is read here: far within a double's range.
const MAX_DIGITS: usize = 18;

/// The members of an object: each key with the text of its value.
type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// True where this is one JSON value that passes [`check`](super::check).
pub(super) fn is_strict(text: &str) -> bool {
    let mut scan = Scan::of(text, Keys::Differ);
    scan.space();
    scan.value(0).is_some() && scan.is_at_end()
}

/// The members of an object with no key twice. What is deeper in it is read as
/// JSON, and no more. None where the strict reader must look.
pub(super) fn members(text: &str) -> Option<Members<'_>> {
    members_of(text, Keys::Any)
}

/// The members of an object that passes [`check`](super::check). None where the
/// strict reader must look.
pub(super) fn strict_members(text: &str) -> Option<Members<'_>> {
    members_of(text, Keys::Differ)
}

fn members_of(text: &str, keys: Keys) -> Option<Members<'_>> {
    let mut scan = Scan::of(text, keys);
    scan.space();
    scan.take(b'{')?;
    scan.space();
    let mut members: Members<'_> = Vec::with_capacity(8);
    if scan.take(b'}').is_none() {
        loop {
            let key = scan.key()?;
            let twice = members.iter().any(|(seen, _)| *seen == key);
            if twice || members.len() == MAX_KEYS {
                return None;
            }
            let begins = scan.place();
            scan.value(1)?;
            members.push((Cow::Borrowed(key), text.get(begins..scan.place())?));
            scan.space();
            if scan.take(b',').is_none() {
                break;
            }
            scan.space();
        }
        scan.take(b'}')?;
    }
    scan.is_at_end().then_some(members)
}

/// True where these characters are a JSON string once quotes are put around them,
/// and mean themselves.
pub(super) fn is_plain(inner: &str) -> bool {
    after_plain(inner.as_bytes()).is_empty()
}

/// Whether keys that stand in one object are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Differ,
    Any,
}

/// What is left to read of a text.
struct Scan<'a> {
    text: &'a str,
    rest: &'a [u8],
    keys: Keys,
}

impl<'a> Scan<'a> {
    fn of(text: &'a str, keys: Keys) -> Self {
        let rest = text.as_bytes();
        Self { text, rest, keys }
    }

    fn place(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    fn is_at_end(&mut self) -> bool {
        self.space();
        self.rest.is_empty()
    }

    fn space(&mut self) {
        while let [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        if *first != wanted {
            return None;
        }
        self.rest = rest;
        Some(())
    }

    /// A value inside `depth` others.
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.rest {
            [b'"', rest @ ..] => {
                self.rest = rest;
                self.string().map(|_escapes| ())
            }
            [b'{', rest @ ..] if depth < MAX_DEPTH => {
                self.rest = rest;
                self.object(depth + 1)
            }
            [b'[', rest @ ..] if depth < MAX_DEPTH => {
                self.rest = rest;
                self.list(depth + 1)
            }
            [b't', b'r', b'u', b'e', rest @ ..]
            | [b'n', b'u', b'l', b'l', rest @ ..]
            | [b'f', b'a', b'l', b's', b'e', rest @ ..] => {
                self.rest = rest;
                Some(())
            }
            [b'-' | b'0'..=b'9', ..] => self.number(),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        let mut seen = [""; MAX_KEYS];
        for place in 0..MAX_KEYS {
            let key = self.key()?;
            if self.keys == Keys::Differ {
                let (before, after) = seen.split_at_mut_checked(place)?;
                if before.contains(&key) {
                    return None;
                }
                *after.first_mut()? = key;
            }
            self.value(depth)?;
            self.space();
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
            self.space();
        }
        None
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        self.space();
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(depth)?;
            self.space();
            if self.take(b',').is_none() {
                return self.take(b']');
            }
            self.space();
        }
    }

    /// A key that has no escapes and means itself, and what stands between it and
    /// its value.
    fn key(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let begins = self.place();
        let escapes = self.string()?;
        let key = self.text.get(begins..self.place() - 1)?;
        self.space();
        self.take(b':')?;
        self.space();
        (!escapes && !key.starts_with(STANDS_IN)).then_some(key)
    }

    /// The rest of a string, its quote included; true where it has escapes.
    fn string(&mut self) -> Option<bool> {
        let mut escapes = false;
        loop {
            self.rest = after_plain(self.rest);
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(escapes);
                }
                [
                    b'\\',
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                    rest @ ..,
                ] => {
                    self.rest = rest;
                    escapes = true;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let _negative = self.take(b'-');
        let begins_with_zero = self.rest.first() == Some(&b'0');
        let whole = self.digits();
        if whole == 0 || (begins_with_zero && whole > 1) {
            return None;
        }
        let fraction = match self.take(b'.') {
            Some(()) => Some(self.digits()).filter(|digits| *digits > 0)?,
            None => 0,
        };
        let goes_on = matches!(self.rest.first(), Some(b'e' | b'E'));
        (!goes_on && whole + fraction <= MAX_DIGITS).then_some(())
    }

    fn digits(&mut self) -> usize {
        let before = self.rest.len();
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
        before - self.rest.len()
    }
}

/// What follows after the bytes that stand for themselves in a string.
fn after_plain(mut bytes: &[u8]) -> &[u8] {
    while let Some((word, rest)) = bytes.split_first_chunk::<8>() {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            let plain = (special.trailing_zeros() / 8) as usize;
            return bytes.get(plain..).unwrap_or_default();
        }
        bytes = rest;
    }
    let is_plain = |byte: &&u8| **byte >= 0x20 && !matches!(**byte, b'"' | b'\\');
    let plain = bytes.iter().take_while(is_plain).count();
    bytes.get(plain..).unwrap_or_default()
}

/// The highest bit of the first byte that is a quote, a backslash or a control
/// character. (Bits above it may be wrong: a subtraction borrows from the next
/// byte.)
fn special(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 255;
    let below = |word: u64, bound: u64| word.wrapping_sub(EACH * bound) & !word;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (EACH << 7)
}

#[cfg(test)]
mod tests {
    use super::super::scan;
    use super::super::scan::strict;
    use super::*;
    use proptest::prelude::*;

    /// Pieces that make texts which are nearly JSON, or are.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"a\":",
            "\"b\":1",
            "\\",
            "\\n",
            "\\u0061",
            "\\ud800",
            " ",
            "\n",
            "\u{1}",
            "\u{b}",
            "é",
            "0",
            "00",
            "1",
            "-",
            "-0",
            "1.5",
            ".",
            "e",
            "1e5",
            "1e999",
            "123456789012345678",
            "1234567890123456789012",
            "true",
            "false",
            "null",
            "nul",
            "tru",
            "{}",
            "[]",
            "{\"a\":1,\"a\":2}",
            "12345678",
            "abcdefgh\"",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// JSON of every kind, written with keys from a short list.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "-?[0-9]{1,20}(\\.[0-9]{1,3})?(e[0-9]{1,3})?",
            any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
            "\"[ -~\\n\\\\]{0,12}\"",
            prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
        ];
        let key = prop::sample::select(vec![
            "a",
            "b",
            "aa",
            "\\u0061",
            "a\\n",
            "é",
            "$serde_json::private::RawValue",
        ]);
        leaf.prop_recursive(5, 64, 20, move |inner| {
            let member = (key.clone(), inner.clone()).prop_map(|(k, v)| format!("\"{k}\" :{v}"));
            prop_oneof![
                prop::collection::vec(member, 0..20)
                    .prop_map(|members| format!("{{{}}}", members.join(" , "))),
                prop::collection::vec(inner, 0..20)
                    .prop_map(|items| format!("[{}]", items.join("\t,"))),
            ]
        })
    }

    fn takes_only_what_the_strict_reader_takes(text: &str) {
        if is_strict(text) {
            strict(text).unwrap();
        }
        if let Some(read) = members(text) {
            assert_eq!(scan::strict_members(text).unwrap(), read, "{text}");
        }
        if let Some(read) = strict_members(text) {
            strict(text).unwrap();
            assert_eq!(scan::strict_members(text).unwrap(), read, "{text}");
        }
        if is_plain(text) {
            let read: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(read, text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn nothing_is_taken_that_the_strict_reader_refuses(text in pieces()) {
            takes_only_what_the_strict_reader_takes(&text);
        }

        #[test]
        fn values_are_taken_only_as_the_strict_reader_takes_them(text in value()) {
            takes_only_what_the_strict_reader_takes(&text);
        }
    }

    #[test]
    fn what_messages_are_made_of_is_taken() {
        for text in [
            r#" {"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"text":"a\n\"b\"","n":-1.25,"l":[1,{}, [ ]]}}} "#,
            "\"é\"",
            "[true,false,null]",
        ] {
            assert!(is_strict(text), "{text}");
        }
        let read = members(r#" { "a" : 1.5 , "b":{"c":[1, 2]} } "#).unwrap();
        assert_eq!(read, [("a".into(), "1.5"), ("b".into(), r#"{"c":[1, 2]}"#)]);
        assert_eq!(members("{}").unwrap(), []);
    }

    #[test]
    fn every_byte_is_found_wherever_it_stands_in_a_word() {
        for special in [0u8, 1, 0x1f, b'"', b'\\'] {
            for place in 0..20 {
                let mut bytes = [b'x'; 20];
                bytes[place] = special;
                assert_eq!(
                    after_plain(&bytes).len(),
                    20 - place,
                    "{special} at {place}"
                );
            }
        }
        for plain in [0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff] {
            assert!(after_plain(&[plain; 20]).is_empty(), "{plain}");
        }
    }
}
