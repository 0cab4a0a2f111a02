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
