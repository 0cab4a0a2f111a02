//! What holds of the lines of a client, whatever it writes.

use super::lines::Line;
use super::lines::Lines;
use crate::fuzzing::Pieces;
use crate::fuzzing::now;
use crate::fuzzing::stream;

/// However the bytes come in, the lines are those of a plain split: blank ones are
/// passed over, each that is too long is told of once, and memory is bounded.
pub fn client_lines(input: &[u8]) {
    let Some((limit, seed, bytes)) = stream(input) else {
        return;
    };
    let mut lines = Lines::new(Pieces::new(&bytes, seed), limit);
    let mut found = Vec::new();
    while let Ok(Some(line)) = now(lines.next()) {
        assert!(lines.held() <= 2 * limit.max(8));
        found.push(line);
    }
    let due = bytes.split(|&byte| byte == b'\n').filter_map(|line| {
        match (line.len() > limit, line.trim_ascii().is_empty()) {
            (true, _) => Some(Line::TooLong),
            (false, true) => None,
            (false, false) => Some(Line::Whole(line.to_vec())),
        }
    });
    assert_eq!(found, due.collect::<Vec<_>>());
    assert!(matches!(now(lines.next()), Ok(None)));
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_kept_of_the_lines_of_clients_is_split_plainly() {
        crate::fuzzing::replay("framing", super::client_lines);
    }
}
