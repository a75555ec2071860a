//! By which of Stripe's APIs usage is reported.

use std::fmt;
use std::str::FromStr;

/// The API by which an account's usage is reported. It belongs to the account's
/// prices: a metered price has a meter, which takes meter events, or has none
/// and takes usage records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UsageApi {
    /// `POST /v2/billing/meter_event_stream`: made for rate, checked later
    /// (Stripe API reference: v2 Meter Event Stream).
    #[default]
    MeterEventStream,
    /// `POST /v1/billing/meter_events`: checked in the call, one call at a time
    /// for each customer and meter (Stripe API reference: Meter Events).
    MeterEvent,
    /// `POST /v1/subscription_items/{id}/usage_records`: for accounts whose
    /// metered prices have no meter (Stripe API reference: Usage Records, of
    /// versions before `2025-03-31.basil`).
    UsageRecord,
}

/// No API of this name.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("USAGE_API is {0:?}, which is none of meter_event_stream, meter_event and usage_record")]
pub struct UnknownUsageApi(pub String);

/// In words: a program that ends by it prints this form.
impl fmt::Debug for UnknownUsageApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl UsageApi {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MeterEventStream, Self::MeterEvent, Self::UsageRecord];

    /// The environment variable that chooses one.
    pub const VARIABLE: &str = "USAGE_API";

    /// Its name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MeterEventStream => "meter_event_stream",
            Self::MeterEvent => "meter_event",
            Self::UsageRecord => "usage_record",
        }
    }

    /// Whether the usage goes to a meter.
    pub const fn has_meter(self) -> bool {
        !matches!(self, Self::UsageRecord)
    }
}

impl fmt::Display for UsageApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for UsageApi {
    type Err = UnknownUsageApi;

    fn from_str(name: &str) -> Result<Self, UnknownUsageApi> {
        let mut all = Self::ALL.into_iter();
        all.find(|api| api.as_str() == name)
            .ok_or_else(|| UnknownUsageApi(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_back_and_no_other() {
        for api in UsageApi::ALL {
            assert_eq!(api.as_str().parse(), Ok(api));
        }
        for name in ["", "meter_events", "Meter_Event", " meter_event"] {
            let refused = name.parse::<UsageApi>().unwrap_err();
            assert_eq!(refused, UnknownUsageApi(name.to_owned()));
            for told in [format!("{refused}"), format!("{refused:?}")] {
                assert!(
                    told.contains("USAGE_API") && told.contains("usage_record"),
                    "{told}"
                );
            }
        }
    }
}
