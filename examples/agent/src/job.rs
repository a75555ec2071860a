//! Event ids, derived from the job: the same work has the same id whenever and
//! wherever it is done again, so that doing it again bills nothing twice.

/// The longest job id, in bytes. It leaves room for a document's name.
pub const JOB_ID_BYTES_MAX: usize = 100;
/// The longest event id that Meterline takes, in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 255;

/// A piece of work that is billed once, however often it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job(String);

/// Why a job id or an event id cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Empty, too long, or with a colon or a control character.
    #[error("a job id has 1 to {JOB_ID_BYTES_MAX} bytes, no colon and no control characters")]
    InvalidJobId,
    /// The document's name makes the event id too long.
    #[error(
        "the name {document_name:?} is too long: an event id has at most {EVENT_ID_BYTES_MAX} bytes"
    )]
    DocumentNameTooLong {
        /// The document's file name.
        document_name: String,
    },
}

impl Job {
    /// Takes a job id.
    ///
    /// A colon is refused because it separates the job from a document's name:
    /// `a:b` + `c` and `a` + `b:c` would be one event id for two documents.
    ///
    /// # Errors
    /// [`JobError::InvalidJobId`].
    pub fn parse(id: &str) -> Result<Self, JobError> {
        let valid = (1..=JOB_ID_BYTES_MAX).contains(&id.len())
            && !id.contains(|c: char| c == ':' || c.is_control());
        if valid {
            Ok(Self(id.to_owned()))
        } else {
            Err(JobError::InvalidJobId)
        }
    }

    /// The event id of a document: `{job}:{name}`.
    ///
    /// # Errors
    /// [`JobError::DocumentNameTooLong`].
    pub fn document_event_id(&self, document_name: &str) -> Result<String, JobError> {
        let event_id = format!("{}:{document_name}", self.0);
        if event_id.len() > EVENT_ID_BYTES_MAX {
            return Err(JobError::DocumentNameTooLong {
                document_name: document_name.to_owned(),
            });
        }
        Ok(event_id)
    }

    /// The event id of operation `number`: `{job}-op-{number}`.
    pub fn operation_event_id(&self, number: u64) -> String {
        format!("{}-op-{number}", self.0)
    }

    /// The number of the operation that has this event id, if it is one of this job.
    pub fn operation_number(&self, event_id: &str) -> Option<u64> {
        let number = event_id
            .strip_prefix(&self.0)?
            .strip_prefix("-op-")?
            .parse()
            .ok()?;
        // "+1" and "01" parse too, but are not ids that this job gives.
        (self.operation_event_id(number) == event_id).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_operations_lead_back_to_their_numbers() {
        let job = Job::parse("nightly").unwrap();
        assert_eq!(job.operation_number(&job.operation_event_id(17)), Some(17));
        for foreign in [
            "nightly-op-",
            "nightly-op-017",
            "nightly-op-+1",
            "weekly-op-1",
        ] {
            assert_eq!(job.operation_number(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn ids_that_would_be_ambiguous_or_too_long_are_refused() {
        for id in ["", "a:b", "a\nb", &"x".repeat(JOB_ID_BYTES_MAX + 1)] {
            assert_eq!(Job::parse(id), Err(JobError::InvalidJobId), "{id:?}");
        }
        let job = Job::parse("nightly").unwrap();
        assert_eq!(job.document_event_id("a:b.md").unwrap(), "nightly:a:b.md");
        assert!(job.document_event_id(&"x".repeat(250)).is_err());
    }
}
