//! `/api/openapi.json`: what the interface for programs takes and answers.

use super::body::Body;
use super::status;
use hyper::Method;
use hyper::Request;
use hyper::Response;

/// The document (OpenAPI 3.1). It needs no key: it tells nothing of this installation.
const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// Whether the path is that of the document.
pub(super) fn is_at(path: &str) -> bool {
    path == "/api/openapi.json"
}

/// Shows the document.
pub(super) fn answer<B>(request: &Request<B>) -> Response<Body> {
    match *request.method() {
        Method::GET => status::object(DOCUMENT.to_owned()),
        _ => status::not_allowed("GET"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::escalations::Asked;
    use super::super::events;
    use super::*;
    use crate::escalations::Approve;
    use crate::escalations::State;
    use serde_json::Value;
    use std::collections::BTreeSet;

    const ID: &str = "esc-4k7m-2qpx-9d3h";

    /// The method and the path of the document for what one asks of escalations.
    fn described(asked: Asked) -> Option<(&'static str, &'static str)> {
        match asked {
            Asked::List => Some(("get", "/api/escalations")),
            Asked::One(_) => Some(("get", "/api/escalations/{id}")),
            Asked::Decide(_, Approve::Yes) => Some(("post", "/api/escalations/{id}/approve")),
            Asked::Decide(_, Approve::No) => Some(("post", "/api/escalations/{id}/refuse")),
            Asked::Withdraw(_) => Some(("post", "/api/escalations/{id}/withdraw")),
            Asked::Unknown | Asked::Nothing => None,
        }
    }

    /// The method and the path of the document for a path that is served.
    fn served(path: &str) -> BTreeSet<(&'static str, &'static str)> {
        if is_at(path) {
            return BTreeSet::from([("get", "/api/openapi.json")]);
        }
        match events::named(path) {
            Some(named) => {
                let path = match named.contains('/') {
                    true => "/api/sessions/{owner}/{handle}/events",
                    false => "/api/sessions/{session}/events",
                };
                BTreeSet::from([("get", path), ("post", path)])
            }
            None => Asked::of(path).and_then(described).into_iter().collect(),
        }
    }

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn each_path_of_the_document_is_served_and_each_that_is_served_is_in_it() {
        let id = ID.parse().unwrap();
        let mut all: BTreeSet<(String, String)> = [
            Asked::List,
            Asked::One(id),
            Asked::Decide(id, Approve::Yes),
            Asked::Decide(id, Approve::No),
            Asked::Withdraw(id),
            Asked::Unknown,
            Asked::Nothing,
        ]
        .into_iter()
        .filter_map(described)
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
        let own = [
            "/api/openapi.json",
            "/api/sessions/x/events",
            "/api/sessions/x/y/events",
        ];
        for path in own {
            let served = served(path).into_iter();
            all.extend(served.map(|(method, path)| (method.to_owned(), path.to_owned())));
        }
        let mut written = BTreeSet::new();
        for (path, item) in document()["paths"].as_object().unwrap() {
            let filled = path
                .replace("{id}", ID)
                .replace("{session}", "x")
                .replace("{owner}", "x")
                .replace("{handle}", "y");
            let methods: BTreeSet<&str> = served(&filled).into_iter().map(|(m, _)| m).collect();
            let named: BTreeSet<&str> = ["get", "post", "put", "patch", "delete", "head"]
                .into_iter()
                .filter(|method| item.get(method).is_some())
                .collect();
            assert_eq!(methods, named, "{path}");
            written.extend(
                named
                    .iter()
                    .map(|method| ((*method).to_owned(), path.clone())),
            );
        }
        assert_eq!(written, all);
    }

    #[test]
    fn the_document_is_of_this_version_and_knows_every_state() {
        let document = document();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let states = &document["components"]["schemas"]["Summary"]["properties"]["state"]["enum"];
        let known: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        assert_eq!(*states, serde_json::json!(known));
    }
}
