//! The program knows no fixture: what a test asks for by name must come from
//! where it comes from in life.

use super::none_of;
use super::only;
use super::source::Source;
use super::source::package;
use super::source::runs;
use super::source::sources;
use std::collections::BTreeSet;
use syn::buffer::TokenBuffer;
use syn::visit::Visit;

/// Where the names of the conformance server stand.
const SERVER: &str = "fixtures/conformance/server";

/// Every text in a source, tests included.
fn texts(source: &Source) -> BTreeSet<String> {
    struct Texts(BTreeSet<String>);
    impl Visit<'_> for Texts {
        fn visit_lit_str(&mut self, text: &syn::LitStr) {
            self.0.insert(text.value());
        }
        fn visit_macro(&mut self, invoked: &syn::Macro) {
            let tokens = TokenBuffer::new2(invoked.tokens.clone());
            let parts = runs(tokens.begin()).into_iter().flat_map(|run| run.parts);
            let texts = parts.filter_map(|part| syn::parse_str::<syn::LitStr>(&part).ok());
            self.0.extend(texts.map(|text| text.value()));
        }
    }
    let mut texts = Texts(BTreeSet::new());
    texts.visit_file(&source.whole);
    texts.0
}

/// The texts that are names or addresses. Words that anybody may use are none:
/// `name`, `text/plain`.
fn names(source: &Source) -> BTreeSet<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_:/{}-".contains(letter);
    let named =
        |text: &String| (text.contains('_') || text.contains("://")) && !text.starts_with("http");
    let texts = texts(source).into_iter();
    texts
        .filter(|text| named(text) && text.chars().all(plain))
        .collect()
}

fn naming(source: &Source, names: &BTreeSet<String>) -> Vec<String> {
    let texts = texts(source);
    let found = names
        .iter()
        .filter(|name| texts.iter().any(|text| text.contains(name.as_str())));
    found
        .map(|name| format!("{}: `{name}` is the name of a fixture", source.path))
        .collect()
}

#[test]
fn no_name_of_a_fixture_is_in_the_program() {
    assert!(package().join(SERVER).is_dir());
    let names: BTreeSet<String> = sources(SERVER).iter().flat_map(names).collect();
    for known in ["test_simple_text", "slow_compute", "test://static-text"] {
        assert!(names.contains(known), "{known} is not among {names:?}");
    }
    let complaints: Vec<String> = sources("src")
        .iter()
        .flat_map(|source| naming(source, &names))
        .collect();
    none_of(&complaints);
}

#[test]
fn a_name_of_a_fixture_in_the_program_is_found() {
    let server = Source::new(
        "server.rs",
        "fn f() { tool(\"test_it\", \"Says: name_d.\", \"text\") }",
    );
    let names = names(&server);
    assert_eq!(names.iter().collect::<Vec<_>>(), ["test_it"]);
    let broker = Source::new(
        "broker.rs",
        "fn f(tool: &str) -> bool { tool == \"test_it\" }",
    );
    only(&naming(&broker, &names), "`test_it`");
    none_of(&naming(
        &Source::new("broker.rs", "fn test_it() {}"),
        &names,
    ));
}
