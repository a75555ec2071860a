//! Whether a customer may act.

use serde::Deserialize;

/// What Meterline says before an action.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Access {
    /// Whether the customer may act.
    pub allowed: bool,
    /// Why not, in words.
    #[serde(default)]
    pub reason: Option<String>,
    /// The customer's standing, such as `active` or `suspended`.
    pub status: String,
    /// Units of the current period so far.
    pub units: u64,
    /// The most units of a period, where there is such a limit.
    #[serde(default)]
    pub limit: Option<u64>,
}
