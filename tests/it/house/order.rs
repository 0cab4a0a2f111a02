//! The order of the rooms: each uses those before it, never those after.

use super::none_of;
use super::only;
use super::source::Name;
use super::source::Source;
use super::source::package;
use super::source::sources;
use std::fs;
use syn::Item;

/// The rooms in their order, a line per layer.
const LAYERS: [&[&str]; 7] = [
    &[
        "visible",
        "span",
        "cause",
        "counted",
        "nearest",
        "outcome",
        "principal",
        "session",
        "tool",
    ],
    &["json", "crash", "fuzzing", "policy", "store"],
    &[
        "journal",
        "meters",
        "sessions",
        "pins",
        "keys",
        "tasks",
        "memory",
        "outbox",
        "events",
        "retries",
        "escalations",
    ],
    &["permit", "notices", "downstream", "broker"],
    &["mcp", "http", "stdio", "console"],
    &["config", "clients", "telemetry", "app", "demo", "cli"],
    &["main"],
];

/// The place of a room in the order, and its layer's.
fn place(room: &str) -> Option<(usize, usize)> {
    let in_order = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, rooms)| rooms.iter().map(move |room| (layer, *room)));
    in_order
        .enumerate()
        .find_map(|(place, (layer, name))| (name == room).then_some((place, layer)))
}

/// Complains of each path that names a later room.
fn out_of_order(source: &Source) -> Vec<String> {
    if source.path == "lib.rs" {
        return Vec::new();
    }
    let path = &source.path;
    let Some(own) = place(source.room()) else {
        return vec![format!("{path}: no room of the list")];
    };
    let mut complaints = Vec::new();
    for name in source.names(&source.whole) {
        let Name::Ours(parts) = name else {
            continue;
        };
        let Some(room) = parts.first() else {
            continue;
        };
        match place(room) {
            Some(used) if used <= own => {}
            Some(_) => complaints.push(format!(
                "{path}: uses `{}` of a later room",
                parts.join("::")
            )),
            None => complaints.push(format!(
                "{path}: `crate::{}` is in no room",
                parts.join("::")
            )),
        }
    }
    complaints.dedup();
    complaints
}

/// The rooms that `lib.rs` declares.
fn declared(lib: &Source) -> Vec<String> {
    let rooms = lib.whole.items.iter().filter_map(|item| match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    rooms.collect()
}

/// Complains of modules in `lib.rs` that are in no list, or stand after a module
/// of a later layer.
fn ill_declared(lib: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut reached = 0;
    for room in declared(lib) {
        let Some((_, layer)) = place(&room) else {
            complaints.push(format!("lib.rs: `{room}` is no room of the list"));
            continue;
        };
        if layer < reached {
            complaints.push(format!("lib.rs: `{room}` stands after a later layer"));
        }
        reached = reached.max(layer);
    }
    complaints
}

/// Complains of rooms that the page does not name.
fn undescribed(lib: &Source, page: &str) -> Vec<String> {
    declared(lib)
        .into_iter()
        .filter(|room| !page.contains(&format!("`{room}`")))
        .map(|room| format!("docs/architecture.md does not name `{room}`"))
        .collect()
}

fn lib() -> Source {
    let text = fs::read_to_string(package().join("src/lib.rs")).unwrap();
    Source::new("lib.rs", &text)
}

#[test]
fn each_room_uses_only_earlier_ones() {
    let complaints: Vec<String> = sources("src").iter().flat_map(out_of_order).collect();
    none_of(&complaints);
}

#[test]
fn the_library_lists_its_rooms_layer_by_layer() {
    none_of(&ill_declared(&lib()));
}

#[test]
fn the_architecture_page_names_every_room() {
    let page = fs::read_to_string(package().join("docs/architecture.md")).unwrap();
    none_of(&undescribed(&lib(), &page));
}

#[test]
fn a_path_to_a_later_room_is_found_however_it_is_written() {
    for text in [
        "use crate::broker::Broker;",
        "use crate::{tool::ToolId, broker::Broker};",
        "use crate::broker as other;",
        "fn f() { let _ = crate::broker::call(); }",
        "fn f(_: Vec<&crate::broker::Broker>) {}",
        "fn f() { assert!(a == crate::broker::LIMIT); }",
        "macro_rules! m { () => { $crate::broker::call() }; }",
        "#[derive(crate::broker::Derive)] struct S;",
        "pub(in crate::broker) struct S;",
        "use super::super::broker::Broker;",
        "mod deeper { use super::super::super::broker::Broker; }",
        "#[cfg(test)] mod tests { use crate::broker::Broker; }",
    ] {
        let source = Source::new("journal/table.rs", text);
        only(&out_of_order(&source), "journal/table.rs: uses `broker");
    }
    only(
        &out_of_order(&Source::new("store.rs", "use super::journal::Journal;")),
        "uses `journal::Journal` of a later room",
    );
}

#[test]
fn a_path_to_the_own_room_or_an_earlier_one_passes() {
    let text = "
        use crate::journal::OpenEntry;
        use crate::store::Store;
        use super::Entry;
        pub(crate) struct Row;
        mod tests { use super::*; use super::super::Entry as _; }
        fn f(broker: u8) -> u8 { broker + self::g(broker) + std::cmp::max(1, 2) }";
    none_of(&out_of_order(&Source::new("journal/table.rs", text)));
    none_of(&out_of_order(&Source::new(
        "main.rs",
        "fn main() { countersign::cli::run() }",
    )));
}

#[test]
fn what_is_in_no_room_is_found() {
    only(
        &out_of_order(&Source::new("journal.rs", "use crate::util::join;")),
        "`crate::util::join` is in no room",
    );
    only(
        &out_of_order(&Source::new("journal.rs", "use crate::*;")),
        "`crate::*` is in no room",
    );
    only(
        &out_of_order(&Source::new("util/text.rs", "")),
        "util/text.rs: no room of the list",
    );
    only(
        &ill_declared(&Source::new("lib.rs", "mod util;")),
        "`util` is no room",
    );
}

#[test]
fn a_library_out_of_order_is_found() {
    only(
        &ill_declared(&Source::new("lib.rs", "pub mod store; pub mod tool;")),
        "`tool` stands after a later layer",
    );
    none_of(&ill_declared(&Source::new(
        "lib.rs",
        "pub mod tool; pub mod store;",
    )));
}

#[test]
fn a_room_without_a_description_is_found() {
    let lib = Source::new("lib.rs", "pub mod store; pub mod tool;");
    only(
        &undescribed(&lib, "`tool` has words, the store has none"),
        "does not name `store`",
    );
}
