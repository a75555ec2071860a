//! The system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use billing::{Clock, Timestamp};

/// The present, by the machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 or after the year 292 million names no instant.
        let unix_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok());
        Timestamp::from_unix_ms(unix_ms.unwrap_or_default())
    }
}
