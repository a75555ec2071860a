//! What a period is likely to come to: docs/dashboard.md says it in words.

/// Fewer complete days say nothing about the days to come.
pub(crate) const DAYS_MIN: usize = 3;

const HOURS_OF_DAY: u64 = 24;

/// Units that a period may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Projected {
    /// If what remains is like the quieter days so far.
    pub(crate) low: u64,
    /// If it is like the average day so far.
    pub(crate) middle: u64,
    /// If it is like the busier days so far.
    pub(crate) high: u64,
}

impl Projected {
    /// Of a meter that counted nothing.
    pub(crate) const NOTHING: Self = Self {
        low: 0,
        middle: 0,
        high: 0,
    };
}

/// What a period comes to of which `used` units are over, the complete days `daily`
/// among them, and `remaining_hours` are still to come. None from too few days.
///
/// The quieter and the busier days are the quartiles by nearest rank, so that a single
/// odd day moves neither. Where the mean lies beyond them, it is the bound.
pub(crate) fn project(daily: &[u64], used: u64, remaining_hours: u64) -> Option<Projected> {
    if daily.len() < DAYS_MIN {
        return None;
    }
    let days = u128::try_from(daily.len()).ok()?;
    let sum: u128 = daily.iter().copied().map(u128::from).sum();
    let mut sorted = daily.to_vec();
    sorted.sort_unstable();
    let at_rank = |quarter: usize| {
        let rank = (sorted.len() * quarter).div_ceil(4).max(1);
        sorted.get(rank - 1).copied().map(u128::from)
    };
    let to_come = |units: u128, days: u128| {
        let hours = u128::from(remaining_hours);
        let divisor = u128::from(HOURS_OF_DAY) * days;
        let units = units.saturating_mul(hours).saturating_add(divisor / 2) / divisor;
        used.saturating_add(u64::try_from(units).unwrap_or(u64::MAX))
    };
    let middle = to_come(sum, days);
    Some(Projected {
        low: to_come(at_rank(1)?, 1).min(middle),
        middle,
        high: to_come(at_rank(3)?, 1).max(middle),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_days_go_on_evenly() {
        let projected = project(&[10, 10, 10, 10], 45, 240).unwrap();
        assert_eq!(
            (projected.low, projected.middle, projected.high),
            (145, 145, 145)
        );
    }

    #[test]
    fn uneven_days_give_a_range_around_the_mean() {
        let projected = project(&[4, 8, 12, 16], 50, 48).unwrap();
        assert_eq!(
            (projected.low, projected.middle, projected.high),
            (58, 70, 74)
        );
    }

    #[test]
    fn one_odd_day_moves_the_mean_but_not_the_quieter_days() {
        let projected = project(&[0, 0, 0, 0, 100], 100, 24).unwrap();
        assert_eq!(
            (projected.low, projected.middle, projected.high),
            (100, 120, 120)
        );
    }

    #[test]
    fn too_few_days_say_nothing() {
        assert_eq!(project(&[5, 5], 10, 24), None);
        assert_eq!(project(&[], 0, 24), None);
        assert!(project(&[0, 0, 0], 0, 24).is_some());
    }

    #[test]
    fn a_period_that_is_over_comes_to_what_was_used() {
        let projected = project(&[7, 9, 8], 24, 0).unwrap();
        assert_eq!(
            (projected.low, projected.middle, projected.high),
            (24, 24, 24)
        );
    }

    #[test]
    fn no_number_is_too_large() {
        let projected = project(&[u64::MAX; 3], u64::MAX, u64::MAX).unwrap();
        assert_eq!(projected.high, u64::MAX);
    }
}
