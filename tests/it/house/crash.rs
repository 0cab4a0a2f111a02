//! Crash points: nothing of them is in a build without the feature
//! `crash-points`, apart from functions that do nothing.

use super::none_of;
use super::only;
use super::source::Source;
use super::source::attributes;
use super::source::cfg;
use super::source::sources;
use syn::Expr;
use syn::Item;
use syn::Lit;
use syn::Stmt;

const ARMED: &str = "feature=\"crash-points\"";

/// Complains of what `crash.rs` compiles without the feature: everything but
/// functions that are empty, or say `false`.
fn armed_without_feature(crash: &Source) -> Vec<String> {
    let gated = |item: &&Item| cfg(attributes(item)).any(|condition| condition == ARMED);
    let left_in = crash
        .shipped
        .items
        .iter()
        .filter(|item| !gated(item) && !does_nothing(item));
    left_in
        .map(|item| match item {
            Item::Fn(function) => format!("fn {}", function.sig.ident),
            Item::Mod(module) => format!("mod {}", module.ident),
            _ => "an item".to_owned(),
        })
        .map(|what| format!("{}: {what} is in a build without its feature", crash.path))
        .collect()
}

fn does_nothing(item: &Item) -> bool {
    let Item::Fn(function) = item else {
        return false;
    };
    match function.block.stmts.as_slice() {
        [] => true,
        [Stmt::Expr(Expr::Lit(answer), None)] => {
            matches!(&answer.lit, Lit::Bool(answer) if !answer.value)
        }
        _ => false,
    }
}

#[test]
fn without_the_feature_crash_points_do_nothing() {
    let sources = sources("src");
    let crash = sources.iter().filter(|source| source.path == "crash.rs");
    let complaints: Vec<String> = crash.flat_map(armed_without_feature).collect();
    none_of(&complaints);
}

#[test]
fn a_crash_point_without_the_feature_is_found() {
    for text in [
        "pub fn point(name: &str) { kill(name) }",
        "#[cfg(not(feature = \"crash-points\"))] pub fn point(name: &str) { kill(name) }",
        "pub fn mutated(name: &str) -> bool { true }",
        "mod armed;",
        "static HITS: AtomicU32 = AtomicU32::new(0);",
        "#[cfg(any(unix, feature = \"crash-points\"))] use std::process;",
    ] {
        only(
            &armed_without_feature(&Source::new("crash.rs", text)),
            "is in a build without its feature",
        );
    }
}

#[test]
fn a_crash_point_with_the_feature_passes() {
    let text = "
        #[cfg(feature = \"crash-points\")] pub fn point(name: &str) { armed::point(name) }
        #[cfg(not(feature = \"crash-points\"))] pub fn point(_name: &str) {}
        #[cfg(not(feature = \"crash-points\"))] pub fn mutated(_: &str) -> bool { false }
        #[cfg(feature = \"crash-points\")] mod armed { use std::process; }
        #[cfg(test)] mod tests { fn f() { kill() } }";
    none_of(&armed_without_feature(&Source::new("crash.rs", text)));
}
