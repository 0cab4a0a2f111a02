//! Who sends what somebody asked for: one function, and it takes a permit.

use super::none_of;
use super::only;
use super::proofs::is_named;
use super::source::Source;
use super::source::runs;
use super::source::sources;
use syn::FnArg;
use syn::buffer::TokenBuffer;
use syn::visit::Visit;

/// The methods that may be sent without anybody's leave: they ask a server what
/// it is and what it has, and take requests back.
const FREE: [&str; 12] = [
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "subscriptions/listen",
    "resources/unsubscribe",
    "logging/setLevel",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/tools/list_changed",
];

/// Complains unless exactly one function of `downstream` can send what somebody
/// asked for, and it takes a permit by value. What sends is the method of an
/// `Asking`, or the text of any method that is not [`FREE`], or rmcp's type for a
/// call.
fn sent_without_permit(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut senders = Vec::new();
    let ours = |source: &&Source| source.room() == "downstream";
    for source in sources.iter().filter(ours) {
        let mut sends = Sends {
            around: Vec::new(),
            found: Vec::new(),
        };
        sends.visit_file(&source.shipped);
        sends.found.sort_by_key(|function| function.place);
        sends.found.dedup_by_key(|function| function.place);
        for function in sends.found {
            let Function {
                name, has_permit, ..
            } = function;
            if !has_permit {
                complaints.push(format!(
                    "{}: {name} sends a request without taking a `Permit`",
                    source.path
                ));
            }
            senders.push(format!("{}: {name}", source.path));
        }
    }
    if senders.len() > 1 {
        complaints.push(format!(
            "several places send requests: {}",
            senders.join(", ")
        ));
    }
    if senders.is_empty() && sources.iter().any(|source| ours(&source)) {
        complaints.push("nothing in `downstream` sends requests".to_owned());
    }
    complaints
}

struct Sends {
    around: Vec<Function>,
    found: Vec<Function>,
}

#[derive(Clone)]
struct Function {
    name: String,
    has_permit: bool,
    /// Tells two functions of one name apart.
    place: usize,
}

impl Sends {
    fn enter(&mut self, signature: &syn::Signature) {
        let by_value = |argument: &FnArg| match argument {
            FnArg::Typed(typed) => is_named(&typed.ty, "Permit"),
            FnArg::Receiver(_) => false,
        };
        self.around.push(Function {
            name: format!("fn {}", signature.ident),
            has_permit: signature.inputs.iter().any(by_value),
            place: std::ptr::from_ref(signature) as usize,
        });
    }

    fn note(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        if text.starts_with("CallToolRequest") || methods(&text).any(|m| !FREE.contains(&m)) {
            self.note_sender();
        }
    }

    fn note_sender(&mut self) {
        self.found
            .push(self.around.last().cloned().unwrap_or(Function {
                name: "a constant".to_owned(),
                has_permit: false,
                place: 0,
            }));
    }

    fn note_tokens(&mut self, tokens: &TokenBuffer) {
        for part in runs(tokens.begin()).iter().flat_map(|run| &run.parts) {
            self.note(part.as_bytes());
        }
    }
}

/// The texts that are built like the method of a request.
fn methods(text: &str) -> impl Iterator<Item = &str> {
    const FAMILIES: [&str; 10] = [
        "tools/",
        "prompts/",
        "resources/",
        "completion/",
        "logging/",
        "sampling/",
        "roots/",
        "elicitation/",
        "tasks/",
        "server/",
    ];
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "/_".contains(c)));
    words.filter(|word| FAMILIES.iter().any(|family| word.starts_with(family)))
}

