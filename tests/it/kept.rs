//! Transport sessions that servers gave us: the next broker goes on in them.

use crate::fake::Fake;
use crate::world::Wire;
use crate::world::World;
use countersign::journal::CallView;
use countersign::outcome::Outcome;
use serde_json::json;

const POLICY: &str = r#"
@id("all") permit (principal, action, resource);
"#;

fn world(fake: &Fake, more: &str) -> World {
    let server = format!("\n[servers.own]\nurl = {:?}\n{more}\n", fake.url());
    World::of(&server, POLICY)
}

fn broker(world: &World) -> Wire {
    world.broker().initialized()
}

fn says(broker: &mut Wire, what: &str) -> String {
    broker.call("own__remember", json!({ "what": what }))
}

#[test]
fn a_broker_that_was_started_again_goes_on_in_the_same_transport_session() {
    let fake = Fake::start("own");
    let world = world(&fake, "");
    let mut first = broker(&world);
    assert_eq!(says(&mut first, "a"), "own a");
    assert!(first.end());
    let mut second = broker(&world);
    assert_eq!(says(&mut second, "b"), "own a,b");
    second.kill();
    let mut third = broker(&world);
    assert_eq!(says(&mut third, "c"), "own a,b,c");
    assert_eq!(fake.count("initialize"), 1);
    assert!(world.journal_problems().is_empty());
}

#[test]
fn two_brokers_that_run_at_once_never_speak_in_one_transport_session() {
    let fake = Fake::start("own");
    let world = world(&fake, "");
    let mut first = broker(&world);
    assert_eq!(says(&mut first, "a"), "own a");
    let mut second = broker(&world);
    assert_eq!(says(&mut second, "b"), "own b");
    assert_eq!(says(&mut first, "c"), "own a,c");
    assert_eq!(fake.count("initialize"), 2);
}

#[test]
fn a_transport_session_that_the_server_forgot_is_replaced_by_a_new_one() {
    let fake = Fake::start("own");
    let world = world(&fake, "");
    let mut first = broker(&world);
    assert_eq!(says(&mut first, "a"), "own a");
    assert!(first.end());
    fake.forget();
    let mut second = broker(&world);
    assert_eq!(says(&mut second, "b"), "own b");
    assert!(second.end());
    let mut third = broker(&world);
    assert_eq!(says(&mut third, "c"), "own b,c");
    // And while a broker runs.
    fake.forget();
    assert_eq!(says(&mut third, "d"), "own d");
    assert!(third.end());
    assert_eq!(says(&mut broker(&world), "e"), "own d,e");
    assert_eq!(fake.count("initialize"), 3);
}

#[test]
fn another_place_never_gets_to_know_a_transport_session() {
    let (fake, elsewhere) = (Fake::start("own"), Fake::start("other"));
    let world = world(&fake, "");
    let mut first = broker(&world);
    assert_eq!(says(&mut first, "a"), "own a");
    assert!(first.end());
    world.edit("countersign.toml", &fake.url(), &elsewhere.url());
    assert_eq!(says(&mut broker(&world), "b"), "other b");
    let known = Some("own-1".to_owned());
    let asked = &elsewhere.state().asked;
    assert!(asked.iter().all(|(_, session)| *session != known));
}

#[test]
fn an_instance_resumes_where_the_transport_session_was_lost_and_only_there() {
    let fake = Fake::start("own");
    let resume = "resume_tool = \"remember\"\nresume_argument = \"what\"";
    let world = world(&fake, &format!("instance = \"per-session\"\n{resume}"));
    let mut first = broker(&world);
    assert_eq!(says(&mut first, "a"), "own a");
    assert!(first.end());
    let mut second = broker(&world);
    assert_eq!(says(&mut second, "b"), "own a,b");
    fake.forget();
    // Nothing is done in a transport session that knows nothing of the session.
    let unsent = says(&mut second, "c");
    assert!(unsent.contains("Nothing was sent"), "{unsent}");
    assert_eq!(says(&mut second, "d"), "own claim-99,d");
    assert!(second.end());
    let mut third = broker(&world);
    assert_eq!(says(&mut third, "e"), "own claim-99,d,e");
    assert!(third.end());
    fake.forget();
    assert_eq!(says(&mut broker(&world), "f"), "own claim-99,f");
    let calls = world.calls("claim-99");
    let unsent = calls
        .iter()
        .filter(|call| call.outcome == Some(Outcome::FailedBeforeSending));
    assert_eq!(unsent.count(), 1);
}

