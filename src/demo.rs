//! The demonstration: the story of the claims adjuster, played with real
//! processes and checked at every step.

mod claims;
mod client;
mod lifted;

pub use claims::ClaimsServer;
pub use claims::LedgerLine;
pub use claims::read_ledger;

use crate::app;
use crate::config;
use crate::config::Config;
use crate::journal;
use crate::outcome::Outcome;
use crate::principal::PrincipalId;
use crate::sessions;
use crate::visible;
use anyhow::Context;
use anyhow::ensure;
use client::Agent;
use client::Opening;
use client::Reply;
use serde_json::Value;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

const CLAIMS_POLICY: &str = include_str!("../policies/claims.cedar");

/// How long the story waits for another process.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

const GET: &str = "claims__get_claim";
const APPROVE: &str = "claims__approve_payment";

/// Plays the story in `folder`, or in a new temporary one, with `program` as the
/// broker. It prints each step and ends with an error at the first that does
/// not hold.
///
/// # Errors
///
/// Which step did not hold, and why.
pub async fn play(folder: Option<PathBuf>, program: &Path) -> anyhow::Result<()> {
    let story = Story::set_up(folder, program)?;
    let first = Agent::start(program, &story.folder, Opening::Initialize).await?;
    story.reads(&first).await?;
    story.approves_within_the_limit(&first).await?;
    let asked = story.is_stopped_above_the_limit(&first).await?;
    story.cannot_split(&first).await?;
    story.is_killed_in_the_middle(&first).await?;
    drop(first);
    let second = Agent::start(program, &story.folder, Opening::Discover).await?;
    story.is_told_what_is_unknown(&second).await?;
    story.is_approved_by_a_manager(&asked).await?;
    story.passes_once(&second, &asked).await?;
    second.end().await?;
    story.finds_the_session_as_it_was()?;
    story.verifies()?;
    story.says_how_to_go_on()
}

struct Story {
    folder: PathBuf,
    program: PathBuf,
    config: Config,
}

