//! How long to wait between attempts, as Stripe's own SDKs do: doubling from
//! half a second to five, times a random factor between a half and one, never
//! under the first delay. In integers: milliseconds, and a random `u64` that
//! stands for a fraction of 2^64.

/// The longest `Retry-After` that is waited for. Beyond it the caller is told
/// instead, who may have better things to do than to sleep.
const RETRY_AFTER_MS_MAX: u64 = 60_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) shortest_ms: u64,
    pub(crate) longest_ms: u64,
}

impl Backoff {
    /// The wait after `failures` failed attempts (one or more); none where
    /// Stripe asks for a longer one than is reasonable.
    pub(crate) fn delay_ms(
        self,
        failures: u32,
        random: u64,
        retry_after_ms: Option<u64>,
    ) -> Option<u64> {
        let asked_ms = retry_after_ms.unwrap_or(0);
        if asked_ms > RETRY_AFTER_MS_MAX {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(63);
        let full_ms = self
            .shortest_ms
            .saturating_mul(1 << doublings)
            .min(self.longest_ms);
        let half_ms = full_ms / 2;
        let spread_ms = (u128::from(full_ms - half_ms) * u128::from(random)) >> 64;
        let jittered_ms = half_ms.saturating_add(u64::try_from(spread_ms).unwrap_or(u64::MAX));
        Some(jittered_ms.max(self.shortest_ms).max(asked_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STRIPES: Backoff = Backoff {
        shortest_ms: 500,
        longest_ms: 5_000,
    };

    #[test]
    fn doubles_up_to_the_cap() {
        let longest = |failures| STRIPES.delay_ms(failures, u64::MAX, None).unwrap();
        let delays: Vec<u64> = (1..=6).map(longest).collect();
        assert_eq!(delays, [500, 999, 1_999, 3_999, 4_999, 4_999]);
        let shortest: Vec<u64> = (1..=6)
            .map(|failures| STRIPES.delay_ms(failures, 0, None).unwrap())
            .collect();
        assert_eq!(shortest, [500, 500, 1_000, 2_000, 2_500, 2_500]);
    }

    #[test]
    fn waits_as_long_as_stripe_asks_within_reason() {
        assert_eq!(STRIPES.delay_ms(1, 0, Some(3_000)), Some(3_000));
        assert_eq!(STRIPES.delay_ms(1, 0, Some(60_000)), Some(60_000));
        assert_eq!(STRIPES.delay_ms(1, 0, Some(60_001)), None);
        assert_eq!(STRIPES.delay_ms(4, 0, Some(1)), Some(2_000));
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(failures in 0_u32.., random: u64, shortest_ms in 0_u64..10_000, more_ms in 0_u64..10_000) {
            let backoff = Backoff { shortest_ms, longest_ms: shortest_ms + more_ms };
            let delay_ms = backoff.delay_ms(failures, random, None).unwrap();
            prop_assert!((shortest_ms..=shortest_ms + more_ms).contains(&delay_ms));
        }
    }
}
