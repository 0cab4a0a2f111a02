//! What an instance of a server was told of the session that it is for.

/// Since when a session is on a replica without a break (milliseconds since 1970), where
/// its server has several. An instance that it comes back to knows nothing of what was
/// done elsewhere.
pub type Stay = Option<i64>;

/// In which stay of its session an instance was last told to resume it. A later one is
/// greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resumed {
    /// In none.
    #[default]
    Never,
    /// It is being told. If we are dead, nobody knows whether it was.
    Begun,
    /// In this one.
    In(Stay),
}

impl Resumed {
    /// Whether it needs to be told nothing in this stay: it was told in it, or in a
    /// later one, where the session is with two principals who came at different times.
    pub fn is_done_in(self, stay: Stay) -> bool {
        self >= Self::In(stay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_needs_telling_once_and_whatever_came_before_it_counts_for_nothing() {
        let all = [
            Resumed::Never,
            Resumed::Begun,
            Resumed::In(None),
            Resumed::In(Some(1)),
            Resumed::In(Some(2)),
        ];
        let done = |stay: Stay| all.map(|resumed| resumed.is_done_in(stay));
        assert_eq!(done(None), [false, false, true, true, true]);
        assert_eq!(done(Some(1)), [false, false, false, true, true]);
        assert_eq!(done(Some(2)), [false, false, false, false, true]);
    }
}
