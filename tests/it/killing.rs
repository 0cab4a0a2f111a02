//! The killing test: clients of both eras over stdio and HTTP pay, under limits, with
//! keys, with retries and at the same time, while brokers and tool servers are killed
//! at random and at the named points. Whatever was killed and whenever, no limit is
//! exceeded, no key is executed twice, nothing executed is without a record, every
//! record has an outcome, the chains hold, and each session goes on.
//!
//! `COUNTERSIGN_KILLS` says how many kills (200), `COUNTERSIGN_SEED` where the chance
//! begins. Timing is chance too, so a seed repeats the choices and not the run.

mod client;
mod found;
mod lifting;
mod victims;

use crate::crash::EACH_CALL;
use crate::crash::EACH_RECORD;
use crate::crash::broken_promises;
use crate::serving::Serving;
use crate::world::GET;
use crate::world::World;
use client::Client;
use client::Ended;
use countersign::outcome::Outcome;
use found::Found;
use lifting::LIFTED;
use lifting::Lifting;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use victims::victims;

/// How many kills there are before the promise is checked.
const ROUND: u32 = 50;
/// The same where a mutation is to be noticed.
const MUTATED_ROUND: u32 = 10;
/// How many kills there are in one store: looking at everything takes the longer the
/// more there is.
const WORLD: u32 = 250;
/// How many sessions' worth of payments each client makes between two sessions.
const EACH_SESSION: u32 = 6;
/// What one payment moves, in cents, before what tells it from all others.
const PAYMENT: i64 = 300_000;
/// The most that a session may be charged here, in cents: less than the limit of the
/// shipped policy, by a meter of the operator's.
const METERED: i64 = 1_500_000;
/// How often each point is hit in a run that is long enough.
const EACH_POINT: u32 = 20;
/// From so many kills on a run is long enough.
const LONG: u32 = 2_000;
/// How often a client asks again for what it does not know.
const TRIES: u32 = 40;
/// How long a client waits before it asks again.
const AGAIN: Duration = Duration::from_millis(25);
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The mutation that takes every key for a new one.
const FORGET_KEYS: &str = "forget-keys";
/// The mutation that closes no record.
const SKIP_CLOSE: &str = "skip-close";
/// The mutation that sends a call while its record is not committed.
const ACK_BEFORE_COMMIT: &str = "ack-before-commit";
/// A tool that is not there, whose call is recorded all the same.
const NOWHERE: &str = "claims__nowhere";

/// Points that only some calls pass, or one call of a process.
const OTHERS: [&str; 10] = [
    "store.close.before-commit",
    "store.close.after-commit",
    "store.refuse.before-commit",
    "store.refuse.after-commit",
    "store.enlist.before-commit",
    "store.enlist.after-commit",
    "store.recover.before-commit",
    "store.recover.after-commit",
    "store.retire.before-commit",
    "store.retire.after-commit",
];

/// The limit of a session, as a meter of the operator's.
const METER: &str = r#"
[[meters]]
name = "paid"
tools = ["claims/approve_payment"]
per = "session"
sum = "amount"
"#;

const METER_POLICY: &str = r#"
@id("killing.paid")
@message("Enough was paid in this session.")
forbid (
  principal,
  action == Broker::Action::"claims/approve_payment",
  resource
)
when { context.meters.paid > 1500000 };
"#;

/// A chance that a seed repeats (xorshift64*).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % end
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// What all clients of a round share.
struct Round<'a> {
    /// Each round has sessions of its own.
    number: u32,
    world: &'a World,
    address: &'a str,
    key: &'a str,
    /// Told when the clients shall come to an end.
    over: AtomicBool,
    killed: AtomicU32,
    /// How often a broker ended at each named point.
    points: &'a Mutex<BTreeMap<&'static str, u32>>,
    /// The number of the next payment.
    next: &'a AtomicU32,
    /// The payments that came to an end that the client knows, by their cents.
    ended: &'a Mutex<BTreeMap<i64, Ended>>,
    handles: &'a Mutex<Vec<String>>,
    lifting: &'a Lifting,
    mutation: Option<&'a str>,
}

