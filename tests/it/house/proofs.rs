//! The proofs: values that only one room can make.

use super::none_of;
use super::only;
use super::source::End;
use super::source::Run;
use super::source::Source;
use super::source::runs;
use super::source::sources;
use syn::Type;
use syn::Visibility;
use syn::buffer::TokenBuffer;
use syn::visit::Visit;

/// A type whose value proves that something happened.
struct Proof {
    name: &'static str,
    /// The only room that makes it.
    room: &'static str,
    /// How many places of that room may make it, where that is counted.
    sites: Option<usize>,
    /// Traits that would make a second one.
    never: &'static [&'static str],
}

const ONCE: &[&str] = &["Clone", "Copy", "Default", "Deserialize"];

const PROOFS: [Proof; 4] = [
    Proof {
        name: "Permit",
        room: "permit",
        sites: Some(1),
        never: ONCE,
    },
    Proof {
        name: "Allowed",
        room: "policy",
        sites: None,
        never: ONCE,
    },
    Proof {
        name: "OpenEntry",
        room: "journal",
        sites: None,
        never: ONCE,
    },
    // What was committed stays committed, so a copy of this one is no lie.
    Proof {
        name: "Committed",
        room: "store",
        sites: None,
        never: &["Default", "Deserialize"],
    },
];

/// Complains of a proof that is made outside its room or at too many places,
/// can be made by a trait, or shows its fields. Test code is no exception.
fn forgeable(proof: &Proof, sources: &[Source]) -> Vec<String> {
    let mut found = Found {
        proof,
        inside: Vec::new(),
        made: 0,
        complaints: Vec::new(),
    };
    let mut complaints = Vec::new();
    let mut made_at_home = Vec::new();
    for source in sources {
        found.made = 0;
        found.visit_file(&source.whole);
        let here = found.complaints.drain(..);
        complaints.extend(here.map(|what| format!("{}: {what}", source.path)));
        if source.room() == proof.room {
            made_at_home.extend((0..found.made).map(|_| source.path.clone()));
        } else if found.made > 0 {
            complaints.push(format!(
                "{}: makes a `{}`, which only `{}` may",
                source.path, proof.name, proof.room
            ));
        }
    }
    let room_exists = sources.iter().any(|source| source.room() == proof.room);
    if let Some(sites) = proof.sites
        && room_exists
        && made_at_home.len() != sites
    {
        complaints.push(format!(
            "`{}` is made at {} places, not {sites}: {}",
            proof.name,
            made_at_home.len(),
            made_at_home.join(", ")
        ));
    }
    complaints
}

/// Looks for the places that make one proof.
struct Found<'a> {
    proof: &'a Proof,
    /// For each `impl` block around: whether `Self` is the proof.
    inside: Vec<bool>,
    made: usize,
    complaints: Vec<String>,
}

impl Found<'_> {
    /// Whether a path is the proof's name. `Outcome::Allowed` is a variant of
    /// another type, and not.
    fn is_proof(&self, parts: &[String]) -> bool {
        match parts {
            [] => false,
            [only] if only == "Self" => self.inside.last().is_some_and(|inside| *inside),
            [before @ .., last] => {
                let variant = before
                    .last()
                    .is_some_and(|part| part.starts_with(char::is_uppercase));
                last == self.proof.name && !variant
            }
        }
    }

    fn note(&mut self, path: &syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if self.is_proof(&parts) {
            self.made += 1;
        }
    }

    fn complain(&mut self, what: &str) {
        self.complaints
            .push(format!("`{}` {what}", self.proof.name));
    }
}

impl<'ast> Visit<'ast> for Found<'_> {
    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let inside = is_named(&block.self_ty, self.proof.name);
        if let (true, Some((path, _))) = (inside, &block.trait_) {
            let of = path.segments.last().map(|last| last.ident.to_string());
            if let Some(of) = of.filter(|of| self.proof.never.contains(&of.as_str())) {
                self.complain(&format!("is {of}"));
            }
        }
        self.inside.push(inside);
        syn::visit::visit_item_impl(self, block);
        self.inside.pop();
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if item.ident == self.proof.name {
            for attribute in &item.attrs {
                let Ok(list) = attribute.meta.require_list() else {
                    continue;
                };
                let tokens = TokenBuffer::new2(list.tokens.clone());
                let derived = runs(tokens.begin());
                for of in derived.iter().filter_map(|run| run.parts.last()) {
                    if self.proof.never.contains(&of.as_str()) {
                        self.complain(&format!("is {of}"));
                    }
                }
            }
            let shown = |field: &syn::Field| !matches!(field.vis, Visibility::Inherited);
            if item.fields.is_empty() || item.fields.iter().any(shown) {
                self.complain("shows its fields, or has none: anyone can make one");
            }
        }
        syn::visit::visit_item_struct(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        if is_named(&item.ty, self.proof.name) {
            self.complain("has a second name");
        }
    }

    fn visit_use_rename(&mut self, renamed: &'ast syn::UseRename) {
        if renamed.ident == self.proof.name && renamed.rename != "_" {
            self.complain("has a second name");
        }
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        self.note(&literal.path);
        syn::visit::visit_expr_struct(self, literal);
    }

    /// The constructor of a tuple struct, called or passed on.
    fn visit_expr_path(&mut self, constructor: &'ast syn::ExprPath) {
        self.note(&constructor.path);
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        let tokens = TokenBuffer::new2(invoked.tokens.clone());
        let made = |run: &&Run| run.end == End::Group && self.is_proof(&run.parts);
        self.made += runs(tokens.begin()).iter().filter(made).count();
    }
}

