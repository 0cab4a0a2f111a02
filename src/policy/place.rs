//! Where a path or a URL leads, in one spelling.
//!
//! A policy that matches `/srv/*` on the raw text also matches `/srv/../etc`. So
//! the operator declares which arguments are places, and policy sees them
//! resolved.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// A path with `.`, `..` and doubled `/` taken out, by its text alone. A
/// relative path stays relative, with the `..` that lead out of it in front.
pub(super) fn resolved(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.last().is_some_and(|last| *last != "..") {
                    parts.pop();
                } else if !absolute {
                    parts.push("..");
                }
            }
            name => parts.push(name),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Whether a path surely leads to `folder` (resolved, absolute) or into it. A
/// relative path does not, nor one with a `\` or a NUL, which other systems
/// read their own way.
pub(super) fn is_under(path: &str, folder: &str) -> bool {
    if !path.starts_with('/') || path.contains(['\\', '\0']) {
        return false;
    }
    let path = resolved(path);
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A URL whose host one reader sees here and another there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AmbiguousHost;

/// The host of a URL in lower case; empty where it has none. What the URL
/// standard and RFC 3986 read differently is refused: a rule that names hosts
/// cannot be sure of it.
pub(super) fn host(url: &str) -> Result<String, AmbiguousHost> {
    let stripped = |c: char| c.is_control() || c == '\\';
    if url.contains(stripped) || url.trim() != url {
        return Err(AmbiguousHost);
    }
    let Some((scheme, rest)) = url.split_once(':') else {
        return no_scheme(url);
    };
    let scheme = scheme.to_ascii_lowercase();
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !named {
        return no_scheme(url);
    }
    let web = ["http", "https", "ws", "wss", "ftp"].contains(&&*scheme);
    let Some(rest) = rest.strip_prefix("//") else {
        return if web {
            Err(AmbiguousHost)
        } else {
            Ok(String::new())
        };
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return if web {
            Err(AmbiguousHost)
        } else {
            Ok(String::new())
        };
    }
    let host = match authority.split_once('@') {
        Some((_, after)) if after.contains('@') => return Err(AmbiguousHost),
        Some((_, after)) => after,
        None => authority,
    };
    without_port(host)
}

/// The scheme of a URI in lower case, empty where it has none.
pub(super) fn scheme(uri: &str) -> String {
    let Some((scheme, _)) = uri.split_once(':') else {
        return String::new();
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(fits);
    match named {
        true => scheme.to_ascii_lowercase(),
        false => String::new(),
    }
}

/// The path of a URI as a server would find it: without authority, query and
/// fragment, decoded once, `.` and `..` taken out of it.
pub(super) fn path(uri: &str) -> String {
    let rest = match scheme(uri).len() {
        0 => uri,
        length => uri.get(length + 1..).unwrap_or_default(),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = match rest.strip_prefix("//") {
        Some(with_authority) => with_authority
            .find('/')
            .map_or("", |at| with_authority.get(at..).unwrap_or_default()),
        None => rest,
    };
    if path.is_empty() {
        return String::new();
    }
    resolved(&decoded(path))
}

/// Percent-encoding taken off once (RFC 3986, section 2.1); what is no UTF-8
/// then is marked as such.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .filter(|pair| *first == b'%' && pair.iter().all(u8::is_ascii_hexdigit));
        let pair = digits.and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text without a scheme names no host, unless a browser would read one.
fn no_scheme(url: &str) -> Result<String, AmbiguousHost> {
    if url.starts_with("//") {
        Err(AmbiguousHost)
    } else {
        Ok(String::new())
    }
}

fn without_port(host: &str) -> Result<String, AmbiguousHost> {
    if let Some(bracketed) = host.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or(AmbiguousHost)?;
        let address: Ipv6Addr = address.parse().map_err(|_| AmbiguousHost)?;
        return match port.strip_prefix(':').or(port.is_empty().then_some("")) {
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(format!("[{address}]")),
            _ => Err(AmbiguousHost),
        };
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let plain = !name.is_empty()
        && name.split('.').all(|label| !label.is_empty())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
        && port.bytes().all(|b| b.is_ascii_digit());
    // A last label in digits is an address to browsers: 127.1 and 0x7f000001
    // are 127.0.0.1.
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if plain && (!numeric || name.parse::<Ipv4Addr>().is_ok()) {
        Ok(name)
    } else {
        Err(AmbiguousHost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_resolved_by_its_text() {
        for (path, expected) in [
            ("/srv/../etc/passwd", "/etc/passwd"),
            ("/srv/./a//b/", "/srv/a/b"),
            ("/../..", "/"),
            ("", "."),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("a/b/../c", "a/c"),
        ] {
            assert_eq!(resolved(path), expected, "{path}");
        }
    }

    #[test]
    fn a_uri_has_a_scheme_and_a_path_in_one_spelling() {
        for (uri, expected) in [
            ("FILE:///srv/a/../b", ("file", "/srv/b")),
            ("file:///srv/%2e%2E/etc%2Fpasswd", ("file", "/etc/passwd")),
            ("https://h.example/a?b=/c#/d", ("https", "/a")),
            ("test://some-text", ("test", "")),
            ("urn:a:b", ("urn", "a:b")),
            ("/no/scheme:x", ("", "/no/scheme:x")),
            ("file:///a/%zz%+f%", ("file", "/a/%zz%+f%")),
        ] {
            assert_eq!((&*scheme(uri), &*path(uri)), expected, "{uri}");
        }
    }

    #[test]
    fn only_an_absolute_path_that_stays_inside_is_under_a_folder() {
        for inside in [
            "/srv/data",
            "/srv/data/",
            "/srv/data/a/../b",
            "//srv/data/x",
        ] {
            assert!(is_under(inside, "/srv/data"), "{inside}");
        }
        for outside in [
            "/srv/data/../other",
            "/srv/database",
            "srv/data/x",
            "~/x",
            "/srv/data/..\\..\\etc",
            "/srv/data/\0",
            "file:///srv/data",
            "",
        ] {
            assert!(!is_under(outside, "/srv/data"), "{outside}");
        }
        assert!(is_under("/anything", "/"));
    }

    #[test]
    fn a_host_is_read_in_one_spelling() {
        for (url, expected) in [
            ("https://Example.COM/a?b#c", "example.com"),
            ("https://example.com.:443", "example.com"),
            ("https://good.com@evil.com/", "evil.com"),
            ("HTTP://user:pw@Host:80?x@y", "host"),
            ("https://[0:0::1]:8080/", "[::1]"),
            ("https://127.0.0.1/", "127.0.0.1"),
            ("mailto:a@b.c", ""),
            ("file:///etc/passwd", ""),
            ("example.com/path", ""),
            ("", ""),
        ] {
            assert_eq!(host(url).as_deref(), Ok(expected), "{url}");
        }
    }

    #[test]
    fn a_url_whose_host_is_read_differently_is_refused() {
        for url in [
            "https:\\\\evil.com",
            "https://good.com\\@evil.com",
            "https://a@b@evil.com",
            "https://ev\til.com",
            " https://evil.com",
            "https:evil.com",
            "https:///evil.com",
            "//evil.com",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://010.0.0.1/",
            "https://%65vil.com/",
            "https://exämple.com/",
            "https://evil.com:80:80/",
            "https://[::1/",
            "https://[fe80::1%25eth0]/",
            "https://a..b/",
        ] {
            assert_eq!(host(url), Err(AmbiguousHost), "{url}");
        }
    }
}
