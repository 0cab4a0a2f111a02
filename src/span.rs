//! Lengths of time, in words.

use jiff::SignedDuration;

/// `3 days`, `1 hour`, `20 minutes`: rounded down, to one unit.
pub fn in_words(time: SignedDuration) -> String {
    let minutes = time.as_secs() / 60;
    let (count, unit) = match minutes {
        ..=0 => return "less than a minute".to_owned(),
        1..120 => (minutes, "minute"),
        120..2880 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_something_is_open_is_said_in_one_unit() {
        for (seconds, expected) in [
            (-5, "less than a minute"),
            (59, "less than a minute"),
            (60, "1 minute"),
            (3_600, "60 minutes"),
            (7_200, "2 hours"),
            (86_400, "24 hours"),
            (259_200, "3 days"),
        ] {
            assert_eq!(in_words(SignedDuration::from_secs(seconds)), expected);
        }
    }
}
