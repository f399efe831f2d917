//! How near the process is to what it may use, and who has the most of it.
//!
//! At one bound those who have the most get nothing new, at the next nobody does. Work that is there stays:
//! ending it would bring its clients back at once, to a gateway that has no room for them.

/// Beyond this share of a budget the hungriest get nothing new.
const STRAINED_PERCENT: u128 = 80;
/// Beyond this one nobody does.
const FULL_PERCENT: u128 = 90;
/// A level is left only so far below its bound, so that it does not flutter.
const EASE_PERCENT: u128 = 5;

/// How near one budget is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is room.
    #[default]
    Calm,
    /// The hungriest get nothing new.
    Strained,
    /// Nobody gets anything new.
    Full,
}

impl Level {
    /// What follows from this much used of a budget, after this level.
    pub fn after(self, used: u64, budget: u64) -> Self {
        let is_over = |percent| u128::from(used) * 100 > u128::from(budget) * percent;
        let rises = |level: Self, percent| {
            is_over(if self >= level { percent - EASE_PERCENT } else { percent })
        };
        if rises(Self::Full, FULL_PERCENT) {
            Self::Full
        } else if rises(Self::Strained, STRAINED_PERCENT) {
            Self::Strained
        } else {
            Self::Calm
        }
    }

    /// A name from a closed set, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Strained => "strained",
            Self::Full => "full",
        }
    }
}

/// The one who has the most; nobody where nobody has anything.
pub fn hungriest<T>(shares: impl IntoIterator<Item = (T, u64)>) -> Option<T> {
    let has_some = shares.into_iter().filter(|(_, share)| *share > 0);
    has_some.max_by_key(|(_, share)| *share).map(|(who, _)| who)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_at_their_bounds_and_fall_below_them() {
        let mut level = Level::default();
        let mut seen = Vec::new();
        for used in [0, 80, 81, 90, 91, 100, 86, 85, 77, 76, 75, 81, 200, 0] {
            level = level.after(used, 100);
            seen.push(level);
        }
        use Level::{Calm, Full, Strained};
        assert_eq!(
            seen,
            [
                Calm, Calm, Strained, Strained, Full, Full, Full, Strained, Strained, Strained,
                Calm, Strained, Full, Calm
            ]
        );
    }

    #[test]
    fn nine_thousand_connections_find_room_in_twenty_thousand_descriptors() {
        assert_eq!(Level::Strained.after(2 * 9_000, 20_000), Level::Strained);
        assert_eq!(Level::Strained.after(2 * 9_000 + 1, 20_000), Level::Full);
    }

    #[test]
    fn huge_numbers_do_not_overflow() {
        let after = |used| Level::Calm.after(used, u64::MAX);
        assert_eq!([after(u64::MAX), after(1)], [Level::Full, Level::Calm]);
    }

    #[test]
    fn who_has_the_most_is_the_hungriest() {
        assert_eq!(hungriest([("chat", 1), ("feed", 3), ("page", 0)]), Some("feed"));
        assert_eq!(hungriest([("chat", 0)]), None);
    }
}
