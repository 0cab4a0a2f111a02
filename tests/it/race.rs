//! Calls at the same instant never exceed a limit, and never leave room unused
//! that one of the refused calls would have fitted into.

use crate::world::APPROVE;
use crate::world::Wire;
use crate::world::World;
use crate::world::payment;
use serde_json::json;

const ROUNDS: usize = 1_000;
const CALLS: usize = 6;

/// The session limit of the shipped example, in dollars.
const LIMIT: i64 = 20_000;

/// Numbers that look random and are the same in every run (a linear congruential
/// generator; Knuth, MMIX).
struct Draw(u64);

impl Draw {
    fn dollars(&mut self) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // 2,001 to 10,000: two to five of six fit, and different subsets do.
        2_001 + i64::try_from((self.0 >> 33) % 8_000).unwrap()
    }
}

fn race(brokers: &mut [Wire]) {
    let mut draw = Draw(42);
    for round in 0..ROUNDS {
        let amounts: Vec<i64> = (0..CALLS).map(|_| draw.dollars()).collect();
        let call = |dollars: i64| {
            json!({"name": APPROVE, "arguments": payment(dollars),
                "_meta": {"dev.countersign/session": format!("round-{round}")}})
        };
        let mut sent = Vec::new();
        for (place, dollars) in amounts.iter().enumerate() {
            let broker = place % brokers.len();
            let id = brokers[broker].request("tools/call", call(*dollars));
            sent.push((broker, id, *dollars));
        }
        let (mut admitted, mut refused) = (Vec::new(), Vec::new());
        for (broker, id, dollars) in sent {
            let answer = brokers[broker].answer_to(id).expect("a broker ended");
            assert!(answer.get("error").is_none(), "{answer}");
            if answer["result"]["isError"] == true {
                refused.push(dollars);
            } else {
                admitted.push(dollars);
            }
        }
        let total: i64 = admitted.iter().sum();
        assert!(
            total <= LIMIT,
            "round {round}: {admitted:?} exceed the limit"
        );
        for dollars in refused {
            assert!(
                total + dollars > LIMIT,
                "round {round}: {dollars} was refused beside {admitted:?}"
            );
        }
    }
}

#[test]
fn six_payments_at_once_through_one_process_fill_the_limit_and_never_exceed_it() {
    let world = World::new();
    race(&mut [world.broker().initialized()]);
}

#[test]
fn six_payments_at_once_through_two_processes_fill_the_limit_and_never_exceed_it() {
    let world = World::new();
    // The first one pins the tools, so that the second starts with them.
    let mut first = world.broker().initialized();
    first.ask("tools/list", json!({}));
    let second = world.broker().initialized();
    race(&mut [first, second]);
    assert!(world.journal_problems().is_empty());
}
