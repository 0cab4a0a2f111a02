//! Pins: the tool definitions that an operator has let in.
//!
//! A tool is pinned when it is first seen. When its server later says something
//! else of it (its description, its schema), the pin stays what it was and the
//! tool is marked as changed until an operator accepts the new definition. Pins
//! also let a broker start, check its policies and list tools while a server is
//! down.

mod definition;
mod table;
mod uris;

pub use definition::DefinitionError;
pub use definition::definition;
pub use definition::fixed;
pub use definition::prompt;
pub use table::SCHEMA;
pub use table::SCHEMA_8;
pub use uris::SCHEMA_10;
pub use uris::Uris;
pub use uris::keep_uris;
pub use uris::uris;

use crate::store::StoreError;
use crate::store::Tx;
use crate::tool::Digest;
use crate::tool::Kind;
use crate::tool::Offered;
use crate::tool::ServerName;
use crate::tool::ToolDefinition;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use table::Listed;

/// One pinned tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// The definition that was let in.
    pub definition: Arc<ToolDefinition>,
    /// When it was let in.
    pub since: Timestamp,
    /// What its server says of it since, where that is something else.
    pub changed: Option<Changed>,
    /// Whether its server lists it at present, to everybody.
    pub listed: bool,
    /// The kinds of clients that it lists it to, where it was looked at as one.
    pub offered: BTreeSet<Kind>,
}

impl Pin {
    /// To whom its server offers it at present; none where to nobody.
    pub fn offered(&self) -> Option<Offered> {
        match (self.listed, self.offered.is_empty()) {
            (true, _) => Some(Offered::All),
            (false, false) => Some(Offered::To(self.offered.clone())),
            (false, true) => None,
        }
    }
}

/// What a server has besides what is pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// It logs to its clients.
    pub logs: bool,
    /// It has pages for a host to show.
    pub pages: bool,
}

/// A definition that differs from the pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The entry of `tools/list` as the server sends it now.
    pub json: Arc<str>,
    /// Its digest.
    pub digest: Digest,
    /// When it was first seen.
    pub seen: Timestamp,
}

/// What a look at a server's list changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Tools that were pinned just now.
    pub new: Vec<String>,
    /// Tools whose definition is no longer the pinned one.
    pub changed: Vec<String>,
    /// Tools that came back to their pin, or were listed again.
    pub back: Vec<String>,
    /// Pinned tools that the server no longer lists.
    pub gone: Vec<String>,
}