impl<'ast> Visit<'ast> for Sends {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let receiver = match &*call.receiver {
            syn::Expr::Field(field) => match &field.member {
                syn::Member::Named(name) => name.to_string(),
                syn::Member::Unnamed(_) => String::new(),
            },
            syn::Expr::Path(path) => {
                let first = path.path.segments.first();
                first
                    .map(|first| first.ident.to_string())
                    .unwrap_or_default()
            }
            _ => String::new(),
        };
        if call.method == "method" && receiver.eq_ignore_ascii_case("asking") {
            self.note_sender();
        }
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.enter(&function.sig);
        syn::visit::visit_item_fn(self, function);
        self.around.pop();
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.enter(&function.sig);
        syn::visit::visit_impl_item_fn(self, function);
        self.around.pop();
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.enter(&function.sig);
        syn::visit::visit_trait_item_fn(self, function);
        self.around.pop();
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if !attribute.path().is_ident("doc") {
            syn::visit::visit_attribute(self, attribute);
        }
    }

    // Importing the type sends nothing.
    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        self.note(segment.ident.to_string().as_bytes());
        syn::visit::visit_path_segment(self, segment);
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.note(literal.value().as_bytes());
    }

    fn visit_lit_byte_str(&mut self, literal: &'ast syn::LitByteStr) {
        self.note(&literal.value());
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        self.note_tokens(&TokenBuffer::new2(invoked.tokens.clone()));
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.note_tokens(&TokenBuffer::new2(list.tokens.clone()));
    }
}

#[test]
fn a_call_is_sent_at_one_place_that_takes_a_permit() {
    none_of(&sent_without_permit(&sources("src")));
}

const SEND: &str =
    "impl Server { async fn call(&self, permit: Permit) { self.send(\"tools/call\").await } }";

#[test]
fn a_send_without_a_permit_is_found() {
    for text in [
        "fn call(&self) { self.send(\"tools/call\") }",
        "fn call(permit: &Permit) { send(\"tools/call\") }",
        "fn call(permit: Option<Permit>) { send(\"tools/call\") }",
        "fn call() { send(format!(r#\"{{\"method\":\"tools/call\",\"id\":{id}}}\"#)) }",
        "fn call() { send(b\"tools/call\") }",
        "fn call() { send(CallToolRequestParams { name }) }",
        "fn call() { send(rmcp::model::CallToolRequest::new(params)) }",
        "fn call(permit: Permit) { fn inner() { send(\"tools/call\") } inner() }",
        "const METHOD: &str = \"tools/call\";",
        "fn read() { send(\"resources/read\") }",
        "fn new(&self) { send(\"tasks/made_up_tomorrow\") }",
        "fn any(call: &Call) { send(call.asking.method()) }",
        "fn one() { send(Asking::Prompt.method()) }",
    ] {
        only(
            &sent_without_permit(&[Source::new("downstream/link.rs", text)]),
            "sends a request without taking a `Permit`",
        );
    }
}

#[test]
fn a_second_send_is_found_even_with_a_permit() {
    let sources = [
        Source::new("downstream.rs", SEND),
        Source::new("downstream/link.rs", SEND),
    ];
    only(
        &sent_without_permit(&sources),
        "several places send requests",
    );
    let twice = Source::new("downstream.rs", &format!("{SEND} {SEND}"));
    only(
        &sent_without_permit(&[twice]),
        "several places send requests",
    );
}

#[test]
fn a_room_that_sends_nothing_is_found() {
    let empty = Source::new("downstream.rs", "//! Sends `tools/call`.\n");
    only(
        &sent_without_permit(&[empty]),
        "nothing in `downstream` sends",
    );
}

#[test]
fn one_send_with_a_permit_passes() {
    let text = format!(
        "{SEND} /// Not \"tools/call\".
        fn list() {{ send(\"tools/list\") }}
        #[cfg(test)] mod tests {{ fn f() {{ expect(\"tools/call\") }} }}"
    );
    let elsewhere = Source::new("mcp.rs", "fn f() { method == \"tools/call\" }");
    none_of(&sent_without_permit(&[
        Source::new("downstream.rs", &text),
        elsewhere,
    ]));
    none_of(&sent_without_permit(&[]));
}
