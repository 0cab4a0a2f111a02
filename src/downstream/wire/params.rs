//! Writing the parameters of a request, and the request around them.

use crate::json;

/// The parameters of a request, one member after the other.
#[derive(Default)]
pub(super) struct Params {
    text: String,
}

impl Params {
    /// A member whose value is this JSON.
    pub(super) fn member(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text.push_str(value);
    }

    /// A member whose value is this string.
    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        json::write_string(value, &mut self.text);
    }

    fn key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        json::write_string(key, &mut self.text);
        self.text.push(':');
    }

    /// The object that the members make.
    pub(super) fn finish(mut self) -> String {
        self.text
            .push_str(if self.text.is_empty() { "{}" } else { "}" });
        self.text
    }
}

/// The text of a request, with room for the end of its line.
pub(super) fn request(id: u64, method: &str, params: &str) -> String {
    let id = id.to_string();
    let parts = [
        r#"{"jsonrpc":"2.0","id":"#,
        &id,
        r#","method":""#,
        method,
        r#"","params":"#,
        params,
        "}",
    ];
    let long: usize = parts.iter().map(|part| part.len()).sum();
    let mut text = String::with_capacity(long + 1);
    text.extend(parts);
    text
}
