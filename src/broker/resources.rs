//! Which server a URI belongs to. URIs go through unchanged, so the server is
//! found by what the servers list.

use super::own::OWN;
use crate::downstream::Resource;
use crate::downstream::Resources;
use crate::pins::Uris;
use crate::tool::Kind;
use crate::tool::ServerName;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

/// The scheme of the broker's own resources.
const SCHEME: &str = "session";

/// What is known of the resources of each server.
pub(super) type Listings = BTreeMap<ServerName, Listing>;

/// What is known of the resources of one server.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// What it listed last; none where it listed nothing to this process yet.
    pub(super) all: Option<Arc<Resources>>,
    /// The same to kinds of clients, where it was looked at as one.
    pub(super) kinds: BTreeMap<Kind, Arc<Resources>>,
    /// What it had listed before this process was there.
    pub(super) before: Uris,
}

impl Listing {
    /// What a server lists that has listed it just now.
    pub(super) fn of(all: Arc<Resources>) -> Self {
        Self {
            all: Some(all),
            ..Self::default()
        }
    }

    /// What it had listed before this process was there.
    pub(super) fn before(before: Uris) -> Self {
        Self {
            before,
            ..Self::default()
        }
    }

    /// What it lists to anybody; before it lists anything, what it had.
    pub(super) fn uris(&self) -> Uris {
        let Some(all) = &self.all else {
            return self.before.clone();
        };
        let mut uris = Uris::default();
        let of = |all: &[Resource]| all.iter().map(|one| one.uri.clone()).collect::<Vec<_>>();
        for resources in std::iter::once(all).chain(self.kinds.values()) {
            uris.listed.extend(of(&resources.listed));
            uris.templates.extend(of(&resources.templates));
        }
        uris
    }

    /// What it lists to clients of this kind and not to all.
    fn only_to(&self, kind: &Kind) -> Resources {
        let (Some(all), Some(own)) = (&self.all, self.kinds.get(kind)) else {
            return Resources::default();
        };
        let without = |own: &[Resource], all: &[Resource]| {
            let all: HashSet<&str> = all.iter().map(|one| &*one.uri).collect();
            let own = own.iter().filter(|one| !all.contains(&*one.uri));
            own.cloned().collect()
        };
        Resources {
            listed: without(&own.listed, &all.listed),
            templates: without(&own.templates, &all.templates),
        }
    }
}

/// Finds the server of a URI.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// What each server lists to all. Only of those whose resources can be read.
    listings: BTreeMap<ServerName, Arc<Resources>>,
    /// What it lists to one kind of clients beside that.
    more: BTreeMap<Kind, Vec<(ServerName, Resources)>>,
    /// All URIs by server, of every server whose resources can be read.
    uris: BTreeMap<ServerName, Uris>,
    listed: HashMap<Box<str>, Owner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    One(ServerName),
    /// Nobody could say whose it is, so it is nobody's.
    Several,
}

impl Owners {
    pub(super) fn new(mut listings: Listings, readable: BTreeSet<ServerName>) -> Self {
        for server in &readable {
            listings.entry(server.clone()).or_default();
        }
        listings.retain(|server, _| readable.contains(server));
        let mut owners = Self::default();
        let (here, away): (Listings, Listings) = listings
            .into_iter()
            .partition(|(_, listing)| listing.all.is_some());
        let of_here = owners.listed_by(&here);
        // Who is here says what he has; only of the rest it is told from before.
        owners.listed = owners.listed_by(&away);
        owners.listed.extend(of_here);
        for (server, listing) in here {
            for kind in listing.kinds.keys() {
                let more = (server.clone(), listing.only_to(kind));
                owners.more.entry(kind.clone()).or_default().push(more);
            }
            owners.listings.extend(listing.all.map(|all| (server, all)));
        }
        owners
    }

