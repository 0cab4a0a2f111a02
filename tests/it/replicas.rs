//! Servers with several replicas: who goes to which, and stays there.

use crate::fake::Fake;
use crate::http::talk::Talk;
use crate::serving::Serving;
use crate::world::PATIENCE;
use crate::world::World;
use crate::world::text_of;
use countersign::outcome::Outcome;
use countersign::sessions;
use countersign::sessions::What;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

const POLICY: &str = r#"
@id("all") permit (principal, action, resource);
"#;

const SESSIONS: usize = 100;

fn world(fakes: &[&Fake], more: &str) -> World {
    let world = World::of("", POLICY);
    let urls: Vec<String> = fakes.iter().map(|fake| fake.url()).collect();
    let server = format!(
        "\n[servers.own]\nurls = {urls:?}\n{more}\n\n[servers.own.tools.remember]\naccess = \"read\"\n"
    );
    world.append("countersign.toml", &server);
    world
}

struct Desk {
    world: World,
    broker: Serving,
    keys: BTreeMap<&'static str, String>,
}

impl Desk {
    fn on(world: World) -> Self {
        let keys = ["alice", "mia"].map(|who| (who, world.key(who)));
        let broker = world.serve();
        Self {
            broker,
            world,
            keys: keys.into(),
        }
    }

    fn restarted(self) -> Self {
        Self {
            broker: self.world.restarted(self.broker),
            ..self
        }
    }

    fn talk(&self) -> Talk {
        self.talk_of("alice", &self.broker)
    }

    fn talk_of(&self, who: &str, broker: &Serving) -> Talk {
        Talk::new(broker.address()).with("authorization", &format!("Bearer {}", self.keys[who]))
    }

    /// Where the calls of each session go.
    fn places(&self) -> Vec<String> {
        let mut talk = self.talk();
        let sessions = 0..SESSIONS;
        sessions.map(|number| asks(&mut talk, number)).collect()
    }

    /// The moves of each session, as its history has them.
    fn moves(&self) -> Vec<Vec<String>> {
        let moves = |store: &countersign::store::Store| {
            store.read(|tx| {
                let all = sessions::list(tx, None)?;
                let mut moves = vec![Vec::new(); SESSIONS];
                for session in all {
                    let Some(number) = session.handles.first().and_then(|it| it.strip_prefix('s'))
                    else {
                        continue;
                    };
                    let moved = sessions::history(tx, session.id, 100)?.into_iter();
                    let moved = moved.filter(|change| change.what == What::Moved);
                    moves[number.parse::<usize>().unwrap()] =
                        moved.filter_map(|change| change.detail).collect();
                }
                Ok(moves)
            })
        };
        moves(&self.world.store()).unwrap()
    }
}

