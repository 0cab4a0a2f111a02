//! What each step of one `tools/call` costs, and what the whole of it adds to the
//! same call sent to its server directly.
//!
//! Everything goes through the public interface of the crate, with the shipped
//! policies and the claims server of the story, on a store on disk. Two peers
//! run beside it: Cedar asked with every policy and a context from JSON, and the
//! claims server without us. `docs/performance.md` has the figures.
// Always true here. It tells clippy that helpers are test code as well, so that
// the permissions for tests in `.clippy.toml` hold for them.
#![cfg(test)]

mod admission;
#[path = "../shared/folder.rs"]
mod folder;
mod naive;
mod wire;
mod world;

use admission::Desk;
use admission::Ledger;
use countersign::broker::Answer;
use countersign::broker::CallLine;
use countersign::broker::Carrier;
use countersign::broker::Refusal;
use countersign::json;
use countersign::json::Object;
use countersign::json::Splice;
use countersign::mcp;
use countersign::mcp::Connection;
use countersign::mcp::Opening;
use countersign::mcp::Received;
use countersign::policy::Gate;
use countersign::policy::Verdict;
use countersign::session::Named;
use countersign::session::Rule;
use countersign::store::Durability;
use countersign::tool::CallId;
use countersign::tool::Digest;
use criterion::BatchSize;
use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::Throughput;
use jiff::Timestamp;
use naive::Naive;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::Wire;
use world::World;

const EXPOSED_GET: &str = "claims__get_claim";
const EXPOSED_PAY: &str = "claims__approve_payment";

const GET: &str = r#"{"claim_id":"99"}"#;
const PAY: &str = r#"{"claim_id":"99","amount":12.50,"payee":"ACME Ltd"}"#;
const PAY_TOO_MUCH: &str = r#"{"claim_id":"99","amount":50000,"payee":"ACME Ltd"}"#;
const PAY_NOTHING: &str = r#"{"claim_id":"99","amount":0,"payee":"ACME Ltd"}"#;
const PAY_ITEMS: &str = r#"{"claim_id":"99","amount":12.50,"payee":"ACME Ltd","memo":"first part","line_items":[{"code":"A1","amount":10.00},{"code":"B2","amount":2.50}]}"#;

/// How many policies of another tool are added to see what they cost.
const MORE_POLICIES: usize = 100;

fn main() {
    let world = World::start("process");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50)
        .configure_from_args();
    reading(&mut criterion, &world);
    deciding(&mut criterion, &world);
    recording(&mut criterion, &world);
    answering(&mut criterion);
    calling(&mut criterion, &world);
    serving(&mut criterion, &world);
    criterion.final_summary();
    world.stop();
}