    /// Whose each URI is, where these were all. Takes note of the rest of what they
    /// list.
    fn listed_by(&mut self, listings: &Listings) -> HashMap<Box<str>, Owner> {
        let mut listed: HashMap<Box<str>, Owner> = HashMap::new();
        for (server, listing) in listings {
            let uris = listing.uris();
            for uri in &uris.listed {
                listed
                    .entry(uri.clone())
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
            self.uris.insert(server.clone(), uris);
        }
        listed
    }

    /// The server of a URI: the one that lists it, or has a template for it, or
    /// is alone in having resources of its scheme, or in having any.
    pub(super) fn of(&self, uri: &str) -> Option<&ServerName> {
        match self.listed.get(uri) {
            Some(Owner::One(server)) => return Some(server),
            Some(Owner::Several) => return None,
            None => {}
        }
        let with_template = |uris: &Uris| {
            let mut templates = uris.templates.iter();
            templates.any(|template| matches(template, uri))
        };
        let scheme = uri.split(':').next().unwrap_or_default();
        let with_scheme = |uris: &Uris| {
            let mut all = uris.listed.iter().chain(&uris.templates);
            all.any(|one| one.split(':').next() == Some(scheme))
        };
        match self.those(with_template).as_slice() {
            [only] => return Some(only),
            [_, ..] => return None,
            [] => {}
        }
        // What is ours has a scheme of its own, and all else belongs to the others.
        let is_ours = |name: &&ServerName| name.as_str() == OWN;
        let may_be_ours = scheme == SCHEME && self.uris.keys().any(|name| is_ours(&name));
        let mut others = self.uris.keys().filter(|name| !is_ours(name));
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
        match self
            .those(|uris| uris.templates.contains(template))
            .as_slice()
        {
            [only] => Some(only),
            [] => self.of(template),
            _ => None,
        }
    }

    fn those(&self, fits: impl Fn(&Uris) -> bool) -> Vec<&ServerName> {
        let all = self.uris.iter();
        all.filter(|(_, uris)| fits(uris))
            .map(|(server, _)| server)
            .collect()
    }

    /// The resources of each server that can be read, as this kind of clients sees
    /// them, without those that more than one lists.
    pub(super) fn resources(&self, kind: &Kind) -> impl Iterator<Item = (&ServerName, &Resource)> {
        let entries = self.seen_by(kind).flat_map(|(server, resources)| {
            let listed = resources.listed.iter();
            listed.map(move |one| (server, one))
        });
        entries.filter(|(server, one)| {
            let owner = self.listed.get(&one.uri);
            matches!(owner, Some(Owner::One(only)) if only == *server)
        })
    }

    /// The templates of each server that can be read, as this kind of clients sees
    /// them.
    pub(super) fn templates(&self, kind: &Kind) -> impl Iterator<Item = (&ServerName, &Resource)> {
        self.seen_by(kind).flat_map(|(server, resources)| {
            let templates = resources.templates.iter();
            templates.map(move |one| (server, one))
        })
    }

    fn seen_by(&self, kind: &Kind) -> impl Iterator<Item = (&ServerName, &Resources)> {
        let all = self.listings.iter().map(|(server, all)| (server, &**all));
        let more = self.more.get(kind).into_iter().flatten();
        all.chain(more.map(|(server, more)| (server, more)))
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

    fn server(name: &str) -> ServerName {
        name.parse().unwrap()
    }

    fn listing(listed: &[&str], templates: &[&str]) -> Listing {
        let all = |uris: &[&str]| uris.iter().map(|uri| resource(uri)).collect();
        Listing::of(Arc::new(Resources {
            listed: all(listed),
            templates: all(templates),
        }))
    }

    #[test]
    fn a_uri_belongs_to_the_one_server_that_can_have_it() {
        let one = listing(&["a://1", "both://x"], &["t://{id}"]);
        let two = listing(&["b://1", "both://x"], &["file:///{+path}"]);
        let listings = [(server("one"), one), (server("two"), two)];
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
        assert_eq!(owners.resources(&Kind::default()).count(), 2);
        let owners = Owners::new(listings.into(), [server("two")].into());
        assert_eq!(owners.of("c://1"), Some(&server("two")));
        assert_eq!(owners.of("a://1"), Some(&server("two")));
    }

    #[test]
    fn whose_a_uri_was_is_told_while_its_server_is_not_there() {
        let away = Listing::before(listing(&["a://1", "b://1"], &["t://{id}"]).uris());
        let here = listing(&["b://1", "b://2"], &["{+any}"]);
        let listings = [(server("away"), away), (server("here"), here)];
        let readable = [server("away"), server("here")];
        let owners = Owners::new(listings.into(), readable.into());
        let of = |uri: &str| owners.of(uri).map(ServerName::as_str);
        assert_eq!(of("a://1"), Some("away"));
        // Who is here knows better.
        assert_eq!(of("b://1"), Some("here"));
        assert_eq!(of("t://1"), None, "both have a template for it");
        assert_eq!(owners.of_template("t://{id}"), Some(&server("away")));
        // Nobody is shown what nobody says any more.
        let anybody = Kind::default();
        let seen = owners.resources(&anybody).map(|(_, one)| &*one.uri);
        assert_eq!(seen.collect::<Vec<_>>(), ["b://1", "b://2"]);
        assert_eq!(owners.templates(&anybody).count(), 1);
    }

    #[test]
    fn what_is_listed_to_one_kind_of_clients_is_seen_by_those() {
        let kind = Kind::read(r#"{"elicitation":{}}"#).unwrap();
        let all = listing(&["a://1"], &[]);
        let more = listing(&["a://1", "a://2"], &["t://{id}"]).all.unwrap();
        let own = Listing {
            kinds: [(kind.clone(), more)].into(),
            ..all
        };
        let owners = Owners::new([(server("own"), own)].into(), [server("own")].into());
        let seen = |kind| {
            let seen = owners.resources(kind).chain(owners.templates(kind));
            seen.map(|(_, one)| one.uri.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(seen(&kind), ["a://1", "a://2", "t://{id}"]);
        assert_eq!(seen(&Kind::default()), ["a://1"]);
        assert_eq!(owners.of("a://2"), Some(&server("own")));
    }

    #[test]
    fn what_is_ours_is_no_servers_and_nothing_else_is_ours() {
        let listed = |uri: &str| listing(&[uri], &[]);
        for name in ["a", "z"] {
            let listings = [
                (server(OWN), listed("session://status")),
                (server(name), listed("session://status")),
            ];
            let readable = [server(OWN), server(name)];
            let owners = Owners::new(listings.clone().into(), readable.into());
            assert_eq!(owners.of("session://status"), Some(&server(OWN)));
            assert_eq!(owners.of("file:///x"), Some(&server(name)));
            assert_eq!(owners.resources(&Kind::default()).count(), 1);
            let alone = Owners::new(listings.into(), [server(name)].into());
            assert_eq!(alone.of("session://other"), Some(&server(name)));
        }
        let ours = [(server(OWN), listed("session://status"))];
        let owners = Owners::new(ours.into(), [server(OWN)].into());
        assert_eq!(owners.of("session://other"), Some(&server(OWN)));
        assert_eq!(owners.of("file:///x"), None);
    }
}
