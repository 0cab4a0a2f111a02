//! The chapter in which a person lifts the limit for exactly one call.

use super::APPROVE;
use super::Story;
use super::client::Agent;
use super::held;
use super::payment;
use super::said;
use super::step;
use anyhow::Context;
use anyhow::ensure;
use std::process::Output;
use tokio::process::Command;

/// What alice may not pay alone, in dollars and in cents.
pub(super) const AMOUNT: &str = "50000.00";
pub(super) const CENTS: i64 = 5_000_000;

const MANAGER: &str = "mia";
const REASON: &str = "seen the invoice";

/// The id of the escalation that a message names.
pub(super) fn escalation_in(message: &str) -> Option<String> {
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let id = words.find(|word| word.starts_with("esc-"))?;
    Some(id.to_owned())
}

impl Story {
    pub(super) async fn is_approved_by_a_manager(&self, asked: &str) -> anyhow::Result<()> {
        step(&format!(
            "{MANAGER}, a Manager, approves exactly the call of $50,000.00, with a key of her own"
        ))?;
        let made = self.command(&["--json", "key", "new", MANAGER], None);
        let made: serde_json::Value = serde_json::from_str(&made.await?)?;
        let key = made.get("key").and_then(serde_json::Value::as_str);
        let key = key.context("a new key should be printed")?;
        said(&format!(
            "$ countersign escalation approve {asked} --reason \"{REASON}\""
        ))?;
        let approve = ["escalation", "approve", asked, "--reason", REASON];
        let refused = self.run(&approve, Some(key)).await?;
        let told = String::from_utf8_lossy(&refused.stderr);
        said(&told)?;
        ensure!(
            !refused.status.success() && told.contains("Day Limit Exceeded"),
            "more was paid since the call was stopped, so it would pass the day's limit too"
        );
        held("not yet: by now it would pass the day's limit as well, which she was not shown")?;

        step(&format!(
            "{MANAGER} looks at it again, and approves all of it"
        ))?;
        said(&format!("$ countersign escalation show {asked}"))?;
        let show = ["escalation", "show", asked];
        said(&self.command(&show, Some(key)).await?)?;
        let printed = self.command(&approve, Some(key)).await?;
        said(&printed)?;
        ensure!(
            printed.contains(&format!("{asked} is approved by {MANAGER}")),
            "a Manager's approval should be taken"
        );
        held("policy let her: she has the role and the limit, and it is not her own call")
    }

    pub(super) async fn passes_once(&self, agent: &Agent, asked: &str) -> anyhow::Result<()> {
        step("The agent makes the same call again")?;
        let reply = agent.call(APPROVE, payment(AMOUNT)).await?;
        said(&reply.text)?;
        ensure!(!reply.is_error, "an approved call should pass");
        self.expect_paid(&[900_000, 999_900, 100_000, CENTS])?;
        held("it passed, after a kill and a restart: the ledger has it once")?;

        step("And once more")?;
        let reply = agent.call(APPROVE, payment(AMOUNT)).await?;
        said(&reply.text)?;
        let anew = escalation_in(&reply.text);
        ensure!(
            reply.is_error && anew.is_some_and(|anew| anew != asked),
            "an approval is for one call, so somebody should be asked anew"
        );
        self.expect_paid(&[900_000, 999_900, 100_000, CENTS])?;
        held("blocked: the approval was for one call, and this is a new request")
    }

    /// Runs a command of the program that does what it should, with somebody's key; what it
    /// printed.
    async fn command(&self, args: &[&str], key: Option<&str>) -> anyhow::Result<String> {
        let done = self.run(args, key).await?;
        let errors = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success(),
            "`countersign {}` should be done, and said: {errors}",
            args.join(" ")
        );
        Ok(String::from_utf8(done.stdout)?)
    }

    async fn run(&self, args: &[&str], key: Option<&str>) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config.path).args(args);
        command.env_remove("COUNTERSIGN_KEY");
        if let Some(key) = key {
            command.env("COUNTERSIGN_KEY", key);
        }
        Ok(command.output().await?)
    }
}
