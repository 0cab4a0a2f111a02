//! Which server a URI belongs to. URIs go through unchanged, so the server is
//! found by what the servers list.

use super::own::OWN;
use crate::downstream::Resource;
use crate::downstream::Resources;
use crate::tool::ServerName;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

/// The scheme of the broker's own resources.
const SCHEME: &str = "session";

/// The resources of each server, as it listed them last.
pub(super) type Listings = BTreeMap<ServerName, Arc<Resources>>;

/// Finds the server of a URI.
#[derive(Debug, Default)]
pub(super) struct Owners {
    listings: Listings,
    /// The servers whose resources can be read.
    readable: BTreeSet<ServerName>,
    listed: HashMap<Box<str>, Owner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    One(ServerName),
    /// Nobody could say whose it is, so it is nobody's.
    Several,
}

impl Owners {
    pub(super) fn new(listings: Listings, readable: BTreeSet<ServerName>) -> Self {
        let mut listed: HashMap<Box<str>, Owner> = HashMap::new();
        for (server, resources) in listings.iter().filter(|(name, _)| readable.contains(*name)) {
            for resource in &resources.listed {
                listed
                    .entry(resource.uri.clone())
                    .and_modify(|owner| {
                        let one = Owner::One(server.clone());
                        let is_ours =
                            |one: &Owner| matches!(one, Owner::One(name) if name.as_str() == OWN);
                        // No server takes the place of what is ours.
                        match (is_ours(owner), is_ours(&one)) {
                            (true, _) => {}
                            (false, true) => *owner = one,
                            (false, false) if *owner != one => *owner = Owner::Several,
                            (false, false) => {}
                        }
                    })
                    .or_insert_with(|| Owner::One(server.clone()));
            }
        }
        Self {
            listings,
            readable,
            listed,
        }
    }

    /// The server of a URI: the one that lists it, or has a template for it, or
    /// is alone in having resources of its scheme, or in having any.
    pub(super) fn of(&self, uri: &str) -> Option<&ServerName> {
        match self.listed.get(uri) {
            Some(Owner::One(server)) => return Some(server),
            Some(Owner::Several) => return None,
            None => {}
        }
        let with_template = |resources: &Resources| {
            let mut templates = resources.templates.iter();
            templates.any(|template| matches(&template.uri, uri))
        };
        let scheme = uri.split(':').next().unwrap_or_default();
        let with_scheme = |resources: &Resources| {
            let mut all = resources.listed.iter().chain(&resources.templates);
            all.any(|one| one.uri.split(':').next() == Some(scheme))
        };
        match self.those(with_template).as_slice() {
            [only] => return Some(only),
            [_, ..] => return None,
            [] => {}
        }
        // What is ours has a scheme of its own, and all else belongs to the others.
        let is_ours = |name: &&ServerName| name.as_str() == OWN;
        let may_be_ours = scheme == SCHEME && self.readable.iter().any(|name| is_ours(&name));
        let mut others = self.readable.iter().filter(|name| !is_ours(name));
        if let (Some(only), None, false) = (others.next(), others.next(), may_be_ours) {
            return Some(only);
        }
        match self.those(with_scheme).as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The server that has this template.
    pub(super) fn of_template(&self, template: &str) -> Option<&ServerName> {
        let has = |resources: &Resources| resources.templates.iter().any(|t| *t.uri == *template);
        match self.those(has).as_slice() {
            [only] => Some(only),
            [] => self.of(template),
            _ => None,
        }
    }

    fn those(&self, fits: impl Fn(&Resources) -> bool) -> Vec<&ServerName> {
        let listings = self.listings.iter();
        listings
            .filter(|(server, resources)| self.readable.contains(*server) && fits(resources))
            .map(|(server, _)| server)
            .collect()
    }

    /// The resources of each server that can be read, without those that more
    /// than one lists.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&ServerName, &Resource)> {
        let listings = self.listings.iter();
        listings.flat_map(move |(server, resources)| {
            let own = Owner::One(server.clone());
            let listed = resources.listed.iter();
            listed
                .filter(move |resource| self.listed.get(&resource.uri) == Some(&own))
                .map(move |resource| (server, resource))
        })
    }

    /// The templates of each server that can be read.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&ServerName, &Resource)> {
        let listings = self.listings.iter();
        let readable = listings.filter(|(server, _)| self.readable.contains(*server));
        readable
            .flat_map(|(server, resources)| resources.templates.iter().map(move |t| (server, t)))
    }

    /// URIs that more than one server lists.
    pub(super) fn contested(&self) -> impl Iterator<Item = &str> {
        let listed = self.listed.iter();
        listed
            .filter(|(_, owner)| **owner == Owner::Several)
            .map(|(uri, _)| &**uri)
    }
}