/// Calls in one session and returns what the server says.
fn asks(talk: &mut Talk, session: usize) -> String {
    let params = json!({
        "name": "own__remember",
        "arguments": {},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "own__remember"),
    ];
    let path = format!("/s/s{session}/mcp");
    let answer = talk.post_with(&path, &headers, &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    text_of(&answer.json())
}

#[test]
fn a_hundred_sessions_stay_where_they_are_and_those_of_a_dead_replica_move_once() {
    let mut fakes = ["a", "b", "c"].map(Fake::start);
    let [a, b, c] = &fakes;
    let desk = Desk::on(world(&[a, b, c], ""));
    let first = desk.places();
    for name in ["a", "b", "c"] {
        let there = first.iter().filter(|place| *place == name).count();
        assert!(there > SESSIONS / 6, "{first:?}");
    }
    let desk = desk.restarted();
    assert_eq!(desk.places(), first);
    assert!(desk.moves().iter().all(Vec::is_empty));

    fakes[1].kill();
    // Several calls of a session find it dead at one time.
    let at_once: Vec<Vec<String>> = std::thread::scope(|scope| {
        let each = [(); 3].map(|()| scope.spawn(|| desk.places()));
        each.map(|one| one.join().unwrap()).into()
    });
    let second = desk.places();
    assert!(
        at_once.iter().all(|places| *places == second),
        "{at_once:?}"
    );
    let (url, moves) = (fakes[1].url(), desk.moves());
    for session in 0..SESSIONS {
        let (before, after, moved) = (&first[session], &second[session], &moves[session]);
        match before.as_str() {
            "b" => {
                assert_ne!(after, "b");
                assert_eq!(moved.len(), 1, "{moved:?}");
                let begin = format!("own: from {url} to ");
                assert!(moved[0].starts_with(&begin), "{moved:?}");
                assert!(moved[0].ends_with(", because it is not there"), "{moved:?}");
            }
            _ => assert!(after == before && moved.is_empty(), "{after} {moved:?}"),
        }
    }

    // Nobody goes back to one that is there again, or leaves one that stays listed.
    fakes[1].revive();
    let desk = desk.restarted();
    assert_eq!(desk.places(), second);
    let gone = fakes[0].url();
    desk.world
        .edit("countersign.toml", &format!("{gone:?}, "), "");
    let desk = desk.restarted();
    let (third, moves) = (desk.places(), desk.moves());
    for session in 0..SESSIONS {
        match second[session].as_str() {
            "a" => {
                assert_ne!(third[session], "a");
                let last = moves[session].last().unwrap();
                assert!(
                    last.ends_with("because it is no longer among the `urls`"),
                    "{last}"
                );
            }
            stays => assert_eq!(third[session], stays),
        }
    }
    assert!(desk.world.journal_problems().is_empty());
}

#[test]
fn a_call_that_may_have_been_taken_in_is_not_sent_again_and_the_session_moves() {
    let fakes = ["a", "b"].map(Fake::start);
    let [a, b] = &fakes;
    let desk = Desk::on(world(&[a, b], ""));
    let mut talk = desk.talk();
    let place = asks(&mut talk, 0);
    let (on, other) = match place.as_str() {
        "a" => (a, b),
        _ => (b, a),
    };
    on.state().refuses = Some(503);
    let refused = asks(&mut talk, 0);
    assert!(
        refused.contains("unknown") || refused.contains("may have"),
        "{refused}"
    );
    assert_eq!(other.count("tools/call"), 0);
    let calls = |fake: &Fake| fake.count("tools/call");
    assert_eq!(calls(on), 2);
    assert_ne!(asks(&mut talk, 0), place);
    assert_eq!((calls(on), calls(other)), (2, 1));
    let moves = desk.moves();
    assert_eq!(moves[0].len(), 1, "{moves:?}");
    let outcomes: Vec<_> = desk
        .world
        .calls("s0")
        .iter()
        .map(|call| call.outcome.unwrap())
        .collect();
    let expected = [Outcome::Completed, Outcome::Unknown, Outcome::Completed];
    assert_eq!(outcomes, expected);
}

#[test]
fn two_brokers_on_one_store_agree_where_a_session_is() {
    let mut fakes = ["a", "b", "c"].map(Fake::start);
    let [a, b, c] = &fakes;
    let desk = Desk::on(world(&[a, b, c], ""));
    let other = desk.world.serve_beside();
    let places = |broker: &Serving| -> Vec<String> {
        let mut talk = desk.talk_of("alice", broker);
        (0..20).map(|number| asks(&mut talk, number)).collect()
    };
    let first = places(&desk.broker);
    assert_eq!(places(&other), first);
    fakes[2].kill();
    let (one, two) = std::thread::scope(|scope| {
        let both = [&desk.broker, &other].map(|broker| scope.spawn(|| places(broker)));
        let [one, two] = both.map(|broker| broker.join().unwrap());
        (one, two)
    });
    assert_eq!(one, two);
    for (session, moves) in desk.moves().iter().take(20).enumerate() {
        assert_eq!(moves.len(), usize::from(first[session] == "c"), "{moves:?}");
    }
}

#[test]
fn a_principal_has_one_replica_in_all_sessions_and_nobody_has_one_where_none_is_kept() {
    let fakes = ["a", "b", "c"].map(Fake::start);
    let [a, b, c] = &fakes;
    let desk = Desk::on(world(&[a, b, c], "affinity = \"principal\""));
    for who in ["alice", "mia"] {
        let mut talk = desk.talk_of(who, &desk.broker);
        let first = asks(&mut talk, 0);
        assert!((1..10).all(|session| asks(&mut talk, session) == first));
    }
    let (ours, theirs) = ("affinity = \"principal\"", "affinity = \"none\"");
    desk.world.edit("countersign.toml", ours, theirs);
    let desk = desk.restarted();
    let mut talk = desk.talk();
    let mut places: Vec<String> = (0..3).map(|_| asks(&mut talk, 0)).collect();
    places.sort();
    assert_eq!(places, ["a", "b", "c"]);
}

#[test]
fn a_replica_that_is_back_at_once_keeps_its_sessions() {
    let fakes = ["a", "b"].map(Fake::start);
    let [a, b] = &fakes;
    let desk = Desk::on(world(&[a, b], ""));
    let mut talk = desk.talk();
    let place = asks(&mut talk, 0);
    let on = match place.as_str() {
        "a" => a,
        _ => b,
    };
    // Its lists are read again in the new transport session, and the connection breaks.
    on.state().breaks = Some("tools/list");
    on.forget();
    assert_eq!(asks(&mut talk, 0), place);
    desk.world
        .wait_for_text("serve.log", "the server is not running");
    assert_eq!(asks(&mut talk, 0), place);
    assert!(desk.moves().iter().all(Vec::is_empty));
}

const RESUME: &str =
    "instance = \"per-session\"\nresume_tool = \"remember\"\nresume_argument = \"what\"";

/// Calls until a session is at another replica. Returns what that says.
fn moves(talk: &mut Talk, session: usize, to: &str) -> String {
    let begun = Instant::now();
    loop {
        let said = asks(talk, session);
        if said.starts_with(to) {
            return said;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody moves: {said}");
    }
}

/// What it keeps is from before the session was elsewhere.
#[test]
fn an_instance_that_a_session_comes_back_to_is_told_to_resume() {
    let mut fakes = ["a", "b"].map(Fake::start);
    let [a, b] = &fakes;
    let mut desk = Desk::on(world(&[a, b], RESUME));
    let mut on = usize::from(asks(&mut desk.talk(), 0) == "b");
    let mut told = [0, 0];
    for turn in 0..4 {
        fakes[on].leave();
        let other = 1 - on;
        let name = ["a", "b"][other];
        let said = moves(&mut desk.talk(), 0, name);
        told[other] += 1;
        let due = format!("{name} {}", vec!["s0"; told[other]].join(","));
        let shown = desk.world.run(&["session", "show", "s0"]).1;
        assert_eq!(said, due, "{turn}: {shown}");
        // Once for each stay.
        assert_eq!(asks(&mut desk.talk(), 0), due);
        fakes[on].revive();
        on = other;
        if turn == 1 {
            desk = desk.restarted();
            assert_eq!(asks(&mut desk.talk(), 0), due);
        }
    }
    assert!(desk.world.journal_problems().is_empty());
}

/// The instance there was told in a stay that is over, by a broker that is gone, and the
/// broker that moved the session never opened it.
#[test]
fn an_instance_is_told_to_resume_in_each_stay_whichever_broker_told_it_before() {
    let mut fakes = ["a", "b"].map(Fake::start);
    let [a, b] = &fakes;
    let desk = Desk::on(world(&[a, b], RESUME));
    let on = usize::from(asks(&mut desk.talk(), 0) == "b");
    let (here, there) = (["a", "b"][on], ["a", "b"][1 - on]);
    let desk = desk.restarted();
    fakes[on].leave();
    assert_eq!(moves(&mut desk.talk(), 0, there), format!("{there} s0"));
    fakes[on].revive();
    fakes[1 - on].leave();
    assert_eq!(moves(&mut desk.talk(), 0, here), format!("{here} s0"));
    let desk = desk.restarted();
    assert_eq!(asks(&mut desk.talk(), 0), format!("{here} s0"));
    assert!(desk.world.journal_problems().is_empty());
}

#[test]
fn nobody_is_told_to_resume_because_somebody_else_moved() {
    let mut fakes = ["a", "b"].map(Fake::start);
    let [a, b] = &fakes;
    let more = format!("affinity = \"principal\"\n{RESUME}");
    let desk = Desk::on(world(&[a, b], &more));
    let place = |who: &str| asks(&mut desk.talk_of(who, &desk.broker), 0);
    let (mias, on) = (place("mia"), usize::from(place("alice") == "b"));
    let there = ["a", "b"][1 - on];
    fakes[on].leave();
    moves(&mut desk.talk(), 0, there);
    fakes[on].revive();
    // She has not called meanwhile.
    let desk = desk.restarted();
    let said = asks(&mut desk.talk_of("mia", &desk.broker), 0);
    assert_eq!(said, mias);
    assert_eq!(asks(&mut desk.talk(), 0), format!("{there} s0"));
}
