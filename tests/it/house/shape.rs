//! The shape of a file: where it stands, how long it is, how it imports, and
//! what it may not silence.

use super::none_of;
use super::only;
use super::source::End;
use super::source::Source;
use super::source::runs;
use super::source::sources;
use syn::UseTree;
use syn::buffer::TokenBuffer;
use syn::visit::Visit;

/// A longer file is split, or says in its module doc why it is longer.
const MOST_LINES: usize = 500;

fn misshapen(source: &Source) -> Vec<String> {
    let mut shape = Shape { found: Vec::new() };
    shape.visit_file(&source.whole);
    let mut found = shape.found;
    if source.file_name() == "mod.rs" {
        found.push("write `room.rs` beside `room/`, no mod.rs".to_owned());
    }
    let tokens = TokenBuffer::new2(source.text.parse().unwrap());
    if runs(tokens.begin())
        .iter()
        .any(|run| run.parts.iter().any(|part| part == "unsafe"))
    {
        found.push("`unsafe`".to_owned());
    }
    let lines = source.text.lines().count();
    let explained = source
        .text
        .lines()
        .any(|line| line.starts_with("//!") && line.contains("longer than"));
    if lines > MOST_LINES && !explained {
        found.push(format!(
            "{lines} lines: split it, or say in its module doc why it is longer than {MOST_LINES}"
        ));
    }
    found
        .into_iter()
        .map(|what| format!("{}: {what}", source.path))
        .collect()
}

struct Shape {
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Shape {
    fn visit_use_tree(&mut self, tree: &'ast UseTree) {
        if matches!(tree, UseTree::Group(_)) {
            self.found
                .push("several paths in one `use`: write one per line".to_owned());
        }
        syn::visit::visit_use_tree(self, tree);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let conditional = attribute.path().is_ident("cfg_attr")
            && attribute.meta.require_list().is_ok_and(|list| {
                let tokens = TokenBuffer::new2(list.tokens.clone());
                runs(tokens.begin())
                    .iter()
                    .any(|run| run.parts == ["allow"] && run.end == End::Group)
            });
        if attribute.path().is_ident("allow") || conditional {
            self.found
                .push("`#[allow(…)]`: write `#[expect(…, reason = \"…\")]`".to_owned());
        }
    }
}

#[test]
fn every_file_is_in_shape() {
    for folder in ["src", "tests", "benches", "fixtures"] {
        let complaints: Vec<String> = sources(folder).iter().flat_map(misshapen).collect();
        none_of(&complaints);
    }
}

#[test]
fn a_file_out_of_shape_is_found() {
    for (path, text, complaint) in [
        ("store/mod.rs", "", "no mod.rs"),
        ("store.rs", "use std::{fmt, io};", "one per line"),
        (
            "store.rs",
            "fn f() { use std::io::{self}; }",
            "one per line",
        ),
        ("store.rs", "fn f() { unsafe { g() } }", "`unsafe`"),
        ("store.rs", "unsafe impl Send for S {}", "`unsafe`"),
        ("store.rs", "m! { unsafe { g() } }", "`unsafe`"),
        ("store.rs", "#[allow(dead_code)] fn f() {}", "#[allow("),
        ("store.rs", "#![allow(dead_code)]", "#[allow("),
        (
            "store.rs",
            "#[cfg_attr(test, allow(dead_code))] fn f() {}",
            "#[allow(",
        ),
        ("store.rs", &"// more\n".repeat(501), "501 lines"),
    ] {
        only(&misshapen(&Source::new(path, text)), complaint);
    }
}

#[test]
fn a_file_in_shape_passes() {
    let explained = format!(
        "//! One table of cases, longer than 500 lines.\n{}",
        "// more\n".repeat(600)
    );
    for text in [
        "//! Nothing unsafe here.\nuse std::io::Write as _;\nfn f() { allow(\"unsafe\"); }",
        "#[expect(dead_code, reason = \"a later room uses it\")] fn f() {}",
        &explained,
        &"// more\n".repeat(500),
    ] {
        none_of(&misshapen(&Source::new("store.rs", text)));
    }
}
