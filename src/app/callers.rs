//! Who calls where nobody else says it: names in the configuration that must be among
//! the principals.

use crate::config::Config;
use crate::config::ConfigError;
use crate::config::RulesAt;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::session::Handle;
use crate::session::HandleError;
use crate::session::SessionId;
use std::str::FromStr;

/// Refuses a principal that nobody declared, and says whom there are.
///
/// # Errors
///
/// When the principal is none of them, or they cannot be read.
pub fn must_be_declared(principal: &PrincipalId, rules: &RulesAt) -> anyhow::Result<()> {
    match undeclared(principal, &rules.principals()?, rules) {
        None => Ok(()),
        Some(problem) => anyhow::bail!("`{principal}` {problem}"),
    }
}

/// Whom the file of principals has, as the end of a message.
///
/// # Errors
///
/// When it cannot be read.
pub fn declared(rules: &RulesAt) -> Result<String, ConfigError> {
    let known = rules.principals()?;
    let shown = rules.principals.display();
    Ok(match names(&known) {
        Some(names) => format!("`{shown}` has {names}"),
        None => format!(
            "`{shown}` has nobody yet: `countersign example --principals` shows how they are written"
        ),
    })
}

/// What is wrong with who calls by the configuration, and in which session.
pub(super) fn problems(config: &Config, known: &Principals) -> Vec<String> {
    let named = [
        ("stdio.principal", &config.stdio_principal),
        ("http.anonymous", &config.http.anonymous),
    ];
    let named = named.into_iter().filter_map(|(key, principal)| {
        let principal = principal.as_ref()?;
        let problem = undeclared(principal, known, &config.rules)?;
        Some(format!("`{key}`: `{principal}` {problem}"))
    });
    let session = config.stdio_session.as_deref().map(can_be_session);
    let session = session.and_then(Result::err);
    named
        .chain(session.map(|error| format!("`stdio.session`: {error}")))
        .collect()
}

/// Refuses what can be the name of no session. Somebody else's is named with its owner,
/// `alice/claim-99`.
///
/// # Errors
///
/// When it cannot; the text says what can.
pub fn can_be_session(name: &str) -> Result<(), HandleError> {
    if SessionId::from_str(name).is_ok() {
        return Ok(());
    }
    let handle = name.rsplit_once('/');
    let handle = handle.map_or(name, |(_owner, handle)| handle);
    Handle::from_str(handle).map(|_handle| ())
}

/// What is wrong with a principal, where nobody declared it.
fn undeclared(principal: &PrincipalId, known: &Principals, rules: &RulesAt) -> Option<String> {
    if known.by_id.contains_key(principal) {
        return None;
    }
    let shown = rules.principals.display();
    let or = match names(known) {
        Some(names) => format!(", or name one of {names}"),
        None => " (`countersign example --principals` shows how)".to_owned(),
    };
    Some(format!(
        "is not in `{shown}`: write a `[[principals]]` section there{or}"
    ))
}

fn names(known: &Principals) -> Option<String> {
    let names: Vec<String> = known.by_id.keys().map(|id| format!("`{id}`")).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
