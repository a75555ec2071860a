//! Durations, and what of them is told: whole microseconds throughout.

use std::time::Duration;

/// Durations of one kind of call, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    /// None yet.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds one.
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(micros(duration));
    }

    /// Adds those of another.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The median, in microseconds; 0 of none.
    pub(crate) fn p50_us(&self) -> u64 {
        self.percentile_us(50)
    }

    /// What 99 of 100 do not exceed, in microseconds; 0 of none.
    pub(crate) fn p99_us(&self) -> u64 {
        self.percentile_us(99)
    }

    fn percentile_us(&self, percent: usize) -> u64 {
        percentile(self.0.clone(), percent)
    }
}

impl FromIterator<u64> for Samples {
    fn from_iter<I: IntoIterator<Item = u64>>(microseconds: I) -> Self {
        Self(microseconds.into_iter().collect())
    }
}

/// The median of `values`; 0 of none.
pub(crate) fn median(values: Vec<u64>) -> u64 {
    percentile(values, 50)
}

/// By the nearest rank.
fn percentile(mut values: Vec<u64>, percent: usize) -> u64 {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    let found = values.get(rank.saturating_sub(1));
    found.copied().unwrap_or_default()
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds as milliseconds with two decimals.
pub(crate) fn ms(us: u64) -> String {
    let hundredths = (us + 5) / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// `a / b` with two decimals.
pub(crate) fn ratio(a: u64, b: u64) -> String {
    if b == 0 {
        return "–".to_owned();
    }
    let hundredths = (a * 100 + b / 2) / b;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// `count` in `elapsed`, by the second.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> u64 {
    count * 1_000_000 / micros(elapsed).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let samples: Samples = (1..=200).rev().collect();
        assert_eq!((samples.p50_us(), samples.p99_us()), (100, 198));
        assert_eq!(Samples::from_iter([7]).p99_us(), 7);
        assert_eq!(Samples::default().p50_us(), 0);
    }

    #[test]
    fn figures_are_rounded_once() {
        assert_eq!(ms(1_995), "2.00");
        assert_eq!(ratio(105, 100), "1.05");
        assert_eq!(ratio(2, 3), "0.67");
        assert_eq!(per_second(500, Duration::from_millis(250)), 2_000);
    }
}
