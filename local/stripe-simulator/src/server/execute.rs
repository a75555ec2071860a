//! One request inside the state: done once, replayed after that.

use super::answer::Answer;
use super::request::ApiRequest;
use super::routes;
use crate::api::error::{Result, StripeError};
use crate::call::Call;
use crate::store::database::undo_refused;
use crate::store::idempotency::{self, StoredAnswer};

/// Answers a request. An injected error takes the place of the work.
pub(super) fn execute(
    call: &Call<'_>,
    request: &ApiRequest,
    injected: Option<StripeError>,
) -> Answer {
    // The answer is kept together with what the request did, or neither is.
    let answer = undo_refused(call.db, || match replay(call, request)? {
        Some(answer) => Ok(answer),
        None => first(call, request, injected),
    });
    answer.unwrap_or_else(|error| Answer::refusal(&request.id, request.is_v2(), &error))
}

fn replay(call: &Call<'_>, request: &ApiRequest) -> Result<Option<Answer>> {
    let Some(key) = &request.idempotency_key else {
        return Ok(None);
    };
    let Some(stored) = idempotency::find(call.db, key, call.now())? else {
        return Ok(None);
    };
    if stored.fingerprint == request.fingerprint() {
        return Ok(Some(Answer::replay(request, stored)));
    }
    let message = format!(
        "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{key}' if you meant to execute a different request."
    );
    Err(StripeError::new(400, "idempotency_error", message))
}

fn first(call: &Call<'_>, request: &ApiRequest, injected: Option<StripeError>) -> Result<Answer> {
    let outcome = match injected {
        Some(error) => Err(error),
        None => undo_refused(call.db, || routes::answer(call, request)),
    };
    let is_remembered = outcome.as_ref().err().is_none_or(|error| error.remembered);
    let mut answer = match outcome {
        Ok(value) => Answer::new(request, 200, value.to_string()),
        Err(error) => {
            let body = if request.is_v2() {
                error.body_v2()
            } else {
                error.body(&request.id)
            };
            let mut answer = Answer::new(request, error.status, body.to_string());
            answer.should_retry = error.should_retry;
            answer.retry_after_s = error.retry_after_s;
            answer
        }
    };
    if let Some(key) = request.idempotency_key.as_ref().filter(|_| is_remembered) {
        let stored = StoredAnswer {
            fingerprint: request.fingerprint(),
            request_id: request.id.clone(),
            status: answer.status,
            should_retry: answer.should_retry,
            body: std::mem::take(&mut answer.body),
        };
        idempotency::store(call.db, key, &stored, call.now())?;
        answer.body = stored.body;
    }
    Ok(answer)
}
