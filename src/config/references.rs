//! References in texts of the configuration, so that secrets stay out of it:
//! `${NAME}` and `${env:NAME}` (a variable of the environment),
//! `${NAME:-otherwise}`, and `${file:path}` (what a file holds).
//!
//! A reference that leads nowhere is an error, never an empty text and never
//! itself: half a credential would only be refused later and elsewhere.

use super::paths;
use super::plain::plain_text;
use std::path::Path;

/// The longest file that is read for a reference, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// The text with its references resolved, or the key with what is wrong. What
/// they lead to is never part of that.
pub(super) fn expanded(text: &str, folder: &Path, key: &str) -> Result<String, (String, String)> {
    let lookup = |name: &str| std::env::var(name).ok();
    expand(text, folder, &lookup).map_err(|problem| (key.to_owned(), problem))
}

/// Whether one of these texts is why something cannot be used: a reference in it leads
/// nowhere, and that is this problem.
pub(super) fn lead_nowhere<'a>(
    mut texts: impl Iterator<Item = &'a str>,
    folder: &Path,
    problem: &str,
) -> bool {
    texts.any(|text| expanded(text, folder, "").is_err_and(|(_key, why)| why == problem))
}

/// Whether a text has what a shell would take for a variable, `$NAME`, and is none here: a
/// name of capitals that stands by itself, since a `$` within a password is nothing of it.
pub(super) fn is_unbraced(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut before: Option<char> = None;
    let mut rest = text;
    while let Some((passed, after)) = rest.split_once('$') {
        before = passed.chars().next_back().or(before);
        if let Some(braced) = after.strip_prefix('{') {
            (_, rest) = braced.split_once('}').unwrap_or_default();
            before = Some('}');
            continue;
        }
        let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
        let (name, behind) = after.split_at_checked(end).unwrap_or_default();
        let is_name = name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.chars().all(|c| !c.is_ascii_lowercase());
        if is_name && !before.is_some_and(|c| is_word(c) || c == '$') && !behind.starts_with('$') {
            return true;
        }
        before = name.chars().next_back().or(Some('$'));
        rest = behind;
    }
    false
}

fn expand(
    text: &str,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        let Some((reference, behind)) = after.split_once('}') else {
            return Err(format!(
                "`${{` has no `}}`: write a reference like `${{NAME}}`{ALLOWED}"
            ));
        };
        expanded.push_str(&resolve(reference, folder, variable)?);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

const ALLOWED: &str =
    "; there are `${NAME}`, `${NAME:-otherwise}`, `${env:NAME}` and `${file:path}`";

fn resolve(
    reference: &str,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        let leads = paths::within(folder, Path::new(path), "");
        return file(&leads.map_err(|(_key, problem)| problem)?);
    }
    let (name, otherwise) = match reference.split_once(":-") {
        Some((name, otherwise)) => (name, Some(otherwise)),
        None => (reference, None),
    };
    let name = name.strip_prefix("env:").unwrap_or(name);
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(format!(
            "`${{{reference}}}` is no reference that is known here{ALLOWED}"
        ));
    }
    // As a shell has it: what is set to nothing takes the other text.
    match (variable(name).filter(|value| !value.is_empty()), otherwise) {
        (Some(value), _) => Ok(value),
        (None, Some(otherwise)) => Ok(otherwise.to_owned()),
        (None, None) if variable(name).is_some() => Err(format!(
            "the variable `{name}` is set, and empty: give it a value where Countersign starts, or write `${{{name}:-otherwise}}`"
        )),
        (None, None) => Err(format!(
            "the variable `{name}` is not set: set it where Countersign starts, or write `${{{name}:-otherwise}}`"
        )),
    }
}

/// What a file holds, without the line break at its end.
fn file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| format!("cannot read `{shown}`: {error}");
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(format!("`{shown}` has more than {MAX_FILE} bytes"));
    }
    let text = plain_text(path).map_err(unreadable)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand_in(folder: &Path, text: &str) -> Result<String, String> {
        let variable = |name: &str| match name {
            "TOKEN" => Some("s3cret".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        expand(text, folder, &variable)
    }

    #[test]
    fn references_are_resolved_wherever_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "from a file\r\n").unwrap();
        for (text, expanded) in [
            ("plain $HOME {x}", "plain $HOME {x}"),
            ("Bearer ${TOKEN}", "Bearer s3cret"),
            ("${env:TOKEN}/${TOKEN}", "s3cret/s3cret"),
            ("${ABSENT:-other}", "other"),
            ("${EMPTY:-other}", "other"),
            ("${TOKEN:-other}", "s3cret"),
            ("${ABSENT:-}", ""),
            ("${file:key}!", "from a file!"),
        ] {
            assert_eq!(expand_in(folder.path(), text).as_deref(), Ok(expanded));
        }
    }

    #[test]
    fn what_a_shell_would_take_for_a_variable_is_noticed() {
        for text in [
            "$TOKEN",
            "Bearer $TOKEN",
            "https://$HOST/mcp",
            "$HOME/.cache:$_X",
            "${HOME}$PATH",
        ] {
            assert!(is_unbraced(text), "{text}");
        }
        for text in [
            "",
            "$",
            "$5",
            "$A",
            "a$TOKEN",
            "pa$$WORD",
            "$2b$12$ABCDEF",
            "$home",
            "$Token",
            "$TOKEN$",
            "${TOKEN}",
            "${TOKEN:-$OTHER}",
            "${TOKEN:-",
            "{TOKEN}",
            "\u{e4}$",
        ] {
            assert!(!is_unbraced(text), "{text}");
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_says_which_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        for (text, says) in [
            ("${ABSENT}", "the variable `ABSENT` is not set"),
            ("${env:ABSENT}", "the variable `ABSENT` is not set"),
            ("${EMPTY}", "the variable `EMPTY` is set, and empty"),
            ("${TOKEN", "has no `}`"),
            ("${input:token}", "`${input:token}` is no reference"),
            ("${}", "is no reference"),
            ("${file:absent}", "cannot read `"),
            ("${file:~/key}", "`~/key` begins with `~`"),
        ] {
            let problem = expand_in(folder.path(), text).unwrap_err();
            assert!(problem.contains(says), "{problem}");
            assert!(!problem.contains("s3cret"));
        }
    }
}