impl Observed {
    /// Whether the catalogue is as it was.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares what a server lists with the pins, and pins what is new.
///
/// # Errors
///
/// When the pins cannot be read or written.
pub fn observe(
    tx: &Tx<'_>,
    server: &ServerName,
    listed: &[ToolDefinition],
    now: Timestamp,
) -> Result<Observed, StoreError> {
    table::server_seen(tx, server, now)?;
    let known = by_name(table::pins(tx, server)?);
    let mut observed = Observed::default();
    for definition in listed {
        let name = definition.id.name.to_string();
        let Some(pin) = known.get(&definition.id.name) else {
            table::pin_insert(tx, definition, (Listed::ToAll, now))?;
            observed.new.push(name);
            continue;
        };
        let pinned = pin.definition.digest == definition.digest;
        let noted = pin.changed.as_ref().map(|changed| changed.digest);
        let now_noted = (!pinned).then_some(definition.digest);
        if pin.listed && noted == now_noted {
            continue;
        }
        table::pin_seen(tx, definition, (Listed::ToAll, (!pinned).then_some(now)))?;
        if pinned {
            observed.back.push(name);
        } else {
            observed.changed.push(name);
        }
    }
    for (name, pin) in &known {
        let absent = listed.iter().all(|definition| definition.id.name != *name);
        if absent && pin.listed {
            table::pin_gone(tx, server, name)?;
            observed.gone.push(name.to_string());
        }
    }
    Ok(observed)
}

/// The same of what a server lists to clients of one kind. What it lists to
/// everybody is compared by [`observe`] alone.
///
/// # Errors
///
/// When the pins cannot be read or written.
pub fn observe_as(
    tx: &Tx<'_>,
    (server, kind): (&ServerName, &Kind),
    listed: &[ToolDefinition],
    now: Timestamp,
) -> Result<Observed, StoreError> {
    let known: BTreeMap<Arc<str>, Pin> = by_name(table::pins(tx, server)?);
    let mut observed = Observed::default();
    for definition in listed {
        let name = definition.id.name.to_string();
        let Some(pin) = known.get(&definition.id.name) else {
            table::pin_insert(tx, definition, (Listed::ToSome, now))?;
            observed.new.push(name);
            continue;
        };
        let pinned = pin.definition.digest == definition.digest;
        let noted = pin.changed.as_ref().map(|changed| changed.digest);
        if pin.listed || noted == (!pinned).then_some(definition.digest) {
            continue;
        }
        table::pin_seen(tx, definition, (Listed::ToSome, (!pinned).then_some(now)))?;
        if pinned {
            observed.back.push(name);
        } else {
            observed.changed.push(name);
        }
    }
    let tools = listed.iter().map(|tool| Arc::clone(&tool.id.name));
    table::kind_replace(tx, (server, kind), tools)?;
    Ok(observed)
}

/// The kinds of clients that a server was seen as.
///
/// # Errors
///
/// When they cannot be read.
pub fn kinds(tx: &Tx<'_>, server: &ServerName) -> Result<BTreeSet<Kind>, StoreError> {
    table::kinds(tx, server)
}

/// What a server had besides pins when it was last seen.
///
/// # Errors
///
/// When it cannot be read.
pub fn besides(tx: &Tx<'_>, server: &ServerName) -> Result<Besides, StoreError> {
    table::besides(tx, server).map(Option::unwrap_or_default)
}

/// Keeps what a server has besides pins.
///
/// # Errors
///
/// When it cannot be written.
pub fn keep_besides(tx: &Tx<'_>, server: &ServerName, has: Besides) -> Result<(), StoreError> {
    if table::besides(tx, server)? == Some(has) {
        return Ok(());
    }
    table::besides_replace(tx, server, has)
}

fn by_name(pins: Vec<Pin>) -> BTreeMap<Arc<str>, Pin> {
    pins.into_iter()
        .map(|pin| (Arc::clone(&pin.definition.id.name), pin))
        .collect()
}

/// The same once these were observed as listed to clients of one kind.
pub fn foreseen_as(
    mut known: Vec<Pin>,
    kind: &Kind,
    listed: &[ToolDefinition],
    now: Timestamp,
) -> Vec<Pin> {
    for definition in listed {
        let pinned = known
            .iter_mut()
            .find(|pin| pin.definition.id == definition.id);
        match pinned {
            Some(pin) => {
                pin.offered.insert(kind.clone());
            }
            None => known.push(Pin {
                definition: Arc::new(definition.clone()),
                since: now,
                changed: None,
                listed: false,
                offered: [kind.clone()].into(),
            }),
        }
    }
    known
}

/// The pins as they will be once these tools were observed.
pub fn foreseen(known: Vec<Pin>, listed: &[ToolDefinition], now: Timestamp) -> Vec<Pin> {
    let mut known = by_name(known);
    let mut pins: Vec<Pin> = listed
        .iter()
        .map(|definition| match known.remove(&definition.id.name) {
            None => Pin {
                definition: Arc::new(definition.clone()),
                since: now,
                changed: None,
                listed: true,
                offered: BTreeSet::new(),
            },
            Some(pin) => Pin {
                changed: (pin.definition.digest != definition.digest).then(|| Changed {
                    json: Arc::clone(&definition.json),
                    digest: definition.digest,
                    seen: now,
                }),
                listed: true,
                ..pin
            },
        })
        .collect();
    let gone = known.into_values().map(|pin| Pin {
        listed: false,
        ..pin
    });
    pins.extend(gone);
    pins
}

/// The pins of a server; none where it was never seen.
///
/// # Errors
///
/// When the pins cannot be read.
pub fn of_server(tx: &Tx<'_>, server: &ServerName) -> Result<Option<Vec<Pin>>, StoreError> {
    if table::server_known(tx, server)? {
        table::pins(tx, server).map(Some)
    } else {
        Ok(None)
    }
}

/// What an operator lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// The tool; without one, all that changed.
    pub tool: Option<String>,
    /// The digest of what was reviewed, in hexadecimal; without one, whatever the
    /// server says by now.
    pub digest: Option<String>,
}

