//! The journal for outsiders: checkpoints, exports, and what verifying them shows.

use crate::world::APPROVE;
use crate::world::GET;
use crate::world::World;
use crate::world::payment;
use crate::world::text_of;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

/// Two brokers ran one after the other; the calls of the first were in the session
/// of the configuration, those of the second in another.
fn after_two_sessions() -> World {
    let world = World::new();
    world.edit("countersign.toml", "# checkpoints =", "checkpoints =");
    for session in ["claim-99", "claim-7"] {
        let mut broker = world
            .broker_with(|command| {
                command.args(["--session", session]);
            })
            .initialized();
        for claim in ["98", "99"] {
            broker.call(GET, json!({"claim_id": claim}));
        }
        broker.call("claims__nowhere", json!({"secret": session}));
        assert!(broker.end());
    }
    world
}

/// What verifying an export prints, without store and configuration.
fn verify(world: &World, export: &str, more: &[&str]) -> (bool, String) {
    let export = world.path(export);
    let args = ["journal", "verify", "--export", export.to_str().unwrap()];
    let mut command = world.command(&[&args[..], more].concat());
    let nowhere = tempfile::tempdir().unwrap();
    command.env("COUNTERSIGN_CONFIG", nowhere.path().join("none"));
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text + &errors)
}

