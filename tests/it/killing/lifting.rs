//! Payments that somebody must approve, among the others: each is asked for, approved
//! over HTTP and made again under its key, whatever is killed meanwhile.

use super::AGAIN;
use super::Chance;
use super::Found;
use super::Point;
use super::Round;
use super::TRIES;
use super::client::Client;
use super::client::Ended;
use super::client::send;
use crate::world::World;
use countersign::escalations;
use countersign::escalations::State;
use countersign::journal::CallView;
use countersign::outcome::Outcome;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// More than alice may pay at once, in cents, before what tells it from all others.
pub(super) const LIFTED: i64 = 1_100_000;

/// Points that only such payments pass.
const POINTS: [&str; 3] = [
    "escalation.asked",
    "escalation.tried-again",
    "escalation.used",
];

/// What is known of such payments.
pub(super) struct Lifting {
    /// Of whoever approves.
    key: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How each came to its end, by its cents.
    ended: BTreeMap<i64, Ended>,
    /// Those of which mia read that they are approved.
    approved: BTreeSet<String>,
}

impl Lifting {
    pub(super) fn new(world: &World) -> Self {
        Self {
            key: world.key("mia"),
            known: Mutex::default(),
        }
    }

    /// Makes one of them, in a session of its own, until its end is known.
    pub(super) fn makes_one(
        &self,
        round: &Round<'_>,
        (client, number): (&mut Client, u32),
        chance: &mut Chance,
    ) {
        let cents = LIFTED + i64::from(number);
        let (handle, key) = (handle(cents), format!("lift-{cents}"));
        let mut ended = Ended::Lost;
        for _ in 0..TRIES {
            let name = POINTS[chance.below(POINTS.len())];
            let passage = 1;
            let point = match chance.below(3) {
                0 => Some(Point { name, passage }),
                _ => round.armed(chance),
            };
            let asked = client.pays_or_asks(round, (&handle, cents, &key), point);
            match asked {
                Ok(Ended::Lost) => std::thread::sleep(AGAIN),
                Ok(came) => {
                    ended = came;
                    break;
                }
                Err(id) => self.approves(round, id),
            }
        }
        self.known.lock().unwrap().ended.insert(cents, ended);
    }

    /// Mia's word, if it gets through.
    fn approves(&self, round: &Round<'_>, id: String) {
        let path = format!("/api/escalations/{id}/approve");
        let answer = send(round.address, (&path, &self.key), &[], "{}");
        if answer.is_some_and(|(head, body)| {
            head.starts_with("http/1.1 200") && body.contains("\"approved\"")
        }) {
            self.known.lock().unwrap().approved.insert(id);
        }
    }

    /// Their sessions.
    pub(super) fn handles(&self) -> Vec<String> {
        let known = self.known.lock().unwrap();
        known.ended.keys().map(|cents| handle(*cents)).collect()
    }

    /// Looks at every approval, and at what became of it.
    pub(super) fn judge(&self, world: &World, found: &mut Found) {
        let known = self.known.lock().unwrap();
        let calls: Vec<CallView> = known
            .ended
            .keys()
            .flat_map(|cents| world.calls(&handle(*cents)))
            .collect();
        let mut with: BTreeMap<String, Vec<&CallView>> = BTreeMap::new();
        for call in &calls {
            if let Some(id) = call.detail["approval"]["escalation"].as_str() {
                with.entry(id.to_owned()).or_default().push(call);
            }
        }
        let all = world
            .store()
            .read(|tx| escalations::list(tx, &escalations::Filter::default()))
            .unwrap();
        for one in &all {
            let id = one.id.to_string();
            let made = with.remove(&id).unwrap_or_default();
            // An approval whose call provably was not sent is given back, and used again.
            let was_sent = |call: &&CallView| call.outcome != Some(Outcome::FailedBeforeSending);
            let sent: Vec<&CallView> = made.iter().copied().filter(was_sent).collect();
            let fits = match (one.state, &sent[..]) {
                (State::Used, [call]) => one.used_by == Some(call.call),
                (State::Used, _) => false,
                (_, sent) => sent.is_empty(),
            };
            if !fits {
                let calls: Vec<_> = made.iter().map(|call| (call.call, call.outcome)).collect();
                let (state, by) = (one.state, one.used_by);
                found.broken.push(format!(
                    "{id} is {state:?} by {by:?}, and was recorded with {calls:?}"
                ));
            }
            if known.approved.contains(&id) && !matches!(one.state, State::Approved | State::Used) {
                found
                    .broken
                    .push(format!("{id} was approved and is {:?}", one.state));
            }
        }
        let there: BTreeSet<String> = all.iter().map(|one| one.id.to_string()).collect();
        for lost in known.approved.difference(&there) {
            found
                .broken
                .push(format!("{lost} was approved and is gone"));
        }
        for id in with.keys() {
            found
                .broken
                .push(format!("a call was sent with {id}, which is not there"));
        }
        let paid = world.paid();
        for (cents, how) in &known.ended {
            let times = paid.iter().filter(|paid| *paid == cents).count();
            let fits = match how {
                Ended::Paid => times == 1,
                Ended::Refused => times == 0,
                Ended::Unknown | Ended::Lost => times <= 1,
            };
            if !fits {
                found.broken.push(format!(
                    "{cents} came to {how:?} and was executed {times} times"
                ));
            }
        }
        found.lifted = known
            .ended
            .values()
            .filter(|how| **how == Ended::Paid)
            .count();
    }
}

fn handle(cents: i64) -> String {
    format!("lift-{cents}")
}
