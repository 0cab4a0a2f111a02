//! Writing the parameters of a request.

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
