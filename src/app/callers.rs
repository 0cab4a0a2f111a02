//! Who calls where nobody else says it: names in the configuration that must be among
//! the principals.

use crate::config::Config;
use crate::config::ConfigError;
use crate::config::RulesAt;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::session::Handle;
use crate::session::SessionId;
use crate::visible;
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
    let session = config.stdio_session.as_deref();
    let session = session.and_then(|name| no_session(name, known, &config.rules));
    named
        .chain(session.map(|problem| format!("`stdio.session`: {problem}")))
        .collect()
}

/// Refuses what can be the name of no session. Somebody else's is named with its owner,
/// `alice/claim-99`.
///
/// # Errors
///
/// When it cannot; the text says what can. When the principals cannot be read.
pub fn can_be_session(name: &str, rules: &RulesAt) -> anyhow::Result<()> {
    match no_session(name, &rules.principals()?, rules) {
        None => Ok(()),
        Some(problem) => anyhow::bail!(problem),
    }
}

/// Why a text can be the name of no session.
fn no_session(name: &str, known: &Principals, rules: &RulesAt) -> Option<String> {
    if SessionId::from_str(name).is_ok() {
        return None;
    }
    let Some((owner, handle)) = name.rsplit_once('/') else {
        return Handle::from_str(name).err().map(|error| error.to_string());
    };
    let problem = match (PrincipalId::parse(owner), Handle::from_str(handle)) {
        (Err(error), _) => error.to_string(),
        (_, Err(error)) => error.to_string(),
        (Ok(owner), Ok(_)) => format!("`{owner}` {}", undeclared(&owner, known, rules)?),
    };
    let name = visible::one_line(name, visible::NAME);
    Some(format!(
        "`{name}` names no session: {problem}. A session of one's own is named by its handle, like `claim-99`, and one of somebody else by `OWNER/HANDLE`, like `alice/claim-99`"
    ))
}

/// That nobody declared a principal, for whoever asks for what is theirs; none where they
/// are declared, or nobody can tell.
pub fn unknown_principal(principal: &PrincipalId, rules: &RulesAt) -> Option<String> {
    let known = rules.principals().ok()?;
    let shown = rules.principals.display();
    let there = names(&known).unwrap_or_else(|| "nobody".to_owned());
    let is_known = known.by_id.contains_key(principal);
    (!is_known).then(|| {
        format!("there is no principal `{principal}` in the configuration: `{shown}` has {there}")
    })
}

/// The same of a role.
pub fn unknown_role(role: &str, rules: &RulesAt) -> Option<String> {
    let known = rules.principals().ok()?;
    let shown = rules.principals.display();
    let there: Vec<String> = known.roles.keys().map(|role| format!("`{role}`")).collect();
    let is_known = known.roles.contains_key(role);
    (!is_known).then(|| {
        let there = there.join(", ");
        format!("there is no role `{role}` in the configuration: `{shown}` has {there}")
    })
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
