//! Slips of the pen in policies, and what each is answered with.

use super::world::World;

/// What is said of a set to which this was added.
fn told(text: &str) -> String {
    let built = World::shipped().with(text).build();
    built.unwrap_err().problems().join("\n")
}

#[test]
fn a_name_that_is_nearly_one_is_told_with_that() {
    for (head, due) in [
        (
            r#"principal, action == Broker::Action::"claims/aprove_paymnt", resource"#,
            "which the server `claims` does not have (did you mean `claims/approve_payment`?): its tools are",
        ),
        (
            r#"principal, action, resource == Broker::Tool::"claims/get-claims""#,
            "which the server `claims` does not have (did you mean `claims/get_claim`?): its tools are",
        ),
        (
            r#"principal, action == Broker::Action::"claims/delete_all", resource"#,
            "which the server `claims` does not have: its tools are",
        ),
        (
            r#"principal, action == Broker::Action::"claim/approve_payment", resource"#,
            "is not configured (did you mean `claims`?): the servers are",
        ),
        (
            r#"principal, action == Broker::Action::"approve-payment", resource"#,
            "it names the action `approve-payment` (did you mean `claims/approve_payment`?): write",
        ),
        (
            r#"principal, action == Broker::Action::"tool/call", resource"#,
            "which is not configured (did you mean `tools/call`?): the servers are",
        ),
        (
            r#"principal, action in Broker::Action::"writes", resource"#,
            "it names the action `writes` (did you mean `write`?): write",
        ),
        (
            r#"principal in Broker::Role::"Junoir", action, resource"#,
            "which nobody declared (did you mean `Junior`?): the roles are",
        ),
    ] {
        let told = told(&format!(r#"@id("x") forbid({head});"#));
        assert!(told.contains(due), "{head}\n{told}");
    }
}

#[test]
fn what_is_right_in_other_languages_is_told_with_what_is_right_in_cedar() {
    const FORBID: &str =
        r#"@id("x") forbid(principal, action == Broker::Action::"files/read-file", resource) when"#;
    let when = |condition: &str| format!("{FORBID} {{ {condition} }};");
    let comment = "(a comment begins with `//`, not with `#`)";
    let quotes = "(quotes are straight: write `\"`, not `\u{201c}` or `\u{201d}`)";
    for (text, due) in [
        (
            format!("// ours\n# Files\n{}", when("true")),
            format!("own.cedar:2: invalid token {comment}"),
        ),
        (
            when("context.input.limit > 1 # too much\n"),
            comment.to_owned(),
        ),
        (
            when("context.input.path == \u{201c}x\u{201d}"),
            format!("own.cedar:1: invalid token {quotes}"),
        ),
        (
            FORBID.replace('"', "\u{201d}"),
            format!("own.cedar:1: invalid token {quotes}"),
        ),
        (
            when("input.path == \"x\""),
            "(what is known of a call stands in `context`: write `context.input.path`)".to_owned(),
        ),
        (
            when("input[\"path#under\"] == \"x\""),
            "write `context.input`)".to_owned(),
        ),
        (
            when("!session.labels.contains(\"pii\")"),
            "write `context.session.labels`)".to_owned(),
        ),
        (
            when("context.input.path == \"x\" and principal has role"),
            "(Cedar has `&&`, not `and`)".to_owned(),
        ),
        (
            when("context.input.path == \"x\" or principal has role"),
            "(Cedar has `||`, not `or`)".to_owned(),
        ),
        (
            when("context.input.path.startsWith(\"/srv\")"),
            "(Cedar has `like \"x*\"`, with `*` for any text)".to_owned(),
        ),
        (
            when("context.input.path matches \"/srv\""),
            "(Cedar has `like \"*x*\"`, with".to_owned(),
        ),
        (
            when("arguments.path == \"x\""),
            "write `context.input.path`)".to_owned(),
        ),
    ] {
        let told = told(&text);
        assert!(told.contains(&due), "{text}\n{told}");
    }
    // What stands in quotes, or behind `//`, is right.
    for text in [
        when("context.input.path == \"#\u{201c}x\u{201d}\" // # \u{201c}\n"),
        when("context.input[\"path#under\"]"),
    ] {
        assert!(World::shipped().with(&text).build().is_ok(), "{text}");
    }
    let told = told(&when("there.path == \"#\u{201c}\""));
    assert!(told.ends_with("has no fields or methods"), "{told}");
}
