//! The names under which clients see tools: `server__tool`.

use crate::tool::Digest;
use crate::tool::ToolId;

/// How many hexadecimal digits of a digest tell shortened names apart.
const HASH_DIGITS: usize = 8;

/// The name of a tool towards clients: 1 to `longest` of `[A-Za-z0-9_-]`, which
/// every model provider takes. Where the tool's own name is too long or has
/// other characters, the name is cut and ends in digits of a digest of the whole
/// name, so that it is always the same and hardly ever another tool's.
pub(super) fn exposed(tool: &ToolId, longest: usize) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let plain = format!("{}__{}", tool.server, tool.native());
    if plain.len() <= longest && plain.chars().all(fits) {
        return plain;
    }
    let digest = Digest::of(tool.to_string().as_bytes()).to_string();
    let kept = longest.saturating_sub(HASH_DIGITS + 1);
    let cut = plain.chars().take(kept);
    let mut name: String = cut.map(|c| if fits(c) { c } else { '_' }).collect();
    name.push('_');
    name.extend(digest.chars().take(HASH_DIGITS));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tool: &str) -> String {
        let tool = ToolId {
            server: "claims".parse().unwrap(),
            name: tool.into(),
        };
        exposed(&tool, 46)
    }

    #[test]
    fn a_name_that_fits_stays_as_it_is() {
        assert_eq!(name("approve_payment"), "claims__approve_payment");
        assert_eq!(name("get-claim"), "claims__get-claim");
    }

    #[test]
    fn a_name_that_does_not_fit_is_short_and_always_the_same() {
        for odd in ["a.b", "käse", "", &"x".repeat(128), "a b\u{1F600}"] {
            let short = name(odd);
            assert!((1..=46).contains(&short.len()), "{short}");
            assert!(
                short
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            );
            assert_eq!(short, name(odd));
        }
        assert_ne!(name("a.b"), name("a/b"));
        assert_ne!(name("a.b"), name("a_b"));
        assert_ne!(name(&"x".repeat(127)), name(&"x".repeat(128)));
    }
}
