//! The name of a billable action, by which it counts once.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Hex digits of an id that is derived from a job.
const JOB_DIGITS: usize = 40;

/// The event id of `action_type` within the job that the caller calls `job_id`:
/// the same whenever and wherever the job is run again, in every language's client.
///
/// It is `job-` and the first 40 hex digits of SHA-256 over `meterline job 1`, the
/// job id and the action, with a line feed between them.
pub fn event_id_of_job(job_id: &str, action_type: &str) -> String {
    let named = format!("meterline job 1\n{job_id}\n{action_type}");
    let digest = hex::encode(Sha256::digest(named));
    let digits: String = digest.chars().take(JOB_DIGITS).collect();
    format!("job-{digits}")
}

/// An id that nothing else has, of an event or a reservation. It must be kept for every
/// retry.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both are in `clients/conformance`, too.
    #[test]
    fn a_job_has_one_id_for_each_action_in_every_language() {
        for (job_id, action_type, expected) in [
            (
                "nightly-7",
                "document_processed",
                "job-eb32d319a4b1c99165d1c0fdd3153a06eaaf98d7",
            ),
            (
                "Äpfel-日本-🚲",
                "page_read",
                "job-954d27c73ab48c79cb3a173ad97371e8d6bad324",
            ),
        ] {
            assert_eq!(event_id_of_job(job_id, action_type), expected);
        }
    }
}
