//! Who is told that a call waits, by which way, and that nobody is forgotten.

mod mail;

use super::approved;
use super::stopped;
use crate::receiver::Post;
use crate::receiver::SECRET;
use crate::world::PATIENCE;
use crate::world::Wire;
use crate::world::World;
use std::net::TcpListener;
use std::time::Duration;
use std::time::Instant;

/// A world with these sections, in which `URL` is the listener's.
fn telling(sections: &str) -> (World, TcpListener) {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    world.write("secret", SECRET);
    world.append("countersign.toml", &sections.replace("URL", &url));
    (world, listener)
}

/// Waits until the command line says this of the deliveries.
fn delivered(world: &World, says: &str) -> String {
    let begun = Instant::now();
    loop {
        let (done, shown) = world.run(&["escalation", "deliveries"]);
        assert!(done, "{shown}");
        if shown.contains(says) {
            return shown;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const SIGNED: &str = "
[[escalations.notify]]
url = \"URL\"
secret = \"${file:secret}\"
on = [\"asked\", \"approved\"]
roles = [\"Manager\"]
";

#[test]
fn a_long_argument_hides_no_other_from_who_is_told() {
    let (world, listener) = telling(SIGNED);
    let mut alice = world.broker().initialized();
    let mut call = super::pay(super::MUCH, "claim-99");
    call["arguments"]["memo"] = "x".repeat(20_000).into();
    call["arguments"]["payee"] = "ACME\u{3000}\u{338}".into();
    super::id_in(&alice.ask("tools/call", call));
    let told = Post::take(&listener);
    let text = told.json()["data"]["text"].take();
    let text = text.as_str().unwrap();
    for line in [
        "Argument: amount: 50000",
        "Argument: payee: \"ACME\\u{3000}\\u{338}\"",
    ] {
        assert!(text.lines().any(|said| said == line), "{text}");
    }
    assert!(text.contains("x… (19882 more characters)"), "{text}");
    told.answer(204);
    assert!(alice.end());
}

#[test]
fn what_comes_to_a_request_is_told_too() {
    let (world, listener) = telling(SIGNED);
    let mut alice = world.broker().initialized();
    let asks = |alice: &mut Wire| {
        let answer = alice.ask("tools/call", super::pay(10_004, "claim-99"));
        super::id_in(&answer)
    };
    let is_told = |name: &str, policies: &[&str]| {
        let told = Post::take(&listener);
        assert_eq!(told.headers["webhook-id"], name);
        let stops = told.json()["data"]["escalation"]["reasons"].take();
        let stops = stops.as_array().unwrap().iter();
        let named: Vec<&str> = stops.map(|stop| stop["policy"].as_str().unwrap()).collect();
        assert_eq!(named, policies);
        told.answer(204);
    };
    let id = asks(&mut alice);
    let limit = "claims.approve.limit";
    is_told(&format!("ntf_{id}_pending"), &[limit]);
    assert!(super::passes(&mut alice, super::pay(9_999, "claim-99")));
    assert_eq!(asks(&mut alice), id);
    let both = [limit, "claims.approve.session-limit"];
    is_told(&format!("ntf_{id}_pending_2"), &both);
    assert!(alice.end());
}

#[test]
fn a_call_that_waits_is_told_signed_until_it_is_taken_and_over_a_kill() {
    let (world, listener) = telling(SIGNED);
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let first = Post::take(&listener);
    assert!(first.is_signed(), "{:?}", first.headers);
    let name = first.headers["webhook-id"].clone();
    assert_eq!(name, format!("ntf_{id}_pending"));
    let told = first.json();
    assert_eq!(told["type"], "escalation.asked");
    let data = &told["data"];
    assert_eq!(data["escalation"]["id"], id);
    assert_eq!(data["escalation"]["principal"], "alice");
    assert_eq!(data["handles"][0], "claim-99");
    assert_eq!(data["arguments"]["amount"], 50_000);
    assert_eq!(
        data["command"],
        format!("countersign escalation approve {id}")
    );
    first.answer(500);
    let second = Post::take(&listener);
    assert_eq!(second.headers["webhook-id"], name);
    // Killed while nobody knows whether it was taken.
    alice.kill();
    drop(second);
    let next = world.broker().initialized();
    let third = Post::take(&listener);
    assert!(third.is_signed());
    assert_eq!(third.headers["webhook-id"], name);
    third.answer(204);
    let shown = delivered(&world, ": delivered");
    assert!(shown.contains("it answered 500"), "{shown}");
    // Decided by another process, which tells nobody anything itself.
    approved(&world, &mia, &id);
    let decided = Post::take(&listener);
    assert_eq!(decided.json()["type"], "escalation.approved");
    assert!(decided.json()["data"]["text"].to_string().contains("mia"));
    decided.answer(200);
    delivered(&world, "approved to ");
    assert!(next.end());
}

/// Waits until a broker is killed that would go on by itself.
fn killed(broker: &mut Wire) {
    while broker.line(PATIENCE).is_some() {}
    assert!(broker.was_killed());
}

#[test]
fn what_was_asked_right_before_a_kill_is_told_by_the_next_broker() {
    for point in ["deliver.before-tell", "deliver.after-tell", "none"] {
        let (world, listener) = telling(SIGNED);
        let broker = world.broker_with(|command| {
            command.env("COUNTERSIGN_CRASH", format!("{point}:1"));
        });
        let mut alice = broker.initialized();
        let id = stopped(&mut alice);
        match point {
            "none" => alice.kill(),
            "deliver.after-tell" => {
                Post::take(&listener).answer(500);
                killed(&mut alice);
            }
            _ => killed(&mut alice),
        }
        let next = world.broker().initialized();
        let told = Post::take(&listener);
        assert_eq!(told.json()["data"]["escalation"]["id"], id, "{point}");
        told.answer(200);
        delivered(&world, ": delivered");
        assert!(next.end());
    }
}

#[test]
fn slack_and_teams_are_told_in_their_own_forms() {
    let (world, listener) = telling(
        "
[escalations]
link = \"https://broker.example/escalations\"
[[escalations.notify]]
url = \"URL/slack\"
template = \"slack\"
[[escalations.notify]]
url = \"URL/teams\"
template = \"teams\"
[[escalations.notify]]
url = \"URL/other\"
template = \"slack\"
roles = [\"Senior\"]
",
    );
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let post = Post::take(&listener);
        assert!(!post.headers.contains_key("webhook-signature"));
        let told = post.json();
        assert!(
            post.body
                .contains(&format!("https://broker.example/escalations/{id}"))
        );
        assert!(post.body.contains("Limit Exceeded. Escalate to Manager."));
        match told["type"].as_str() {
            Some("message") => {
                let card = &told["attachments"][0]["content"];
                assert_eq!(card["type"], "AdaptiveCard");
                seen.push("teams");
            }
            _ => {
                assert_eq!(told["blocks"][0]["type"], "header");
                seen.push("slack");
            }
        }
        post.answer(200);
    }
    seen.sort_unstable();
    assert_eq!(seen, ["slack", "teams"]);
    let shown = delivered(&world, ": delivered");
    assert!(!shown.contains("/other"), "{shown}");
    assert!(alice.end());
}

#[test]
fn a_command_is_told_and_what_leads_nowhere_is_found_by_check() {
    let (world, _listener) = telling(
        "
[[escalations.notify]]
command = \"sh\"
args = [\"-c\", \"cat >> told; echo >> told\"]
on = [\"asked\", \"refused\"]
",
    );
    let mia = world.key("mia");
    let mut alice = world.broker().initialized();
    let id = stopped(&mut alice);
    let (done, printed) = super::says(&world, &mia, &["refuse", &id, "--reason", "no"]);
    assert!(done, "{printed}");
    let begun = Instant::now();
    while !world.path("told").exists() {
        assert!(begun.elapsed() < PATIENCE, "nobody is told");
        std::thread::sleep(Duration::from_millis(20));
    }
    world.wait_for_lines("told", 2);
    let told = world.read("told");
    assert!(told.contains("escalation.asked") && told.contains("escalation.refused"));
    let (_, report) = world.run(&["check"]);
    assert!(
        report.contains("sh -c cat >> told; echo >> told: pending, refused"),
        "{report}"
    );
    world.append(
        "countersign.toml",
        "[[escalations.notify]]\ncommand = \"no-such-program\"\nroles = [\"Boss\"]\n",
    );
    let (done, report) = world.run(&["check"]);
    assert!(
        !done && report.contains("a `Boss` may decide, and there is no such role"),
        "{report}"
    );
    let (_, report) = world.run(&["doctor"]);
    assert!(
        report.contains("no-such-program cannot be told"),
        "{report}"
    );
    assert!(alice.end());
}
