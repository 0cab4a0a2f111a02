//! Golden transcripts: what a client sends, what its server must receive, what that
//! server answers and what the client must receive, byte for byte, between clients
//! and servers of both eras and over both transports. The table is
//! `fixtures/wire`, where `README.md` says how it is read.

mod client;
mod eras;
mod matching;
mod schema;
mod server;
mod table;

use crate::world::World;
use client::Client;
use matching::Captured;
use server::Server;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;
use table::Case;
use table::Speaker;
use table::Table;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/wire");

const POLICY: &str = r#"
@id("all")
permit (principal, action in Broker::Action::"server:own", resource);
@id("sessions")
permit (principal, action == Broker::Action::"session/open", resource);
"#;

/// How long a message may be waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one end is listened to before the other one is.
const GLANCE: Duration = Duration::from_millis(200);

/// Which revision one end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    /// 2025-11-25.
    Old,
    /// 2026-07-28.
    New,
}

/// How one end is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Stdio,
    /// Streamable HTTP; of 2025-11-25 with a stream for what nobody asked for.
    Http,
    /// The pair of 2024-11-05: a stream, and requests beside it.
    Pair,
}

/// Who speaks what, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pairing {
    client: (Era, Over),
    server: (Era, Over),
}

impl Pairing {
    /// Whether this word of a transcript is true here.
    fn is(self, word: &str) -> bool {
        match word {
            "old-client" => self.client.0 == Era::Old,
            "new-client" => self.client.0 == Era::New,
            "old-server" => self.server.0 == Era::Old,
            "new-server" => self.server.0 == Era::New,
            "client-stdio" => self.client.1 == Over::Stdio,
            "client-http" => self.client.1 == Over::Http,
            "server-stdio" => self.server.1 == Over::Stdio,
            "server-http" => self.server.1 == Over::Http,
            _ => panic!("`{word}` says nothing of clients and servers"),
        }
    }
}

/// One broker between a client and a server that play their parts.
struct Stage {
    _world: World,
    client: Client,
    server: Server,
    /// How many ids the client has used. The specification lets it use each once.
    ids: u64,
}

impl Stage {
    fn set(table: &Table, pairing: Pairing) -> Self {
        let server = Server::start(table, pairing);
        let world = World::of(&server.section(), POLICY);
        // It denies what it cannot check, and here that is what is looked at.
        std::fs::remove_file(world.path("policies/global.cedar")).unwrap();
        let client = Client::start(&world, table, pairing);
        Self {
            _world: world,
            client,
            server,
            ids: 0,
        }
    }

    /// Plays one case. An error is what was heard instead.
    fn play(&mut self, case: &Case, table: &Table, pairing: Pairing) -> Result<(), String> {
        let mut captured = Captured::default();
        for step in &case.steps {
            let text = table.written(step, pairing);
            match step.speaker {
                Speaker::ClientSays => {
                    self.ids += 1;
                    captured.asks(&text, self.ids);
                    self.client.say(&captured.filled(&text));
                }
                Speaker::ServerSays => self.server.say(&captured.filled(&text)),
                Speaker::ServerHears | Speaker::ClientHears => {
                    let who = step.speaker.as_str();
                    self.heard(step.speaker)
                        .and_then(|heard| captured.take(&text, &heard))
                        .map_err(|why| format!("{who} {text}\n{why}"))?;
                }
            }
        }
        Ok(())
    }

    /// What one end hears next. An error is what the other end hears meanwhile,
    /// though it is not its turn.
    fn heard(&mut self, who: Speaker) -> Result<String, String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let (heard, other) = match who {
                Speaker::ServerHears => (self.server.hear(GLANCE), self.client.overheard()),
                _ => (self.client.hear(GLANCE), self.server.overheard()),
            };
            match (heard, other) {
                (Some(heard), _) => return Ok(heard),
                (None, Some(other)) => return Err(format!("    the other end hears {other}")),
                (None, None) => {}
            }
        }
        Err("    nothing is heard".to_owned())
    }
}

/// Plays every case that fits between such a client and such a server.
fn all_between(client: Era, server: Era) {
    let mut differences: Vec<String> = Vec::new();
    for table in Table::all(Path::new(FOLDER)) {
        for (client_over, server_over) in [
            (Over::Stdio, Over::Stdio),
            (Over::Http, Over::Http),
            (Over::Stdio, Over::Http),
            (Over::Http, Over::Stdio),
            (Over::Pair, Over::Pair),
            (Over::Pair, Over::Http),
            (Over::Http, Over::Pair),
        ] {
            // The pair is of the older era only.
            if [(client, client_over), (server, server_over)].contains(&(Era::New, Over::Pair)) {
                continue;
            }
            let pairing = Pairing {
                client: (client, client_over),
                server: (server, server_over),
            };
            let fitting = |case: &&Case| case.only.iter().all(|word| pairing.is(word));
            let mut cases = table.cases.iter().filter(fitting).peekable();
            if cases.peek().is_none() {
                continue;
            }
            let mut stage = Stage::set(&table, pairing);
            for case in cases {
                if let Err(difference) = stage.play(case, &table, pairing) {
                    let place = format!("{}: {}", table.file, case.name);
                    // Once is enough where it differs with every transport.
                    if !differences.iter().any(|known| known.starts_with(&place)) {
                        differences.push(format!("{place}\n  {pairing:?}\n  {difference}"));
                    }
                    // What is still on its way would be taken for the next case's.
                    stage = Stage::set(&table, pairing);
                }
            }
        }
    }
    let count = differences.len();
    assert!(
        differences.is_empty(),
        "{count}:\n{}",
        differences.join("\n\n")
    );
}

#[test]
fn between_a_client_and_a_server_of_2026_07_28() {
    all_between(Era::New, Era::New);
}

#[test]
fn between_a_client_of_2026_07_28_and_a_server_of_2025_11_25() {
    all_between(Era::New, Era::Old);
}

#[test]
fn between_a_client_of_2025_11_25_and_a_server_of_2026_07_28() {
    all_between(Era::Old, Era::New);
}

#[test]
fn between_a_client_and_a_server_of_2025_11_25() {
    all_between(Era::Old, Era::Old);
}

/// What changes is named by a rule, each rule has a case, and what has no rule
/// arrives as it was sent.
#[test]
fn nothing_changes_without_a_rule() {
    let rules = table::rules(Path::new(FOLDER));
    let mut named = BTreeSet::new();
    for table in Table::all(Path::new(FOLDER)) {
        for case in &table.cases {
            let place = format!("{}: {}", table.file, case.name);
            let unknown = case.rules.iter().find(|rule| !rules.contains(*rule));
            assert_eq!(unknown, None, "{place}");
            named.extend(case.rules.iter().cloned());
            if case.rules.is_empty() {
                assert_eq!(table.changes(case), Vec::<String>::new(), "{place}");
            }
        }
    }
    let without_case: Vec<&String> = rules.difference(&named).collect();
    assert!(without_case.is_empty(), "{without_case:?}");
}