/// The request as a 2026-07-28 client sends it.
fn request(name: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

fn reading(criterion: &mut Criterion, world: &World) {
    let pay = world.gate(world::PAY_TOOL);
    let mut group = criterion.benchmark_group("read");
    let line = request(EXPOSED_PAY, PAY);
    group.bench_function("message", |b| {
        b.iter(|| mcp::parse(black_box(line.as_bytes())).unwrap());
    });
    group.bench_function("canonical form and digest", |b| {
        b.iter(|| Digest::of(json::canonical(black_box(PAY)).unwrap().as_bytes()));
    });
    for (name, arguments) in [("arguments", PAY), ("arguments with line items", PAY_ITEMS)] {
        group.bench_function(name, |b| b.iter(|| pay.read(black_box(arguments)).unwrap()));
    }
    group.finish();
}

fn deciding(criterion: &mut Criterion, world: &World) {
    let mut group = criterion.benchmark_group("decide");
    let more = world.catalogue_with(&naive::policies_of_another_tool(MORE_POLICIES));
    let more = more.bundle().gate(&world::tool(world::PAY_TOOL)).unwrap();
    let pay = &world.gate(world::PAY_TOOL);
    let get = &world.gate(world::GET_TOOL);
    for (name, gate, arguments) in [
        ("allow, get_claim", get, GET),
        ("allow", pay, PAY),
        ("allow, 100 more policies", more, PAY),
        ("deny", pay, PAY_NOTHING),
        ("escalate", pay, PAY_TOO_MUCH),
    ] {
        let expected = name.split(',').next().unwrap();
        group.bench_function(name, |b| decide(b, world, gate, arguments, expected));
    }
    for (name, naive) in [
        ("naive, allow", Naive::new(world, "")),
        (
            "naive, allow, 100 more policies",
            Naive::new(world, &naive::policies_of_another_tool(MORE_POLICIES)),
        ),
    ] {
        group.bench_function(name, |b| b.iter(|| assert!(naive.allows())));
        let name = format!("{name}, checked by the schema");
        group.bench_function(name, |b| b.iter(|| assert!(naive.allows_checked())));
    }
    group.finish();
}

fn decide(
    b: &mut criterion::Bencher<'_>,
    world: &World,
    gate: &Gate,
    arguments: &str,
    expected: &str,
) {
    let reading = gate.read(arguments).unwrap();
    let facts = world.facts(&reading);
    let call = CallId::next();
    let now = Timestamp::now();
    let decide = || gate.decide(call, &world.alice, black_box(&reading), &facts, now);
    let verdict = match decide() {
        Verdict::Allow(_) => "allow",
        Verdict::Deny(_) => "deny",
        Verdict::Escalate(..) => "escalate",
        Verdict::Confirm(..) => "confirm",
    };
    assert_eq!(verdict, expected);
    b.iter(decide);
}

fn recording(criterion: &mut Criterion, world: &World) {
    let ledger = Ledger::open(world);
    let mut group = criterion.benchmark_group("record");
    for (mode, durability) in [
        ("process", Durability::Process),
        ("power", Durability::Power),
    ] {
        for (name, tool, arguments) in [
            ("get_claim", world::GET_TOOL, GET),
            ("approve_payment", world::PAY_TOOL, PAY),
        ] {
            let desk = Desk::new(world, &ledger, tool, arguments);
            group.bench_function(format!("admit {name}, {mode}"), |b| {
                b.iter(|| world.runtime.block_on(desk.admit(durability)));
            });
        }
        let desk = Desk::new(world, &ledger, world::PAY_TOOL, PAY_NOTHING);
        group.bench_function(format!("refuse approve_payment, {mode}"), |b| {
            b.iter(|| world.runtime.block_on(desk.admit(durability)));
        });
    }
    let desk = Desk::new(world, &ledger, world::PAY_TOOL, PAY);
    group.bench_function("close, process", |b| {
        b.iter_batched(
            || world.runtime.block_on(desk.admit(Durability::Process)),
            |call| world.runtime.block_on(desk.close(call)),
            BatchSize::PerIteration,
        );
    });
    let named = Carrier::Named("claim-99".to_owned());
    group.bench_function("find a named session", |b| {
        b.iter(|| {
            let found = world.broker.session(&world.alice, &named);
            assert_eq!(world.runtime.block_on(found).unwrap(), world.session);
        });
    });
    group.bench_function("nothing, process", |b| {
        b.iter(|| world.runtime.block_on(ledger.nothing()));
    });
    group.finish();

    let mut group = criterion.benchmark_group("group commit");
    for (mode, durability, tool, arguments) in [
        ("process", Durability::Process, world::GET_TOOL, GET),
        ("power", Durability::Power, world::PAY_TOOL, PAY),
    ] {
        let desk = Arc::new(Desk::new(world, &ledger, tool, arguments));
        for waiters in [1_u64, 16, 64] {
            group.throughput(Throughput::Elements(waiters));
            group.bench_function(BenchmarkId::new(mode, waiters), |b| {
                b.iter(|| {
                    let at_once = admission::at_once(&desk, waiters, durability);
                    world.runtime.block_on(at_once);
                });
            });
        }
    }
    group.finish();
}

fn answering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    let result = |text: &str| {
        format!(r#"{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}}"#)
    };
    for (name, text) in [
        ("small", result("Claim 99: water damage in a kitchen.")),
        ("64 KiB", result(&"water damage in a kitchen ".repeat(2521))),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("check, {name}"), |b| {
            b.iter(|| json::check(black_box(text.as_bytes())).unwrap());
        });
        group.bench_function(format!("digest, {name}"), |b| {
            b.iter(|| Digest::of(black_box(text.as_bytes())));
        });
        group.bench_function(format!("splice, {name}"), |b| {
            b.iter(|| {
                let members = Object::parse(black_box(&text)).unwrap();
                assert!(members.get("resultType").is_none());
                Splice::new(&text)
                    .add_member(&text, "resultType", "\"complete\"")
                    .finish()
            });
        });
    }
    group.finish();
}

