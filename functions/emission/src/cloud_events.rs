//! `POST /v1/events`: usage as CloudEvents 1.0.2, for emitters that speak that
//! already.
//!
//! | module | does |
//! | --- | --- |
//! | `message` | finds the events in a request ("HTTP Protocol Binding", "JSON Event Format") |
//! | `event` | reads an event as usage ("CloudEvents - Version 1.0.2") |

mod event;
mod message;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use web::{Metrics, Problem};

pub(crate) use event::{RESERVATION, SPEC_VERSION};
pub(crate) use message::{BATCHED, STRUCTURED};

use event::attribute;
use message::Message;

use crate::emitter::Emitter;
use crate::routes::{Agent, BatchAnswer, emit_each, emit_one};

/// Emits one event, and answers as `POST /v1/usage`; or up to 100, and answers as
/// `POST /v1/usage/batch`.
///
/// # Errors
/// Those of the two, with the attribute's name in place of the field's; and 415 where
/// the content type is that of no CloudEvent in JSON.
pub(crate) async fn receive(
    State(emitter): State<Arc<Emitter>>,
    State(metrics): State<Metrics>,
    Agent(caller): Agent,
    message: Message,
) -> Result<Response, Problem> {
    let in_their_words = |problem: Problem| problem.with_field_named(attribute);
    match message {
        Message::Event(event) => {
            let emission = event::usage_event(&event).map_err(in_their_words)?;
            let emitted = emit_one(&emitter, &metrics, &caller, emission).await;
            emitted.map_err(in_their_words)
        }
        Message::Batch(events) => {
            let read = events.iter().map(event::usage_event).collect();
            let outcomes = emit_each(&emitter, &metrics, &caller, read).await;
            let outcomes = outcomes.into_iter().map(|it| it.map_err(in_their_words));
            let ids = events.iter().map(|event| event["id"].as_str());
            Ok(Json(BatchAnswer::of(ids.zip(outcomes))).into_response())
        }
    }
}
