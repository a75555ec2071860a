//! Ids, derived from the job: the same work has the same id whenever and wherever
//! it is done again, so that doing it again bills nothing twice.

/// The longest job id, in bytes. It leaves room for an operation's number in an
/// event id.
pub const JOB_ID_BYTES_MAX: usize = 100;

/// A piece of work that is billed once, however often it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job(String);

/// A job id that cannot be used: empty, too long, or with a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job id has 1 to {JOB_ID_BYTES_MAX} bytes and no control characters")]
pub struct InvalidJobId;

impl Job {
    /// Takes a job id.
    ///
    /// # Errors
    /// [`InvalidJobId`].
    pub fn parse(id: &str) -> Result<Self, InvalidJobId> {
        let valid =
            (1..=JOB_ID_BYTES_MAX).contains(&id.len()) && !id.contains(|c: char| c.is_control());
        if valid {
            Ok(Self(id.to_owned()))
        } else {
            Err(InvalidJobId)
        }
    }

    /// The job id of a document, `{job}/{name}`: that of the agents in Python and
    /// TypeScript, so that a job may move from one to the other. A file's name has no
    /// slash, so no two documents share one.
    pub fn of_document(&self, document_name: &str) -> String {
        format!("{}/{document_name}", self.0)
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
    fn ids_that_are_empty_too_long_or_not_one_line_are_refused() {
        for id in ["", "a\nb", &"x".repeat(JOB_ID_BYTES_MAX + 1)] {
            assert_eq!(Job::parse(id), Err(InvalidJobId), "{id:?}");
        }
    }
}
