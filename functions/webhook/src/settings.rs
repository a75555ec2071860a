//! What the environment says of dunning.

use metering::{DunningPolicy, InvalidDunningPolicy};

/// The environment variable of the grace, in days.
pub const GRACE_DAYS: &str = "DUNNING_GRACE_DAYS";
/// The environment variable of the failed attempts that suspend.
pub const FAILED_ATTEMPTS: &str = "DUNNING_FAILED_ATTEMPTS";

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDunningSetting {
    /// No whole number.
    #[error("{variable} is {value:?}, which is no whole number")]
    NoNumber {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Out of bounds.
    #[error("{GRACE_DAYS} or {FAILED_ATTEMPTS} cannot be used: {0}")]
    Policy(#[from] InvalidDunningPolicy),
}

/// The dunning policy of the environment that `variable` looks up; what is not
/// set is [`DunningPolicy::default`]'s.
///
/// # Errors
/// [`InvalidDunningSetting`].
pub fn dunning_policy(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<DunningPolicy, InvalidDunningSetting> {
    let number = |name: &'static str, default: u16| match variable(name) {
        None => Ok(default),
        Some(value) => value.parse().map_err(|_| InvalidDunningSetting::NoNumber {
            variable: name,
            value,
        }),
    };
    let default = DunningPolicy::default();
    let grace_days = number(GRACE_DAYS, default.grace_days())?;
    let failed_attempts = number(FAILED_ATTEMPTS, default.failed_attempts_max())?;
    Ok(DunningPolicy::new(grace_days, failed_attempts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(variables: &[(&str, &str)]) -> Result<DunningPolicy, InvalidDunningSetting> {
        dunning_policy(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_not_set_has_a_default() {
        assert_eq!(policy(&[]), Ok(DunningPolicy::default()));
        let set = policy(&[(GRACE_DAYS, "3"), (FAILED_ATTEMPTS, "2")]);
        assert_eq!(set, Ok(DunningPolicy::new(3, 2).unwrap()));
        assert_eq!(policy(&[(GRACE_DAYS, "0")]).unwrap().grace_days(), 0);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for variable in [GRACE_DAYS, FAILED_ATTEMPTS] {
            for value in ["two", "-1", "101", ""] {
                let refused = policy(&[(variable, value)]).unwrap_err();
                assert!(refused.to_string().contains(variable), "{refused}");
            }
        }
    }
}