impl Round<'_> {
    /// One client, until the round is over. `pair` says whose sessions it shares.
    fn works(&self, mut client: Client, pair: usize, mut chance: Chance) {
        let mut session = 0;
        while !self.over.load(Ordering::Relaxed) {
            let handle = format!("claim-{pair}-{}-{session}", self.number);
            self.handles.lock().unwrap().push(handle.clone());
            if self.mutation.is_none() {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let lifted = (&mut client, number);
                self.lifting.makes_one(self, lifted, &mut chance);
            }
            for turn in 0..EACH_SESSION {
                if self.over.load(Ordering::Relaxed) {
                    break;
                }
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let cents = PAYMENT + i64::from(number);
                let tool = if turn % 3 == 2 { NOWHERE } else { GET };
                let point = self.armed(&mut chance);
                client.looks(self, (&handle, tool), point);
                let ended = self.pays(&mut client, (&handle, cents), &mut chance);
                self.ended.lock().unwrap().insert(cents, ended);
            }
            session += 1;
        }
        client.ends();
    }

    /// Makes one payment under one key, again and again until its end is known.
    fn pays(
        &self,
        client: &mut Client,
        (handle, cents): (&str, i64),
        chance: &mut Chance,
    ) -> Ended {
        let key = format!("pay-{cents}");
        for _ in 0..TRIES {
            let point = self.armed(chance);
            let came = client.pays(self, (handle, cents, &key), point);
            match came {
                // The broker at the other end is being started again.
                Ended::Lost => std::thread::sleep(AGAIN),
                ended => return ended,
            }
        }
        Ended::Lost
    }

    fn armed(&self, chance: &mut Chance) -> Option<Point> {
        let always = self.mutation.is_some();
        (always || chance.below(4) > 0).then(|| self.point(chance))
    }

    /// A point at which the next broker of a client shall end: one of those that were
    /// hit least often so far, or any.
    fn point(&self, chance: &mut Chance) -> Point {
        let all = match self.mutation {
            // Where a key alone knows of a call: it ended, and nobody read that.
            Some(FORGET_KEYS) => vec!["store.close.after-commit", "reply.before-write"],
            // Where a client has its answer.
            Some(SKIP_CLOSE) => vec!["reply.after-write"],
            // Where a call was sent and its record may not be there yet.
            Some(ACK_BEFORE_COMMIT) => vec!["send.after-write", "answer.after-read"],
            _ => points(),
        };
        let hits = self.points.lock().unwrap();
        let times = |point: &&str| hits.get(point).copied().unwrap_or(0);
        let least = all.iter().map(times).min();
        let seldom = all.iter().filter(|point| Some(times(point)) == least);
        let seldom: Vec<&'static str> = seldom.copied().collect();
        let name = if chance.below(2) == 0 {
            seldom[chance.below(seldom.len())]
        } else {
            all[chance.below(all.len())]
        };
        let once = OTHERS.contains(&name) || name == "store.session.after-commit";
        let passage = if once { 1 } else { 1 + chance.below(3) };
        Point { name, passage }
    }

    fn died_at(&self, point: Point) {
        self.killed.fetch_add(1, Ordering::Relaxed);
        *self.points.lock().unwrap().entry(point.name).or_default() += 1;
    }
}

/// A named point, and at which passage of it a process ends.
#[derive(Clone, Copy)]
struct Point {
    name: &'static str,
    passage: usize,
}

fn points() -> Vec<&'static str> {
    let all = EACH_CALL.into_iter().chain(EACH_RECORD).chain(OTHERS);
    all.collect()
}