/// Nobody knows then whether it was told, so another is told that surely was not.
#[test]
#[cfg_attr(
    not(feature = "crash-points"),
    ignore = "needs --features crash-points"
)]
fn no_instance_is_told_to_resume_twice_by_brokers_that_are_killed_meanwhile() {
    let resume = "resume_tool = \"remember\"\nresume_argument = \"what\"";
    for (point, left) in [
        ("revive.begun", &[][..]),
        ("spool.open.after-append", &[]),
        ("spool.close.before-append", &["claim-99"]),
        ("revive.told", &["claim-99"]),
    ] {
        let fake = Fake::start("own");
        let world = world(&fake, &format!("instance = \"per-session\"\n{resume}"));
        let mut first = broker(&world);
        assert_eq!(says(&mut first, "a"), "own a", "{point}");
        assert!(first.end());
        fake.forget();
        let second = world.broker_with(|command| {
            command.env("COUNTERSIGN_CRASH", format!("{point}:1"));
        });
        let mut second = second.initialized();
        let call = json!({"name": "own__remember", "arguments": {"what": "b"}});
        let id = second.request("tools/call", call);
        assert!(second.answer_to(id).is_none(), "{point}");
        assert!(second.was_killed(), "{point} was not passed");
        let told = |fake: &Fake| {
            let all = fake.state().sessions.clone().into_values();
            all.filter(|one| !one.is_empty()).collect::<Vec<_>>()
        };
        let before = told(&fake);
        let due: Vec<Vec<&str>> = left.iter().map(|one| vec![*one]).collect();
        assert_eq!(before, due, "{point}");
        let mut third = broker(&world);
        assert_eq!(says(&mut third, "c"), "own claim-99,c", "{point}");
        assert!(third.end());
        let mut fourth = broker(&world);
        assert_eq!(says(&mut fourth, "d"), "own claim-99,c,d", "{point}");
        assert!(fourth.end());
        assert_eq!(told(&fake).len(), left.len() + 1, "{point}");
        assert!(world.journal_problems().is_empty(), "{point}");
        let open = |call: &CallView| call.outcome.is_none();
        assert!(!world.calls("claim-99").iter().any(open), "{point}");
    }
}

#[test]
fn what_is_followed_is_followed_in_the_new_transport_session_too() {
    let fake = Fake::start("own");
    let world = world(&fake, "");
    let mut broker = broker(&world);
    assert_eq!(says(&mut broker, "a"), "own a");
    let listed = broker.ask("resources/list", json!({}));
    let uri = listed["result"]["resources"][0]["uri"].clone();
    let followed = broker.ask("resources/subscribe", json!({ "uri": uri }));
    assert!(followed["error"].is_null(), "{followed}");
    fake.wait_until_asked("resources/subscribe", "own-1");
    fake.forget();
    assert_eq!(says(&mut broker, "b"), "own b");
    let is_new =
        |message: &serde_json::Value| message["method"] == "notifications/resources/updated";
    assert!(broker.wait_for(is_new).is_some());
    fake.wait_until_asked("resources/subscribe", "own-2");
}

#[test]
fn a_new_transport_session_is_told_the_level_of_the_log_before_it_takes_a_call() {
    let fake = Fake::start("own");
    let world = world(&fake, "");
    let mut broker = broker(&world);
    let level = broker.ask("logging/setLevel", json!({"level": "info"}));
    assert!(level["error"].is_null(), "{level}");
    assert_eq!(says(&mut broker, "a"), "own a");
    fake.forget();
    assert_eq!(says(&mut broker, "b"), "own b");
    let state = fake.state();
    let call = state
        .asked
        .iter()
        .rposition(|(asked, _)| asked == "tools/call");
    let (_, session) = &state.asked[call.unwrap()];
    let told = ("logging/setLevel".to_owned(), session.clone());
    let told = state.asked.iter().position(|asked| *asked == told);
    assert!(
        told.is_some_and(|told| Some(told) < call),
        "{:?}",
        state.asked
    );
}
