//! Until when what a server lists counts as fresh (MCP 2026-07-28,
//! server/utilities/caching). Nobody asks a server by the clock: what is over is read
//! again when a client asks for it.

use crate::tool::Lists;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two readings of what is over, for a server that says of
/// its lists that they are at once.
const BETWEEN: Duration = Duration::from_secs(1);
/// The same after one that came to nothing.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// What a server may say at most: an `Instant` has an end.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a server says that its lists are fresh: of several pages the shortest.
/// Of a list that it does not say it of nothing follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lasts(BTreeMap<Lists, Duration>);

impl Lasts {
    /// Takes the text of `ttlMs` of one page.
    pub(super) fn page(&mut self, of: Lists, ttl: &str) {
        // Less than nothing is nothing, and what is no number says nothing.
        let Ok(ms) = ttl.parse::<f64>() else {
            return;
        };
        let said = Duration::try_from_secs_f64(ms.max(0.0) / 1000.0);
        let said = said.unwrap_or(LONGEST).min(LONGEST);
        let lasts = self.0.entry(of).or_insert(said);
        *lasts = said.min(*lasts);
    }
}

/// Until when the lists of one server are fresh.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    until: BTreeMap<Lists, Instant>,
    /// Before this they are not read again.
    next: Instant,
}

impl Fresh {
    /// Of lists that were asked for at the first and read at the second of these.
    pub(super) fn of(lasts: &Lasts, (asked, read): (Instant, Instant)) -> Self {
        let mut fresh = Self {
            until: BTreeMap::new(),
            next: read + BETWEEN,
        };
        fresh.and(lasts, asked);
        fresh
    }

    /// And of the same lists as another kind of clients sees them.
    pub(super) fn and(&mut self, lasts: &Lasts, asked: Instant) {
        for (of, lasts) in &lasts.0 {
            let until = self.until.entry(*of).or_insert(asked + *lasts);
            *until = (asked + *lasts).min(*until);
        }
    }

    /// They could not be read again.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next = now + AFTER_FAILURE;
    }

    /// Whether a list is to be read again.
    pub(super) fn is_over(&self, of: Lists, now: Instant) -> bool {
        self.next <= now && self.until.get(&of).is_some_and(|until| *until <= now)
    }

    /// Whether any of them is.
    pub(super) fn is_any_over(&self, now: Instant) -> bool {
        self.next <= now && self.until.values().any(|until| *until <= now)
    }

    /// How long a list is still fresh, where its server says so.
    pub(super) fn left(&self, of: Lists, now: Instant) -> Option<Duration> {
        let until = self.until.get(&of)?;
        Some(until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasts(pages: &[(Lists, &str)]) -> Lasts {
        let mut lasts = Lasts::default();
        for (of, ttl) in pages {
            lasts.page(*of, ttl);
        }
        lasts
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_over_when_its_server_says_so_and_read_again_at_most_once_a_second() {
        let said = [
            (Lists::Tools, "60000"),
            (Lists::Tools, "5e3"),
            (Lists::Prompts, "0"),
            (Lists::Resources, "-1"),
            (Lists::Templates, "\"soon\""),
        ];
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let mut fresh = Fresh::of(&lasts(&said), (begun, at(100)));
        let over = |fresh: &Fresh, ms| {
            let all = [
                Lists::Tools,
                Lists::Prompts,
                Lists::Resources,
                Lists::Templates,
            ];
            all.map(|of| fresh.is_over(of, at(ms)))
        };
        assert_eq!(over(&fresh, 1099), [false; 4]);
        assert_eq!(over(&fresh, 1100), [false, true, true, false]);
        assert_eq!(over(&fresh, 5000), [true, true, true, false]);
        let left = |of, ms| fresh.left(of, at(ms)).map(|left| left.as_millis());
        assert_eq!(left(Lists::Tools, 4000), Some(1000));
        assert_eq!(left(Lists::Tools, 6000), Some(0));
        assert_eq!(left(Lists::Templates, 0), None);
        // The shorter of two kinds of clients counts.
        fresh.and(
            &lasts(&[(Lists::Tools, "2000"), (Lists::Templates, "1e300")]),
            begun,
        );
        assert_eq!(over(&fresh, 2000), [true, true, true, false]);
        fresh.failed(at(2000));
        assert!(!fresh.is_any_over(at(11_999)) && fresh.is_any_over(at(12_000)));
    }
}
