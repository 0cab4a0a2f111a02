//! `countersign key`: the keys of clients over HTTP.

use super::Form;
use super::one_line;
use super::print;
use crate::app;
use crate::config::Config;
use crate::keys;
use crate::keys::Key;
use crate::principal::PrincipalId;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key for a principal and print it, this once
    New {
        /// Who shows it: one of `principals.toml`
        principal: String,
        /// What you call it, to find it again
        #[arg(long)]
        name: Option<String>,
    },
    /// List the keys
    List,
    /// Take a key back; running brokers refuse it from the next request on
    Revoke {
        /// Its id in the list
        id: String,
    },
}

impl Command {
    pub(super) fn run(self, config: &Config, form: Form) -> anyhow::Result<()> {
        match self {
            Self::New { principal, name } => new(config, &principal, name.as_deref(), form),
            Self::List => list(config, form),
            Self::Revoke { id } => revoke(config, &id, form),
        }
    }
}

fn new(config: &Config, principal: &str, name: Option<&str>, form: Form) -> anyhow::Result<()> {
    // Read here, so that it can be said whom there are.
    let principal = match PrincipalId::parse(principal) {
        Ok(principal) => principal,
        Err(error) => anyhow::bail!("{error}; {}", app::declared(&config.rules)?),
    };
    app::must_be_declared(&principal, &config.rules)?;
    let shown = principal.to_string();
    let store = app::open_store(&config.store)?;
    let (of, name) = (principal, name.map(str::to_owned));
    let key = store.write_blocking("key", move |tx| {
        keys::make(tx, &of, name.as_deref(), Timestamp::now())
    })?;
    if form == Form::Json {
        let made = json!({"id": key.id, "principal": shown, "key": key.text});
        return super::print_json(&made);
    }
    print(&format!(
        "{}\n\nThis is shown once. Clients send it with each request:\n  Authorization: Bearer {}\nTake it back with `countersign key revoke {}`.\n",
        key.text, key.text, key.id
    ))
}

fn list(config: &Config, form: Form) -> anyhow::Result<()> {
    let store = app::existing_store(&config.store)?;
    let keys = store.read(keys::list)?;
    if form == Form::Json {
        let keys: Vec<Value> = keys.iter().map(published).collect();
        return super::print_json(&json!({ "keys": keys }));
    }
    if keys.is_empty() {
        return print("there are no keys; make one with `countersign key new PRINCIPAL`\n");
    }
    for key in keys {
        let state = match key.revoked {
            Some(at) => format!("revoked {at}"),
            None => "valid".to_owned(),
        };
        let name = one_line(key.name.as_deref().unwrap_or_default());
        print(&format!(
            "{}  …{}  {:<16}  {}  {state}  {name}\n",
            key.id, key.ending, key.principal, key.created
        ))?;
    }
    Ok(())
}

/// One key as others may rely on it.
fn published(key: &Key) -> Value {
    json!({
        "id": key.id,
        "principal": key.principal.to_string(),
        "name": key.name,
        "ending": key.ending,
        "created": key.created.to_string(),
        "revoked": key.revoked.map(|at| at.to_string()),
    })
}

fn revoke(config: &Config, id: &str, form: Form) -> anyhow::Result<()> {
    let store = app::existing_store(&config.store)?;
    let wanted = id.to_owned();
    let revoked =
        store.write_blocking("key", move |tx| keys::revoke(tx, &wanted, Timestamp::now()))?;
    anyhow::ensure!(
        revoked,
        "there is no valid key `{}`: see `countersign key list`",
        one_line(id)
    );
    match form {
        Form::Json => super::print_json(&json!({ "revoked": id })),
        Form::Text => print("revoked\n"),
    }
}
