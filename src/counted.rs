//! A number with what it counts: `1 key`, `2 keys`.

use std::fmt;

/// Shows a number with a noun that takes an `s` where it is not one.
#[derive(Clone, Copy, Debug)]
pub struct Counted<N>(pub N, pub &'static str);

impl<N: fmt::Display + PartialEq + From<u8>> fmt::Display for Counted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, noun) = self;
        let ending = if *number == N::from(1) { "" } else { "s" };
        write!(f, "{number} {noun}{ending}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let shown = [0_usize, 1, 2].map(|number| Counted(number, "key").to_string());
        assert_eq!(shown, ["0 keys", "1 key", "2 keys"]);
    }
}
