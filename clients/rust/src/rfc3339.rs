//! Times as the API writes them: RFC 3339.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serializer, de, ser};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The years 2000 to 2100, which the API takes, in unix seconds.
const TAKEN_UNIX_S: RangeInclusive<u64> = 946_684_800..=4_102_444_800;

/// None where the API would not take `time`.
pub(crate) fn text(time: SystemTime) -> Option<String> {
    let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
    let is_taken = TAKEN_UNIX_S.contains(&since_epoch.as_secs());
    is_taken.then(|| rfc3339(since_epoch)).flatten()
}

fn rfc3339(since_epoch: Duration) -> Option<String> {
    let time = OffsetDateTime::UNIX_EPOCH.checked_add(since_epoch.try_into().ok()?)?;
    time.format(&Rfc3339).ok()
}

pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let text = text(*time).ok_or_else(|| ser::Error::custom("no time between 2000 and 2100"))?;
    to.serialize_str(&text)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(from)?;
    let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)?;
    Ok(time.into())
}
