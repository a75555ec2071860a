//! With what a scenario is started, checked before anything is asked of Stripe.

use std::path::PathBuf;
use std::time::Duration;

use crate::options::{Options, OptionsError};
use crate::story::{self, StoryError};

const API_BASE: &str = "https://api.stripe.com";
const METER_EVENTS_BASE: &str = "https://meter-events.stripe.com";
const SECRET_KEY: &str = "STRIPE_SECRET_KEY";

/// The keys of test mode: a secret one and a restricted one.
const TEST_KEYS: [&str; 2] = ["sk_test_", "rk_test_"];

const RUN_ID_LENGTH: usize = 10;

/// Stripe is asked for events this often; the requests of the functions have the
/// rest of what test mode takes.
const POLL_EVENTS_EVERY: Duration = Duration::from_secs(1);

/// Why no scenario is played. Nothing was asked of Stripe.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no key.
    #[error("STRIPE_SECRET_KEY must be set, to a key of test mode: sk_test_… or rk_test_…")]
    NoKey,
    /// The key is of live mode, or none of Stripe's.
    #[error(
        "STRIPE_SECRET_KEY is not of test mode: the scenario takes sk_test_… and rk_test_… only, \
         and has asked nothing of Stripe"
    )]
    NoTestKey,
    /// Something else in the environment.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

/// What a system for the run `run_id` is started with: all its state in
/// `local_dir`, free ports, DynamoDB here, and Stripe itself unless the
/// environment names another address.
///
/// # Errors
/// A [`SettingsError`], which does not tell the key.
pub fn options(
    variable: impl Fn(&str) -> Option<String>,
    local_dir: impl Into<PathBuf>,
    run_id: &str,
) -> Result<Options, SettingsError> {
    let key = variable(SECRET_KEY).ok_or(SettingsError::NoKey)?;
    if !TEST_KEYS.iter().any(|prefix| key.starts_with(prefix)) {
        return Err(SettingsError::NoTestKey);
    }
    let api_base = variable("STRIPE_API_BASE").unwrap_or_else(|| API_BASE.to_owned());
    let is_stripes = api_base.trim_end_matches('/') == API_BASE;
    let environment = Options::from_variables(|name| match name {
        "STRIPE_API_BASE" => Some(api_base.clone()),
        "STRIPE_METER_EVENTS_BASE" => {
            variable(name).or_else(|| is_stripes.then(|| METER_EVENTS_BASE.to_owned()))
        }
        SECRET_KEY | stripe::UsageApi::VARIABLE => variable(name),
        _ => None,
    })?;
    Ok(Options {
        local_dir: local_dir.into(),
        meterline_port: 0,
        dynamodb_port: 0,
        poll_events_every: Some(POLL_EVENTS_EVERY),
        run_id: Some(run_id.to_owned()),
        ..environment
    })
}

/// An id for a run that no other has.
///
/// # Errors
/// [`StoryError::Random`].
pub fn new_run_id() -> Result<String, StoryError> {
    story::random_name()
}

/// The id of an earlier run, as it was printed. Whatever bears it is ended, so
/// that nothing shorter will do.
///
/// # Errors
/// What an id is like.
pub fn parse_run_id(text: &str) -> Result<String, String> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == RUN_ID_LENGTH && text.bytes().all(is_hex) {
        Ok(text.to_owned())
    } else {
        Err(format!("the id of a run is {RUN_ID_LENGTH} hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(key: Option<&str>) -> SettingsError {
        let variable = |name: &str| key.filter(|_| name == SECRET_KEY).map(str::to_owned);
        options(variable, "folder", "run").unwrap_err()
    }

    #[test]
    fn only_keys_of_test_mode_are_taken() {
        assert!(matches!(refused(None), SettingsError::NoKey));
        for key in [
            "sk_live_51Hidden",
            "rk_live_51Hidden",
            "pk_test_51Hidden",
            "51Hidden",
        ] {
            let refused = refused(Some(key));
            assert!(matches!(refused, SettingsError::NoTestKey), "{refused}");
            assert!(!format!("{refused} {refused:?}").contains("Hidden"));
        }
    }

    #[test]
    fn an_id_is_one_that_a_run_had() {
        let run_id = new_run_id().unwrap();
        assert_eq!(parse_run_id(&run_id), Ok(run_id.clone()));
        for text in ["", "-", &run_id[1..], "0A1B2C3D4E", "../../meters"] {
            assert!(parse_run_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_an_address_it_is_stripe_itself() {
        for (api_base, expected) in [
            (None, METER_EVENTS_BASE),
            (Some("https://api.stripe.com/"), METER_EVENTS_BASE),
            (Some("http://127.0.0.1:1"), "http://127.0.0.1:1"),
        ] {
            let options = options(
                |name| match name {
                    SECRET_KEY => Some("rk_test_1".to_owned()),
                    "STRIPE_API_BASE" => api_base.map(str::to_owned),
                    _ => None,
                },
                "folder",
                "run",
            );
            let stripe = options.unwrap().stripe_elsewhere.unwrap();
            assert_eq!(stripe.meter_events_base, expected);
            assert_eq!(stripe.api_base, api_base.unwrap_or(API_BASE));
        }
    }
}