pub(super) fn is_named(of: &Type, name: &str) -> bool {
    match of {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == name),
        _ => false,
    }
}

#[test]
fn only_its_room_makes_a_proof() {
    let sources = sources("src");
    let complaints: Vec<String> = PROOFS
        .iter()
        .flat_map(|proof| forgeable(proof, &sources))
        .collect();
    none_of(&complaints);
}

/// What the rules say of a room `permit` as it should be, and one more file.
fn with_permit(path: &str, text: &str) -> Vec<String> {
    let good = "
        #[derive(Debug)] pub struct Permit { call: CallId }
        impl Permit { pub fn new(allowed: Allowed) -> Self { Self { call: allowed.call() } } }";
    let sources = [Source::new("permit.rs", good), Source::new(path, text)];
    forgeable(&PROOFS[0], &sources)
}

#[test]
fn a_permit_made_elsewhere_is_found_however_it_is_written() {
    for text in [
        "fn f() -> Permit { Permit { call } }",
        "fn f() -> Permit { crate::permit::Permit { call } }",
        "impl Permit { fn again(&self) -> Self { Self { call: self.call } } }",
        "impl From<Call> for Permit { fn from(call: Call) -> Self { Self { call } } }",
        "fn f() -> Permit { Permit(call) }",
        "fn f() -> Option<Permit> { call.map(Permit) }",
        "fn f() { vec![Permit { call }]; }",
        "#[cfg(test)] mod tests { fn f() -> Permit { Permit { call } } }",
    ] {
        only(
            &with_permit("broker.rs", text),
            "broker.rs: makes a `Permit`, which only `permit` may",
        );
        only(
            &with_permit("permit/again.rs", text),
            "`Permit` is made at 2 places, not 1",
        );
    }
}

#[test]
fn a_permit_that_is_only_used_passes() {
    let text = "
        use crate::permit::Permit;
        fn send(permit: Permit) -> Outcome { let Permit { call } = permit; Outcome::Permit(call) }
        fn make(allowed: Allowed) -> Permit { Permit::new(allowed) }
        impl Call { fn new() -> Self { Self { permit: None } } }";
    none_of(&with_permit("broker.rs", text));
}

#[test]
fn a_permit_that_a_trait_can_make_is_found() {
    let made = "impl Permit { fn new() -> Self { Self { call } } }";
    for (text, complaint) in [
        (
            "#[derive(Debug, Clone)] struct Permit { call: CallId }",
            "is Clone",
        ),
        (
            "#[cfg_attr(test, derive(Default))] struct Permit { call: CallId }",
            "is Default",
        ),
        (
            "#[derive(serde::Deserialize)] struct Permit { call: CallId }",
            "is Deserialize",
        ),
        (
            "struct Permit { call: CallId } impl Copy for Permit {}",
            "is Copy",
        ),
        (
            "struct Permit { pub(crate) call: CallId }",
            "shows its fields",
        ),
        ("struct Permit {}", "shows its fields, or has none"),
        ("type Pass = Permit;", "has a second name"),
        ("use super::Permit as Pass;", "has a second name"),
    ] {
        let source = Source::new("permit.rs", &format!("{text} {made}"));
        only(&forgeable(&PROOFS[0], &[source]), complaint);
    }
}

#[test]
fn other_proofs_are_held_to_their_rooms_too() {
    for (proof, room) in PROOFS.iter().zip(["permit", "policy", "journal", "store"]) {
        let text = format!("fn f() {{ g({} {{ call }}) }}", proof.name);
        let elsewhere = Source::new("broker.rs", &text);
        only(
            &forgeable(proof, &[elsewhere]),
            &format!("only `{room}` may"),
        );
        let home = Source::new(&format!("{room}/inner.rs"), &text);
        none_of(&forgeable(proof, &[home]));
    }
}