/// Lets in what a server now says of a tool, or of all its tools, as far as it is
/// what was reviewed. Returns the tools whose pin moved, with what was let in.
///
/// # Errors
///
/// When the pins cannot be read or written.
pub fn accept(
    tx: &Tx<'_>,
    server: &ServerName,
    reviewed: &Reviewed,
    now: Timestamp,
) -> Result<Vec<(String, Digest)>, StoreError> {
    let mut accepted = Vec::new();
    for pin in table::pins(tx, server)? {
        let name = &pin.definition.id.name;
        let Some(changed) = pin.changed else {
            continue;
        };
        let fits =
            |asked: &Option<String>, is: &str| asked.as_ref().is_none_or(|asked| asked == is);
        if fits(&reviewed.tool, name) && fits(&reviewed.digest, &changed.digest.to_string()) {
            table::pin_replace(tx, server, name, (&changed, now))?;
            accepted.push((name.to_string(), changed.digest));
        }
    }
    Ok(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::in_store;

    fn tool(name: &str, description: &str) -> ToolDefinition {
        let json = format!(
            r#"{{"name":"{name}","description":"{description}","inputSchema":{{"type":"object"}}}}"#
        );
        definition(&"claims".parse().unwrap(), &json).unwrap()
    }

    #[tokio::test]
    async fn a_changed_definition_waits_for_an_operator() {
        let seen = in_store(&[SCHEMA, SCHEMA_8], |tx| {
            let server: ServerName = "claims".parse().unwrap();
            let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
            assert!(of_server(tx, &server)?.is_none());
            let first = observe(tx, &server, &[tool("a", "x"), tool("b", "x")], now)?;
            let again = observe(tx, &server, &[tool("a", "x"), tool("b", "x")], now)?;
            let changed = observe(tx, &server, &[tool("a", "evil")], now)?;
            let still = observe(tx, &server, &[tool("a", "evil")], now)?;
            let pins = of_server(tx, &server)?.unwrap();
            let mut reviewed = Reviewed {
                tool: Some("a".to_owned()),
                digest: Some(pins[0].definition.digest.to_string()),
            };
            let other = accept(tx, &server, &reviewed, now)?;
            assert!(other.is_empty(), "nobody reviewed that");
            let shown = pins[0].changed.as_ref().map(|changed| changed.digest);
            reviewed.digest = shown.map(|digest| digest.to_string());
            let accepted = accept(tx, &server, &reviewed, now)?;
            assert_eq!(accepted.first().map(|(_, digest)| *digest), shown);
            let after = of_server(tx, &server)?.unwrap();
            Ok((first, again, changed, still, pins, accepted, after))
        })
        .await;
        let (first, again, changed, still, pins, accepted, after) = seen;
        assert_eq!(first.new, ["a", "b"]);
        assert!(again.is_nothing());
        assert_eq!(changed.changed, ["a"]);
        assert_eq!(changed.gone, ["b"]);
        assert!(still.is_nothing());
        assert!(pins[0].definition.json.contains("\"x\""));
        assert!(pins[0].changed.is_some() && pins[0].listed);
        assert!(!pins[1].listed);
        assert_eq!(accepted.len(), 1);
        assert_eq!(accepted[0].0, "a");
        assert!(after[0].definition.json.contains("evil") && after[0].changed.is_none());
    }

    #[tokio::test]
    async fn what_is_listed_to_some_clients_is_pinned_apart_from_what_all_see() {
        let seen = in_store(&[SCHEMA, SCHEMA_8], |tx| {
            let server: ServerName = "claims".parse().unwrap();
            let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
            let kind = Kind::read(r#"{"elicitation":{}}"#).unwrap();
            let (all, some) = ([tool("a", "x")], [tool("a", "x"), tool("b", "x")]);
            observe(tx, &server, &all, now)?;
            let first = observe_as(tx, (&server, &kind), &some, now)?;
            let unmoved = observe(tx, &server, &all, now)?;
            let pins = of_server(tx, &server)?.unwrap();
            let evil = [tool("a", "y"), tool("b", "evil")];
            let changed = observe_as(tx, (&server, &kind), &evil, now)?;
            let gone = observe_as(tx, (&server, &kind), &all, now)?;
            let after = of_server(tx, &server)?.unwrap();
            let has = Besides {
                logs: true,
                pages: false,
            };
            keep_besides(tx, &server, has)?;
            assert_eq!(besides(tx, &server)?, has);
            assert_eq!(kinds(tx, &server)?, [kind.clone()].into());
            Ok((kind, first, unmoved, pins, changed, gone, after))
        })
        .await;
        let (kind, first, unmoved, pins, changed, gone, after) = seen;
        assert_eq!(first.new, ["b"]);
        assert!(unmoved.is_nothing() && gone.is_nothing());
        assert_eq!(pins[0].offered(), Some(Offered::All));
        assert_eq!(pins[1].offered(), Some(Offered::To([kind].into())));
        // What everybody sees is compared with what everybody sees.
        assert_eq!(changed.changed, ["b"]);
        assert_eq!(after[1].offered(), None);
        assert!(after[0].changed.is_none() && after[1].changed.is_some());
    }

    fn digest_of(entry: &str) -> Digest {
        definition(&"claims".parse().unwrap(), entry)
            .unwrap()
            .digest
    }

    #[test]
    fn a_digest_is_the_same_for_any_order_spacing_and_escapes() {
        let one = digest_of(
            r#"{"name":"a","inputSchema":{"type":"object","n":1,"l":[1,{"b":0,"a":0}]}}"#,
        );
        let two = digest_of(
            r#"{ "inputSchema" : {"n":1, "l":[ 1, {"a":0,"b":0}],"\u0074ype":"obj\u0065ct"}, "name":"a", "icons":[] }"#,
        );
        assert_eq!(one, two);
    }

    #[test]
    fn a_digest_changes_with_each_thing_that_a_pin_compares() {
        let base = r#"{"name":"a","title":"t","description":"d","inputSchema":{"x":[1,2]},"outputSchema":{},"annotations":{"readOnlyHint":true}}"#;
        for (from, to) in [
            (r#""name":"a""#, r#""name":"b""#),
            (r#""title":"t","#, ""),
            (r#""title":"t","#, r#""title":"","#),
            (r#""description":"d""#, r#""description":"D""#),
            ("[1,2]", "[2,1]"),
            ("[1,2]", "[1.0,2]"),
            (r#""outputSchema":{},"#, ""),
            ("true", "false"),
        ] {
            let changed = base.replacen(from, to, 1);
            assert_ne!(changed, base);
            assert_ne!(digest_of(base), digest_of(&changed), "{changed}");
        }
    }
}