/// Whole calls in this process, from the broker's door to its answer.
fn calling(criterion: &mut Criterion, world: &World) {
    let power = World::start("power");
    let mut group = criterion.benchmark_group("call");
    let mut direct = Wire::claims_server(world);
    for (name, tool, arguments) in [
        ("get_claim", "get_claim", GET),
        ("approve_payment", "approve_payment", PAY),
    ] {
        group.bench_function(format!("peer, {name}"), |b| {
            b.iter(|| direct.call(tool, arguments));
        });
    }
    for (name, world, tool, arguments, expected) in [
        ("get_claim, process", world, EXPOSED_GET, GET, "answered"),
        ("get_claim, power", &power, EXPOSED_GET, GET, "answered"),
        ("approve_payment", world, EXPOSED_PAY, PAY, "answered"),
        (
            "approve_payment, denied",
            world,
            EXPOSED_PAY,
            PAY_NOTHING,
            "denied",
        ),
        (
            "approve_payment, escalated",
            world,
            EXPOSED_PAY,
            PAY_TOO_MUCH,
            "escalated",
        ),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let line = CallLine {
                    progress: None,
                    asks: None,
                    logs: None,
                    cancelled: CancellationToken::new(),
                    gone: CancellationToken::new(),
                };
                let call = world.broker.call_tool(world.call(tool, arguments), line);
                let answer = world.runtime.block_on(call);
                assert_eq!(ended(&answer), expected);
                answer
            });
        });
    }
    let message = request(EXPOSED_GET, GET);
    let named = Some(Named::new(Rule::Option, "claim-99"));
    let connection = Connection::new(
        Arc::clone(&world.broker),
        Opening {
            session: named,
            ..Opening::of(world.alice.clone())
        },
    );
    let (out, mut answers) = mpsc::channel(4);
    group.bench_function("get_claim, process, with the edge", |b| {
        b.iter(|| {
            let Received::Work(work) = connection.receive(message.as_bytes()) else {
                panic!("a call is work");
            };
            world.runtime.block_on(async {
                work.run(out.clone()).await;
                let answer = answers.recv().await.unwrap();
                assert!(answer.text().contains("\"content\":["), "{answer:?}");
                answer
            })
        });
    });
    group.finish();
    power.stop();
}

fn ended(answer: &Answer) -> &'static str {
    match answer {
        Answer::Result { json, .. } if !json.contains("\"isError\":true") => "answered",
        Answer::Refused(Refusal::Denied { .. }) => "denied",
        Answer::Refused(Refusal::Escalated { .. }) => "escalated",
        _ => "something else",
    }
}

/// Whole calls as a client sees them: lines to a process, and its answers.
fn serving(criterion: &mut Criterion, world: &World) {
    let mut group = criterion.benchmark_group("stdio");
    let mut direct = Wire::claims_server(world);
    let mut broker = Wire::broker(world);
    for (name, own, exposed, arguments) in [
        ("get_claim", "get_claim", EXPOSED_GET, GET),
        ("approve_payment", "approve_payment", EXPOSED_PAY, PAY),
    ] {
        group.bench_function(format!("peer, {name}"), |b| {
            b.iter(|| direct.call(own, arguments));
        });
        group.bench_function(name, |b| b.iter(|| broker.call(exposed, arguments)));
    }
    group.finish();
}