/// Tells the clients of a round to come to an end when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills until so many are dead, and returns the broker that serves HTTP.
fn kills(round: &Round<'_>, mut serving: Serving, most: u32, chance: &mut Chance) -> Serving {
    let folder = round.world.path("");
    let folder = folder.canonicalize().unwrap();
    let begun = Instant::now();
    while round.killed.load(Ordering::Relaxed) < most {
        assert!(begun.elapsed() < PATIENCE, "too few were killed");
        let pause = 10 + chance.below(90);
        std::thread::sleep(Duration::from_millis(u64::try_from(pause).unwrap()));
        // What dies elsewhere keeps it from the points where a mutation does harm.
        if round.mutation.is_some() {
            continue;
        }
        if chance.below(4) == 0 {
            serving = round.world.restarted(serving);
            round.killed.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let victims = victims(&folder);
        if victims.is_empty() {
            continue;
        }
        let victim = victims[chance.below(victims.len())];
        let killed = rustix::process::kill_process(victim, rustix::process::Signal::KILL);
        round
            .killed
            .fetch_add(u32::from(killed.is_ok()), Ordering::Relaxed);
    }
    serving
}

/// Kills so often, or until what is broken is what is looked for.
fn run(
    kills_wanted: u32,
    seed: u64,
    mutation: Option<&str>,
    looked_for: fn(&String) -> bool,
) -> Found {
    let world = World::new();
    world.append("countersign.toml", METER);
    world.write("policies/killing.cedar", METER_POLICY);
    let key = world.key("alice");
    let mut chance = Chance(seed | 1);
    let (points, ended, handles) = (Mutex::default(), Mutex::default(), Mutex::default());
    let next = AtomicU32::new(1);
    let lifting = Lifting::new(&world);
    let mut found = Found::default();
    let mut serving = world.serve();
    let address = serving.address().to_owned();
    while found.kills < kills_wanted && !found.broken.iter().any(looked_for) {
        let most = mutation.map_or(ROUND, |_| MUTATED_ROUND);
        let most = most.min(kills_wanted - found.kills);
        let round = Round {
            number: found.kills,
            world: &world,
            address: &address,
            key: &key,
            over: AtomicBool::new(false),
            killed: AtomicU32::new(0),
            points: &points,
            next: &next,
            ended: &ended,
            handles: &handles,
            lifting: &lifting,
            mutation,
        };
        serving = std::thread::scope(|scope| {
            for (place, client) in Client::all().into_iter().enumerate() {
                let chance = Chance((seed ^ (u64::from(found.kills) << 8) ^ place as u64) | 1);
                // Alone in their sessions, clients whose brokers die come to pay: others
                // would use up the limits first.
                let pair = if mutation.is_some() { place } else { place % 2 };
                let round = &round;
                scope.spawn(move || round.works(client, pair, chance));
            }
            // Also where this fails: the clients must come to their end.
            let _over = Over(&round.over);
            kills(&round, serving, most, &mut chance)
        });
        found.kills += round.killed.load(Ordering::Relaxed);
        judge((&world, &lifting), (&handles, &ended), &mut found);
    }
    drop(serving);
    found.points = points.into_inner().unwrap();
    found
}

/// Starts one more broker, which recovers what the dead left, and looks at everything.
fn judge(
    (world, lifting): (&World, &Lifting),
    (handles, ended): (&Mutex<Vec<String>>, &Mutex<BTreeMap<i64, Ended>>),
    found: &mut Found,
) {
    let mut handles = handles.lock().unwrap().clone();
    handles.sort();
    handles.dedup();
    let sessions = handles.len();
    handles.extend(lifting.handles());
    let mut last = world.broker().initialized();
    handles.retain(|handle| {
        let call = json!({"name": GET, "arguments": {"claim_id": "1"},
            "_meta": {"dev.countersign/session": handle}});
        let answer = last.ask("tools/call", call);
        if answer["result"]["isError"] == true {
            found
                .broken
                .push(format!("{handle} does not go on: {answer}"));
        }
        true
    });
    world.wait_until_all_closed();
    found
        .broken
        .extend(broken_promises(world, &handles, METERED));
    assert!(last.end());
    let mut executed: BTreeMap<i64, u32> = BTreeMap::new();
    for cents in world.paid() {
        *executed.entry(cents).or_default() += 1;
    }
    for (cents, times) in executed.iter().filter(|(_, times)| **times > 1) {
        found
            .broken
            .push(format!("the key of {cents} was executed {times} times"));
    }
    let completed = completed(world, &handles);
    let ended = ended.lock().unwrap();
    for (cents, how) in ended.iter() {
        if *how == Ended::Paid && !completed.contains(cents) {
            found.broken.push(format!(
                "{cents} was answered and is not recorded as completed"
            ));
        }
        let is_executed = executed.contains_key(cents);
        match how {
            Ended::Paid if !is_executed => {
                found
                    .broken
                    .push(format!("{cents} was answered and not executed"));
            }
            Ended::Refused if is_executed => {
                found
                    .broken
                    .push(format!("{cents} was refused and executed"));
            }
            Ended::Paid | Ended::Refused | Ended::Unknown | Ended::Lost => {}
        }
    }
    found.ends.clear();
    for how in ended.values() {
        *found.ends.entry(*how).or_default() += 1;
    }
    lifting.judge(world, found);
    let plain = executed.keys().filter(|cents| **cents < LIFTED);
    found.executed = plain.count();
    // Of what was asked in a session, as much as its limit has room for.
    let room = usize::try_from(METERED / (PAYMENT + 100_000)).unwrap();
    let asked = ended.len() / sessions.max(1);
    found.admissible = sessions * asked.min(room);
}

/// The payments whose records say that they were completed, by their cents.
fn completed(world: &World, handles: &[String]) -> BTreeSet<i64> {
    let calls = handles.iter().flat_map(|handle| world.calls(handle));
    calls
        .filter(|call| call.outcome == Some(Outcome::Completed))
        .filter_map(|call| call.detail["charged"]["claims/approve_payment#amount"].as_i64())
        .collect()
}

#[test]
#[ignore = "minutes: kills brokers and servers at random"]
fn whatever_is_killed_and_whenever_the_promise_holds() {
    let kills = u32::try_from(number("COUNTERSIGN_KILLS", 200)).unwrap();
    let seed = number("COUNTERSIGN_SEED", 20_261_127);
    let mut found = Found::default();
    while found.kills < kills && found.broken.is_empty() {
        let here = WORLD.min(kills - found.kills);
        found.join(run(here, seed ^ u64::from(found.kills), None, |_any| true));
    }
    let told = format!("seed {seed}: {found}");
    std::fs::write(
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("killing.txt"),
        &told,
    )
    .unwrap();
    assert!(
        found.broken.is_empty(),
        "{told}\n{}",
        found.broken.join("\n")
    );
    assert!(
        found.executed * 2 >= found.admissible,
        "too little was done: {told}"
    );
    assert!(found.ends.contains_key(&Ended::Paid), "{told}");
    assert!(found.lifted > 0, "nothing was approved: {told}");
    if kills >= LONG && cfg!(feature = "crash-points") {
        for point in points() {
            let hits = found.points.get(point).copied().unwrap_or(0);
            assert!(hits >= EACH_POINT, "{point} was hit {hits} times: {told}");
        }
    }
}

#[test]
#[ignore = "minutes: kills brokers and servers at random"]
#[cfg(feature = "crash-points")]
fn a_broker_that_forgets_keys_would_be_noticed() {
    let noticed = |line: &String| line.starts_with("the key of ");
    let found = run(200, 7, Some(FORGET_KEYS), noticed);
    assert!(found.broken.iter().any(noticed), "{:?}", found.broken);
}

#[test]
#[ignore = "minutes: kills brokers and servers at random"]
#[cfg(feature = "crash-points")]
fn a_broker_that_does_not_close_its_records_would_be_noticed() {
    let noticed = |line: &String| line.contains("is not recorded as completed");
    let found = run(200, 11, Some(SKIP_CLOSE), noticed);
    assert!(found.broken.iter().any(noticed), "{:?}", found.broken);
}

#[test]
#[ignore = "minutes: kills brokers and servers at random"]
#[cfg(feature = "crash-points")]
fn a_broker_that_sends_before_it_commits_would_be_noticed() {
    let noticed = |line: &String| line.contains("and recorded");
    let found = run(200, 13, Some(ACK_BEFORE_COMMIT), noticed);
    assert!(found.broken.iter().any(noticed), "{:?}", found.broken);
}