/// Whether a URI could have been made by a template (RFC 6570, all levels, read
/// generously: policy decides on the URI, this only finds whose it is).
fn matches(template: &str, uri: &str) -> bool {
    let uri = uri.as_bytes();
    let mut reached = vec![false; uri.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    let mut rest = template;
    while !rest.is_empty() {
        let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
        reached = after_literal(&reached, literal.as_bytes(), uri);
        rest = after;
        if literal.len() + 1 > template.len() || rest.is_empty() {
            break;
        }
        let Some((expression, after)) = rest.split_once('}') else {
            return false;
        };
        reached = after_expression(&reached, expression, uri);
        rest = after;
    }
    reached.last() == Some(&true)
}

fn after_literal(reached: &[bool], literal: &[u8], uri: &[u8]) -> Vec<bool> {
    let mut next = vec![false; reached.len()];
    for (place, _) in reached.iter().enumerate().filter(|(_, reached)| **reached) {
        let here = uri.get(place..).unwrap_or_default();
        if here.starts_with(literal)
            && let Some(end) = next.get_mut(place + literal.len())
        {
            *end = true;
        }
    }
    next
}

fn after_expression(reached: &[bool], expression: &str, uri: &[u8]) -> Vec<bool> {
    let operator = expression.bytes().next().unwrap_or_default();
    // What an operator may put before its values, and whether a value may be cut
    // by a slash.
    let slashes = matches!(operator, b'+' | b'#' | b'/' | b'?' | b'&') || expression.ends_with('*');
    let optional = matches!(operator, b'#' | b'/' | b'?' | b'&' | b';' | b'.');
    let mut next = vec![false; reached.len()];
    let mut open = false;
    for (place, &here) in reached.iter().enumerate() {
        if here {
            open = true;
            if optional && let Some(end) = next.get_mut(place) {
                *end = true;
            }
        }
        let Some(byte) = uri.get(place) else { break };
        open = open && (slashes || *byte != b'/');
        if open && let Some(end) = next.get_mut(place + 1) {
            *end = true;
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_matches_what_it_could_have_made() {
        for (template, uri, expected) in [
            ("a://x/{id}/data", "a://x/12/data", true),
            ("a://x/{id}/data", "a://x/1/2/data", false),
            ("a://x/{id}/data", "a://x//data", false),
            ("a://x/{id}", "a://x/12?q", true),
            ("file:///{+path}", "file:///a/b/c", true),
            ("file:///{path}", "file:///a/b", false),
            ("a://{x}{?q,r}", "a://1", true),
            ("a://{x}{?q,r}", "a://1?q=/2", true),
            ("a://{x", "a://1", false),
            ("a://x", "a://x", true),
            ("a://x", "a://xy", false),
            ("{+any}", "b:c", true),
        ] {
            assert_eq!(matches(template, uri), expected, "{template} {uri}");
        }
    }

    fn resource(uri: &str) -> Resource {
        Resource {
            uri: uri.into(),
            json: "{}".into(),
        }
    }

    #[test]
    fn a_uri_belongs_to_the_one_server_that_can_have_it() {
        let server = |name: &str| -> ServerName { name.parse().unwrap() };
        let one = Resources {
            listed: vec![resource("a://1"), resource("both://x")],
            templates: vec![resource("t://{id}")],
        };
        let two = Resources {
            listed: vec![resource("b://1"), resource("both://x")],
            templates: vec![resource("file:///{+path}")],
        };
        let listings = [(server("one"), one.into()), (server("two"), two.into())];
        let readable = [server("one"), server("two")];
        let owners = Owners::new(listings.clone().into(), readable.into());
        let of = |uri: &str| owners.of(uri).map(ServerName::as_str);
        assert_eq!(of("a://1"), Some("one"));
        assert_eq!(of("a://2"), Some("one"));
        assert_eq!(of("t://9"), Some("one"));
        assert_eq!(of("file:///x/y"), Some("two"));
        assert_eq!(of("both://x"), None);
        assert_eq!(of("c://1"), None);
        assert_eq!(owners.contested().collect::<Vec<_>>(), ["both://x"]);
        assert_eq!(owners.resources().count(), 2);
        let owners = Owners::new(listings.into(), [server("two")].into());
        assert_eq!(owners.of("c://1"), Some(&server("two")));
        assert_eq!(owners.of("a://1"), Some(&server("two")));
    }

    #[test]
    fn what_is_ours_is_no_servers_and_nothing_else_is_ours() {
        let server = |name: &str| -> ServerName { name.parse().unwrap() };
        let listed = |uri: &str| Resources {
            listed: vec![resource(uri)],
            templates: Vec::new(),
        };
        for name in ["a", "z"] {
            let listings = [
                (server(OWN), listed("session://status").into()),
                (server(name), listed("session://status").into()),
            ];
            let readable = [server(OWN), server(name)];
            let owners = Owners::new(listings.clone().into(), readable.into());
            assert_eq!(owners.of("session://status"), Some(&server(OWN)));
            assert_eq!(owners.of("file:///x"), Some(&server(name)));
            assert_eq!(owners.resources().count(), 1);
            let alone = Owners::new(listings.into(), [server(name)].into());
            assert_eq!(alone.of("session://other"), Some(&server(name)));
        }
        let ours = [(server(OWN), listed("session://status").into())];
        let owners = Owners::new(ours.into(), [server(OWN)].into());
        assert_eq!(owners.of("session://other"), Some(&server(OWN)));
        assert_eq!(owners.of("file:///x"), None);
    }
}
