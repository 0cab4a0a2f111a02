//! The fences: a foreign crate stays in its rooms, and nothing prints.

use super::none_of;
use super::only;
use super::source::Name;
use super::source::Source;
use super::source::sources;

/// Foreign crates, and the rooms they may be used in.
const FENCES: [(&str, &[&str]); 12] = [
    ("cedar_policy", &["policy"]),
    ("rusqlite", &["store"]),
    ("ring", &["journal"]),
    ("rmcp", &["mcp", "downstream", "demo"]),
    ("hyper", &["http", "console", "downstream"]),
    ("hyper_util", &["http", "console", "downstream"]),
    ("http_body_util", &["http", "console", "downstream"]),
    ("hyper_rustls", &["downstream"]),
    ("lettre", &["downstream"]),
    ("axum", &["http", "console"]),
    ("clap", &["cli"]),
    ("anyhow", &["main", "cli", "app", "demo"]),
];

/// Complains of foreign crates outside their rooms, in tests too: a test that
/// reaches around a room holds on to what the room hides.
fn out_of_fence(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in source.names(&source.whole) {
        let Name::Other(parts) = name else {
            continue;
        };
        let fence = FENCES
            .iter()
            .find(|(foreign, _)| parts.first().is_some_and(|first| first == foreign));
        let Some((foreign, rooms)) = fence else {
            continue;
        };
        let sql = *foreign == "rusqlite" && source.file_name() == "table.rs";
        if !sql && !rooms.contains(&source.room()) {
            complaints.push(format!(
                "{}: `{}` belongs in {}",
                source.path,
                parts.join("::"),
                rooms.join(", ")
            ));
        }
    }
    complaints.dedup();
    complaints
}

/// Complains of writing to stdout outside tests: in stdio mode it is the wire.
fn printing(source: &Source) -> Vec<String> {
    let names = source.names(&source.shipped).into_iter();
    let printed = names.filter_map(|name| match name {
        Name::Other(parts) => {
            let last = parts.last()?;
            (last == "print!" || last == "println!").then(|| {
                format!(
                    "{}: `{last}` writes to stdout, which is the wire",
                    source.path
                )
            })
        }
        Name::Ours(_) => None,
    });
    printed.collect()
}

#[test]
fn foreign_crates_stay_in_their_rooms() {
    let complaints: Vec<String> = sources("src").iter().flat_map(out_of_fence).collect();
    none_of(&complaints);
}

#[test]
fn nothing_prints() {
    let complaints: Vec<String> = sources("src").iter().flat_map(printing).collect();
    none_of(&complaints);
}

#[test]
fn a_foreign_crate_outside_its_rooms_is_found_however_it_is_written() {
    for text in [
        "use rusqlite::Connection;",
        "use rusqlite as sql;",
        "use ::rusqlite::Connection;",
        "extern crate rusqlite;",
        "fn f() -> rusqlite::Result<()> { g() }",
        "fn f() { let _ = vec![rusqlite::params(1)]; }",
        "#[derive(rusqlite::Row)] struct S;",
        "#[cfg(test)] mod tests { use rusqlite::Connection; }",
        "fn f() { rusqlite::params![1]; }",
    ] {
        let source = Source::new("journal.rs", text);
        only(&out_of_fence(&source), "journal.rs: `rusqlite");
    }
    for (path, text) in [
        ("broker/steps.rs", "use cedar_policy::Decision;"),
        ("broker.rs", "use rmcp::model::Tool;"),
        ("mcp.rs", "use axum::Router;"),
        ("config.rs", "use clap::Parser;"),
        ("store.rs", "fn f() { anyhow::bail!(\"no\") }"),
    ] {
        let source = Source::new(path, text);
        only(&out_of_fence(&source), path);
    }
}

#[test]
fn a_foreign_crate_in_its_rooms_passes() {
    for (path, text) in [
        ("policy/engine.rs", "use cedar_policy::Authorizer;"),
        ("journal/table.rs", "use rusqlite::params;"),
        ("downstream/process.rs", "use rmcp::model::Tool;"),
        ("main.rs", "fn main() -> anyhow::Result<()> { run() }"),
        ("broker.rs", "fn f(clap: u8) -> u8 { clap }"),
        ("broker.rs", "//! No rusqlite::Connection here.\n"),
    ] {
        none_of(&out_of_fence(&Source::new(path, text)));
    }
}

#[test]
fn a_print_is_found_unless_a_test_has_it() {
    for text in [
        "fn f() { println!(\"x\"); }",
        "fn f() { std::print!(\"x\"); }",
        "macro_rules! say { () => { println!(\"x\") }; }",
    ] {
        only(&printing(&Source::new("stdio.rs", text)), "is the wire");
    }
    for text in [
        "#[cfg(test)] mod tests { fn f() { println!(\"x\"); } }",
        "#![cfg(test)] fn f() { println!(\"x\"); }",
        "fn f() { eprintln!(\"x\"); writeln!(out, \"println!\"); }",
    ] {
        none_of(&printing(&Source::new("stdio.rs", text)));
    }
}
