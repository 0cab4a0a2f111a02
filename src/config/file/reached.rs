//! How a server is reached, in the form in which clients' files have it.

use super::ServerSection;
use super::TransportWord;
use crate::config::Entry;

impl ServerSection {
    /// An entry for each of its places.
    pub(in crate::config) fn reached(&self) -> Vec<Entry> {
        let entry = Entry {
            command: self.command.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            cwd: self
                .cwd
                .as_ref()
                .map(|cwd| cwd.to_string_lossy().into_owned()),
            url: self.url.clone(),
            headers: self.headers.clone(),
            transport: self.transport.and_then(|word| match word {
                TransportWord::Stdio => None,
                TransportWord::Http => Some("http"),
                TransportWord::Sse => Some("sse"),
            }),
        };
        let Some(urls) = &self.urls else {
            return vec![entry];
        };
        let at = |url: &String| Entry {
            url: Some(url.clone()),
            ..entry.clone()
        };
        urls.iter().map(at).collect()
    }
}
