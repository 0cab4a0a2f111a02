//! How long to rest between two attempts to start a server.

use std::time::Duration;
use uuid::Uuid;

/// The first pause, and the shortest that a waiting call can make of any.
pub(super) const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// A server that ran this long starts again with the first pause.
const HEALTHY: Duration = Duration::from_secs(60);

/// Counts the failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Notes a failure after the server had run for `ran`, and returns how many
    /// there were in a row, this one included.
    pub(super) fn failed(&mut self, ran: Duration) -> u32 {
        if ran >= HEALTHY {
            self.attempts = 0;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.attempts
    }

    /// How long to rest now: twice as long each time, up to half a minute, and
    /// up to a quarter of it less by chance, so that servers that fell
    /// together do not rise together.
    pub(super) fn pause(&self) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        let whole = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        let quarter = u32::try_from(whole.as_micros() / 4).unwrap_or(u32::MAX);
        let chance = u32::try_from(Uuid::new_v4().as_u128() % 1024).unwrap_or(0);
        whole.saturating_sub(Duration::from_micros(
            u64::from(quarter) * u64::from(chance) / 1024,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_half_a_minute_with_at_most_a_quarter_taken_off() {
        let mut backoff = Backoff::default();
        for whole in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            backoff.failed(Duration::ZERO);
            let whole = Duration::from_millis(whole);
            let pause = backoff.pause();
            assert!(pause <= whole && pause >= whole * 3 / 4, "{pause:?}");
        }
    }

    #[test]
    fn a_minute_of_health_is_a_new_beginning() {
        let mut backoff = Backoff::default();
        backoff.failed(Duration::ZERO);
        assert_eq!(backoff.failed(Duration::from_secs(59)), 2);
        assert_eq!(backoff.failed(Duration::from_secs(60)), 1);
        assert!(backoff.pause() <= FIRST);
    }
}