impl Story {
    fn set_up(folder: Option<PathBuf>, program: &Path) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(folder) => folder,
            None => {
                let name = format!("countersign-demo-{}", uuid::Uuid::new_v4().simple());
                std::env::temp_dir().join(name)
            }
        };
        let file = folder.join("countersign.toml");
        ensure!(
            !file.exists(),
            "`{}` is there already: name another folder, or none",
            file.display()
        );
        std::fs::create_dir_all(folder.join("policies"))
            .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        let folder = folder.canonicalize()?;
        let file = folder.join("countersign.toml");
        let program = program
            .canonicalize()
            .unwrap_or_else(|_unknown| program.to_owned());
        std::fs::write(&file, configuration(&program))?;
        std::fs::write(folder.join("principals.toml"), config::PRINCIPALS_EXAMPLE)?;
        std::fs::write(folder.join("policies/claims.cedar"), CLAIMS_POLICY)?;
        std::fs::write(folder.join("policies/global.cedar"), config::GLOBAL_POLICY)?;
        say(&format!(
            "Countersign: the story of claim 99, in {}\n\
             alice is a Junior claims agent. Her limit is $10,000.00 a call, $20,000.00 a session and $60,000.00 a day.",
            folder.display()
        ))?;
        let config = Config::load(&file, &program)?;
        Ok(Self {
            folder,
            program,
            config,
        })
    }

    async fn reads(&self, agent: &Agent) -> anyhow::Result<()> {
        step("An agent connects as alice, in session claim-99, and asks which tools there are")?;
        let tools = agent.tools().await?;
        said(&tools.join(", "))?;
        ensure!(
            tools.iter().any(|tool| tool == APPROVE),
            "alice should see {APPROVE}"
        );
        ensure!(
            !tools.iter().any(|tool| tool == "claims__close_claim"),
            "alice should not see the tool that closes claims"
        );
        held("it can read claims and approve payments; closing claims is not for a Junior")?;

        step("It reads claim 99")?;
        let reply = agent.call(GET, json!({ "claim_id": "99" })).await?;
        said(&reply.text)?;
        ensure!(!reply.is_error, "reading should be allowed");
        held("allowed, and recorded")
    }

    async fn approves_within_the_limit(&self, agent: &Agent) -> anyhow::Result<()> {
        step("It approves $9,000.00")?;
        let reply = agent.call(APPROVE, payment("9000.00")).await?;
        said(&reply.text)?;
        ensure!(!reply.is_error, "9,000 is within the limit");
        self.expect_paid(&[900_000])?;
        held("allowed: the ledger of the claims server has the payment")
    }

    /// Returns the id of the escalation.
    async fn is_stopped_above_the_limit(&self, agent: &Agent) -> anyhow::Result<String> {
        step("It tries to approve $50,000.00")?;
        let reply = agent.call(APPROVE, payment(lifted::AMOUNT)).await?;
        said(&reply.text)?;
        ensure!(
            reply.is_error && reply.text.contains("Limit Exceeded. Escalate to Manager."),
            "50,000 is above the limit, and the model should be told what to do"
        );
        self.expect_paid(&[900_000])?;
        held("blocked: nothing arrived at the claims server, and a Manager is asked")?;
        let asked = lifted::escalation_in(&reply.text);
        asked.context("the model should be told whom it waits for")
    }

    async fn cannot_split(&self, agent: &Agent) -> anyhow::Result<()> {
        step("It tries to split it: five payments of $9,999.00 at the same instant")?;
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let peer = agent.peer();
            calls.spawn(async move { client::call(&peer, APPROVE, payment("9999.00")).await });
        }
        let mut passed = 0;
        let mut stopped: Option<Reply> = None;
        while let Some(reply) = calls.join_next().await {
            let reply = reply??;
            if reply.is_error {
                stopped = Some(reply);
            } else {
                passed += 1;
            }
        }
        let stopped = stopped.context("four of the five should be stopped")?;
        said(&stopped.text)?;
        ensure!(
            passed == 1,
            "one of the five fits the session, and {passed} passed"
        );
        ensure!(
            stopped.text.contains("Session Limit Exceeded."),
            "the session total should stop them"
        );
        self.expect_paid(&[900_000, 999_900])?;
        held("one fits under the session's $20,000.00 and passed; four were stopped by the total")
    }

    async fn is_killed_in_the_middle(&self, agent: &Agent) -> anyhow::Result<()> {
        step("It approves $1,000.00, and the broker is killed (SIGKILL) before the answer")?;
        std::fs::write(self.hold(), "")?;
        let peer = agent.peer();
        let call =
            tokio::spawn(async move { client::call(&peer, APPROVE, payment("1000.00")).await });
        self.wait_until_paid(3).await?;
        agent.kill_broker()?;
        let reply = tokio::time::timeout(PATIENCE, call).await??;
        ensure!(reply.is_err(), "a killed broker answers nothing");
        std::fs::remove_file(self.hold())?;
        self.expect_paid(&[900_000, 999_900, 100_000])?;
        held("the money left, and nobody was told")
    }

    async fn is_told_what_is_unknown(&self, agent: &Agent) -> anyhow::Result<()> {
        step(
            "A new agent process (now MCP 2026-07-28) opens claim-99 and sends the same payment again",
        )?;
        let reply = agent.call(APPROVE, payment("1000.00")).await?;
        said(&reply.text)?;
        ensure!(
            reply.is_error && reply.text.contains("nobody saw how it ended"),
            "the agent should be told that the first attempt's outcome is unknown"
        );
        self.expect_paid(&[900_000, 999_900, 100_000])?;
        held("not sent again by itself: the agent is told to look first")
    }

    fn finds_the_session_as_it_was(&self) -> anyhow::Result<()> {
        step("The session is the same, with its history")?;
        let store = app::existing_store(&self.config.store)?;
        let alice = PrincipalId::parse("alice")?;
        let calls = store.read(|tx| {
            let mine = sessions::list(tx, Some(&alice))?;
            let claim = mine.iter().find(|session| session.handles == ["claim-99"]);
            let filter = journal::Filter {
                session: claim.map(|session| session.id),
                ..journal::Filter::default()
            };
            journal::calls(tx, &filter)
        })?;
        for call in &calls {
            let ended = call
                .outcome
                .map_or("open".to_owned(), |outcome| outcome.to_string());
            said(&format!("{:<22}{}", ended, call.tool))?;
        }
        let count = |outcome| {
            calls
                .iter()
                .filter(|call| call.outcome == Some(outcome))
                .count()
        };
        ensure!(
            calls.iter().all(|call| call.outcome.is_some()),
            "no call may stay open"
        );
        ensure!(count(Outcome::Unknown) == 1, "one call ended unknown");
        ensure!(count(Outcome::Completed) == 4, "four calls completed");
        held("four calls completed, six were stopped, one ended unknown, one was held back")
    }

    fn verifies(&self) -> anyhow::Result<()> {
        step("The journal is verified")?;
        let store = app::existing_store(&self.config.store)?;
        let living = store.living_writers()?;
        let found = store.read(|tx| journal::verify(tx, &living, &journal::Trust::default()))?;
        for problem in &found.problems {
            said(&problem.to_string())?;
        }
        ensure!(found.problems.is_empty(), "the journal should hold");
        let paid: i64 = self.paid()?.iter().sum();
        let alone = paid - lifted::CENTS;
        ensure!(
            alone <= 2_000_000,
            "no more than the session's limit may be paid without a Manager"
        );
        held(&format!(
            "{} records, every chain holds; paid ${}.{:02} of alice's $20,000.00, and once $50,000.00 that mia approved",
            found.records,
            alone / 100,
            alone % 100
        ))
    }

    fn says_how_to_go_on(&self) -> anyhow::Result<()> {
        let word = |path: &Path| visible::shell_word(&path.to_string_lossy());
        let program = format!(
            "{} --config {}",
            word(&self.program),
            word(&self.config.path)
        );
        say(&format!(
            "\nEverything held. Go on with:\n\
             \x20 {program} session show claim-99\n\
             \x20 {program} journal tail\n\
             \x20 {program} check\n\
             \x20 {program} policy schema\n\
             Edit the policies in {}: a running broker takes them within a second or two.\n\
             Connect your own MCP client with this command:\n\
             \x20 {program} stdio --principal alice --session claim-99",
            self.folder.join("policies").display()
        ))
    }

    fn hold(&self) -> PathBuf {
        self.folder.join("hold")
    }

    fn paid(&self) -> anyhow::Result<Vec<i64>> {
        let lines = read_ledger(&self.folder.join("ledger.jsonl"))?;
        Ok(lines.into_iter().map(|line| line.cents).collect())
    }

    fn expect_paid(&self, expected: &[i64]) -> anyhow::Result<()> {
        let paid = self.paid()?;
        ensure!(
            paid == expected,
            "the ledger should have {expected:?} (cents), and has {paid:?}"
        );
        Ok(())
    }

    async fn wait_until_paid(&self, lines: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.paid()?.len() < lines {
            ensure!(
                begun.elapsed() < PATIENCE,
                "the payment never reached the claims server"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// The shipped example with this program as the claims server.
fn configuration(program: &Path) -> String {
    let program = toml::Value::from(program.to_string_lossy().into_owned());
    config::EXAMPLE
        .replace("command = \"countersign\"", &format!("command = {program}"))
        .replace(
            "\"--ledger\", \"ledger.jsonl\"",
            "\"--ledger\", \"ledger.jsonl\", \"--hold\", \"hold\"",
        )
}

fn payment(amount: &str) -> Value {
    // The digits as they stand: what is compared with the limit is this text.
    let amount: Value = serde_json::from_str(amount).unwrap_or_default();
    json!({ "claim_id": "99", "amount": amount, "payee": "ACME Ltd" })
}

fn step(title: &str) -> anyhow::Result<()> {
    say(&format!("\n* {title}"))
}

fn said(text: &str) -> anyhow::Result<()> {
    for line in text.lines() {
        say(&format!("    | {line}"))?;
    }
    Ok(())
}

fn held(what: &str) -> anyhow::Result<()> {
    say(&format!("    ok: {what}"))
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
