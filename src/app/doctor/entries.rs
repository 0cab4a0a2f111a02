//! What the entries say by which clients start us: as whom, by which configuration.

use super::Finding;
use crate::app::callers;
use crate::clients;
use crate::clients::Around;
use crate::clients::Client;
use crate::config::Config;
use crate::principal::PrincipalId;
use crate::visible;
use std::path::Path;

/// What is wrong with the entries of a client by which it starts us, and which of them
/// are about another configuration than this one.
pub(super) fn of(client: Client, around: &Around, config: Option<&Config>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for found in around.found(client) {
        let place = found.place;
        let servers = found.servers.unwrap_or_default();
        for ours in servers.iter().filter(|one| one.name == clients::OURS) {
            let args = &ours.entry.args;
            if let Some((what, advice)) = entry(args, config) {
                let what = format!("{client}: {what} ({place})");
                let again = format!("countersign connect {client}{}", clients::scoped(&place));
                findings.push(match advice {
                    Advice::Again => Finding::problem(what, &again),
                    Advice::Look(file) => {
                        let look = format!("`countersign --config {file} doctor` looks at that one, `{again}` has the client use this one");
                        Finding::note(what, &look)
                    }
                });
            }
        }
    }
    findings
}

enum Advice {
    /// The entry is to be written anew.
    Again,
    /// It is about this other file.
    Look(String),
}

fn entry(args: &[String], config: Option<&Config>) -> Option<(String, Advice)> {
    let named = Path::new(option(args, "--config")?);
    let shown = named.display();
    // Where a client starts us, and what it puts in for a reference, is its own matter.
    if !named.is_absolute() || shown.to_string().contains('$') {
        return None;
    }
    let Ok(file) = named.canonicalize() else {
        let what = format!("it starts Countersign with `{shown}`, which is not there");
        return (!named.exists()).then_some((what, Advice::Again));
    };
    let config = config?;
    if config.path.canonicalize().ok()? != file {
        let what = format!(
            "it starts Countersign by another configuration, `{shown}`, and not by {}",
            config.path.display()
        );
        let word = visible::shell_word(&named.to_string_lossy());
        return Some((what, Advice::Look(word)));
    }
    let principal = PrincipalId::parse(option(args, "--principal")?).ok()?;
    let what = callers::unknown_principal(&principal, &config.rules)?;
    Some((what, Advice::Again))
}

/// What an option of ours was given.
fn option<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.strip_prefix(name) {
            Some("") => return args.next().map(String::as_str),
            Some(rest) if rest.starts_with('=') => return rest.strip_prefix('='),
            _ => {}
        }
    }
    None
}