fn export(world: &World, name: &str, more: &[&str]) -> Vec<Value> {
    let out = world.path(name);
    let args = ["journal", "export", "--out", out.to_str().unwrap()];
    let (made, printed) = world.run(&[&args[..], more].concat());
    assert!(made, "{printed}");
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let lines = world.read(name);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn key(world: &World) -> String {
    let (_, key) = world.run(&["journal", "key"]);
    key.trim().to_owned()
}

#[test]
fn an_export_is_verified_without_the_store() {
    let world = after_two_sessions();
    let lines = export(&world, "all.jsonl", &[]);
    let of = |line: &str| lines.iter().filter(|one| one["line"] == line).count();
    assert_eq!((of("record"), of("hidden"), of("checkpoint")), (10, 0, 2));
    assert_eq!(of("payload"), 4, "what is unknown is kept as digests");
    let key = key(&world);
    let (holds, printed) = verify(&world, "all.jsonl", &["--key", &key]);
    assert!(holds, "{printed}");
    assert!(
        printed.contains("10 of them lie under 2 checkpoints"),
        "{printed}"
    );
    assert!(printed.contains("Not shown:"), "{printed}");
    // Without the key it says whose word that is.
    let (holds, printed) = verify(&world, "all.jsonl", &[]);
    assert!(
        holds && printed.contains("named by the journal itself"),
        "{printed}"
    );
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(holds, "{printed}");
    assert!(printed.contains(&format!("key {key}\n")), "{printed}");
}

#[test]
fn an_export_of_one_session_shows_others_as_digests_and_is_verified_too() {
    let world = after_two_sessions();
    let lines = export(&world, "one.jsonl", &["--session", "claim-99"]);
    let named = lines.iter().filter_map(|line| line["session"].as_str());
    let named: std::collections::BTreeSet<&str> = named.collect();
    assert_eq!(named.len(), 1, "{named:?}");
    let shown = lines.iter().filter(|line| line["line"] == "record");
    assert_eq!(shown.count(), 5);
    let (holds, printed) = verify(&world, "one.jsonl", &["--key", &key(&world)]);
    assert!(holds, "{printed}");
    // Both sessions in one chain: those of the other stand between.
    let mut broker = world.broker().initialized();
    for session in ["claim-99", "claim-7", "claim-99"] {
        let meta = json!({"dev.countersign/session": session});
        let arguments = json!({"claim_id": "97"});
        let params = json!({"name": GET, "arguments": arguments, "_meta": meta});
        broker.ask("tools/call", params);
    }
    assert!(broker.end());
    let lines = export(&world, "two.jsonl", &["--session", "claim-99"]);
    let of = |line: &str| lines.iter().filter(|one| one["line"] == line).count();
    assert_eq!((of("record"), of("hidden")), (9, 2));
    let (holds, printed) = verify(&world, "two.jsonl", &["--key", &key(&world)]);
    assert!(holds, "{printed}");
    assert!(
        printed.contains("Of 2 records only the digest is there"),
        "{printed}"
    );
}

#[test]
fn whatever_is_changed_in_an_export_is_found() {
    let world = after_two_sessions();
    export(&world, "all.jsonl", &[]);
    export(&world, "one.jsonl", &["--session", "claim-99"]);
    let key = key(&world);
    let changes: [(&str, &str, &str); 6] = [
        (
            "\"principal\":\"alice\"",
            "\"principal\":\"mia\"",
            "was altered",
        ),
        (
            "\\\"claim_id\\\":\\\"98\\\"",
            "\\\"claim_id\\\":\\\"97\\\"",
            "kept arguments",
        ),
        ("number 1\\n", "number 7\\n", "checkpoint at place 1"),
        (
            "\"outcome\":\"completed\"",
            "\"outcome\":\"denied\"",
            "was altered",
        ),
        (
            "{\"line\":\"end\"",
            "{\"line\":\"checkpoint\"",
            "is no line of an export",
        ),
        (
            "\"line\":\"payload\",",
            "\"line\":\"payload\",\"part\":\"result\",",
            "is no line of an export",
        ),
    ];
    for name in ["all.jsonl", "one.jsonl"] {
        let whole = world.read(name);
        for (old, new, says) in changes {
            assert!(whole.contains(old), "{name} has no {old}");
            world.write("changed.jsonl", &whole.replacen(old, new, 1));
            let (holds, printed) = verify(&world, "changed.jsonl", &["--key", &key]);
            assert!(!holds && printed.contains(says), "{old}: {printed}");
        }
        // Each line that is taken out, but for payloads, which may be trimmed.
        let lines: Vec<&str> = whole.lines().collect();
        for (place, line) in lines.iter().enumerate() {
            let mut others = lines.clone();
            others.remove(place);
            world.write("changed.jsonl", &others.join("\n"));
            let (holds, printed) = verify(&world, "changed.jsonl", &["--key", &key]);
            assert_eq!(
                holds,
                line.contains("\"line\":\"payload\""),
                "{line}: {printed}"
            );
            let is_end = line.contains("\"line\":\"end\"");
            assert_eq!(printed.contains("its end is missing"), is_end, "{printed}");
            let is = |place: usize, kind: &str| {
                let kind = format!("\"line\":\"{kind}\"");
                lines.get(place).is_some_and(|line| line.contains(&kind))
            };
            if is(place, "record") && !is(place + 1, "payload") {
                let told = "the export is not as it was written: its last line counts";
                assert!(printed.contains(told), "{printed}");
            }
        }
    }
}

#[test]
fn a_journal_written_anew_is_found_by_a_checkpoint_that_is_held() {
    let world = after_two_sessions();
    let held = world.path("held.jsonl");
    let held = held.to_str().unwrap();
    assert_eq!(world.read("held.jsonl").lines().count(), 2);
    let (holds, printed) = world.run(&["journal", "verify", "--checkpoint", held]);
    assert!(holds, "{printed}");
    // The end is cut off, checkpoint and all, as whoever can write the file may do.
    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    let cut = "DROP TRIGGER journal_no_delete;
        DELETE FROM journal WHERE writer = 2; DELETE FROM payload;
        DELETE FROM checkpoint WHERE number = 2; DELETE FROM checkpoint_head WHERE checkpoint = 2;";
    database.execute_batch(cut).unwrap();
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(holds, "{printed}");
    let (holds, printed) = world.run(&["journal", "verify", "--checkpoint", held]);
    assert!(!holds, "{printed}");
    assert!(
        printed.contains("checkpoint 2 that was given away is not here"),
        "{printed}"
    );
    // Without the checkpoint too it is seen that the records are gone.
    database
        .execute_batch("DELETE FROM journal WHERE seq > 2")
        .unwrap();
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(!holds && printed.contains("are gone"), "{printed}");
}

#[test]
fn a_last_line_that_a_crash_cut_off_is_told_and_the_others_are_compared() {
    let world = after_two_sessions();
    let held = world.path("held.jsonl");
    let held = held.to_str().unwrap();
    let whole = world.read("held.jsonl");
    let lines: Vec<&str> = whole.lines().collect();
    let (cut, _end) = whole.split_at(whole.len() - 10);
    world.write("held.jsonl", cut);
    let verify = ["journal", "verify", "--checkpoint", held];
    let (holds, printed) = world.run(&verify);
    let told =
        format!("note the last line of `{held}`, 2, is cut off, as a crash leaves it; ignored");
    assert!(holds && printed.contains(&told), "{printed}");
    let (_, printed) = world.run(&[&verify[..], &["--json"]].concat());
    let found: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(found["notes"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["problems"], json!([]));

    // The next one begins on a line of its own.
    let mut broker = world.broker().initialized();
    broker.call(GET, json!({"claim_id": "98"}));
    assert!(broker.end());
    let more = world.read("held.jsonl");
    let third = more.strip_prefix(cut).unwrap();
    assert!(third.starts_with("\n{\"line\":\"checkpoint\""), "{more}");
    let (holds, printed) = world.run(&verify);
    let problem = format!("PROBLEM line 2 of `{held}` is no checkpoint; the others were compared");
    assert!(!holds && printed.contains(&problem), "{printed}");
    assert_eq!(printed.matches("PROBLEM").count(), 1, "{printed}");
    // They were: one of another journal is found beside it.
    let other = lines[0].replacen("number 1", "number 7", 1);
    world.write("held.jsonl", &format!("{more}{other}\n"));
    let (holds, printed) = world.run(&verify);
    assert!(!holds && printed.contains(&problem), "{printed}");
    assert_eq!(printed.matches("PROBLEM").count(), 2, "{printed}");
}

#[test]
fn what_is_no_file_takes_no_checkpoints_and_keeps_a_broker_from_starting() {
    let world = World::new();
    world.edit("countersign.toml", "# checkpoints =", "checkpoints =");
    let made = std::process::Command::new("mkfifo")
        .arg(world.path("held.jsonl"))
        .status();
    assert!(made.unwrap().success());
    for what in ["a pipe", "a folder"] {
        let told = format!("held.jsonl` is {what}: name a file that checkpoints can be appended");
        for args in [["stdio"], ["check"]] {
            let (taken, printed) = world.run(&args);
            assert!(!taken && printed.contains(&told), "{printed}");
            assert!(printed.contains("`journal.checkpoints`"), "{printed}");
        }
        if what == "a pipe" {
            std::fs::remove_file(world.path("held.jsonl")).unwrap();
            std::fs::create_dir(world.path("held.jsonl")).unwrap();
        }
    }
    std::fs::remove_dir(world.path("held.jsonl")).unwrap();
    let (taken, printed) = world.run(&["check"]);
    assert!(taken, "{printed}");
    assert!(!world.path("held.jsonl").exists());
}

#[test]
fn checkpoints_of_another_key_are_found() {
    let world = after_two_sessions();
    let first = key(&world);
    std::fs::remove_file(world.path("countersign.db-key")).unwrap();
    let mut broker = world.broker().initialized();
    broker.call(GET, json!({"claim_id": "98"}));
    assert!(broker.end());
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(
        !holds && printed.contains("signed with another key"),
        "{printed}"
    );
    let (holds, printed) = world.run(&["journal", "verify", "--key", &first]);
    assert!(holds, "{printed}");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let world = after_two_sessions();
    let path = world.path("countersign.db-key");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (started, printed) = world.run(&["stdio"]);
    assert!(
        !started && printed.contains("others can read the key"),
        "{printed}"
    );
}

#[test]
fn what_is_redacted_is_sent_and_answered_whole_and_kept_nowhere_in_the_journal() {
    let world = World::new();
    world.edit(
        "countersign.toml",
        "keep = \"arguments\"",
        "keep = \"everything\"",
    );
    let get = "[servers.claims.tools.get_claim]\n";
    let redact = format!(
        "{get}redact_arguments = [\"/claim_id\"]\nredact_results = [\"/content\", \"/structuredContent\"]\n"
    );
    world.edit("countersign.toml", get, &redact);
    let approve = "[servers.claims.tools.approve_payment]\n";
    let digest = format!("{approve}keep_arguments = \"digest\"\nkeep_results = \"digest\"\n");
    world.edit("countersign.toml", approve, &digest);
    let mut broker = world.broker().initialized();
    let key = json!({"dev.countersign/idempotency-key": "k"});
    let params = json!({"name": GET, "arguments": {"claim_id": "99"}, "_meta": key});
    for _ in 0..2 {
        let answer = text_of(&broker.ask("tools/call", params.clone()));
        assert!(answer.starts_with("Claim 99"), "{answer}");
    }
    broker.call(APPROVE, payment(50));
    broker.call(APPROVE, payment(50_000));
    assert!(broker.end());

    let database = rusqlite::Connection::open(world.path("countersign.db")).unwrap();
    let kept = "SELECT group_concat(body, ' ') FROM payload";
    let kept: String = database.query_row(kept, [], |row| row.get(0)).unwrap();
    assert!(kept.contains("{\"claim_id\":\"[redacted]\"}"), "{kept}");
    assert!(!kept.contains("99") && !kept.contains("payee"), "{kept}");
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(holds, "{printed}");
    export(&world, "all.jsonl", &[]);
    let (holds, printed) = verify(&world, "all.jsonl", &[]);
    assert!(holds, "{printed}");

    let edited = "UPDATE payload SET body = replace(body, '[redacted]', '98')";
    assert!(database.execute(edited, []).unwrap() > 0);
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(
        !holds && printed.contains("arguments are not those recorded"),
        "{printed}"
    );
}

/// Numbers of writers that are missing are no records that are.
#[test]
fn a_broker_that_recorded_nothing_is_told_as_that() {
    let world = World::new();
    for calls in [1, 0, 2] {
        let mut broker = world.broker().initialized();
        for _call in 0..calls {
            broker.call(GET, json!({"claim_id": "99"}));
        }
        assert!(broker.end());
    }
    let (holds, printed) = world.run(&["journal", "verify"]);
    assert!(holds, "{printed}");
    let told = "writer 3: 4 records, the last ";
    let silent = "no records of writer 2: a process gets its number when it opens the store, and may record nothing";
    assert!(
        printed.starts_with("writer 1: 2 records, the last "),
        "{printed}"
    );
    assert!(
        printed.contains(told) && printed.contains(silent),
        "{printed}"
    );
}
