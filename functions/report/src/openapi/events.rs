//! The audit log's lists and exports, described.

use audit::ExportFormat;
use axum::http::StatusCode;
use billing::usage_event::ACTION_TYPE_LENGTH_MAX;
use serde_json::{Value, json};
use utoipa::openapi::path::ParameterBuilder;
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Required, ResponseBuilder};
use web::ProblemType;
use web::openapi::{Operation, schema};

use super::{of_a_customer, query, recorded};
use crate::events::{
    EXPORT_LIMIT_MAX, FORMAT_DEFAULT, LIMIT_DEFAULT, LIMIT_MAX, ListAnswer,
    METER_EVENT_NAME_LENGTH_MAX,
};

/// A cursor of the API's own making.
const CURSOR: &str =
    "0000019c1373120a5b0c3e0f8a4d2c6b7e9f1a3d5c7b8e0f2a4c6d8e1b3f5a7c9d0e2f4b6a8c0d1e";

pub(super) fn list() -> Operation {
    let (_, event) = recorded();
    let page = json!({ "events": [event], "next_cursor": CURSOR });
    let limit = limit(LIMIT_MAX).default(Some(LIMIT_DEFAULT.into()));
    let operation = of_a_customer("listUsageEvents", "Usage events, the last to happen first")
        .description(
            "The audit log, page by page: no event is on two pages, and none between two. One that is \
             recorded is listed within a moment; one that happened before a page's first event and is \
             recorded later is on no page after it. At most 1,000 events are looked at for an answer: \
             with a filter a page may hold few, or none, and have a `next_cursor`.",
        )
        .parameter(query("limit", Required::False, limit));
    filtered(operation)
        .answer::<ListAnswer>(StatusCode::OK, "A page.", &[("One event", page)])
        .problems(&[ProblemType::CustomerNotFound])
}

pub(super) fn export() -> Operation {
    let limit = limit(EXPORT_LIMIT_MAX).default(Some(EXPORT_LIMIT_MAX.into()));
    let format = schema::words(ExportFormat::WORDS).default(Some(FORMAT_DEFAULT.into()));
    let operation = of_a_customer("exportUsageEvents", "Usage events as a file, in parts")
        .description(
            "What happened first comes first. An answer is a part of the file, at most 4 MB; \
             where there is more, its header `Link` names the next part with `rel=\"next\"`, and the parts \
             after one another are the file. A part can be asked for again. In CSV (RFC 4180) a text that \
             a spreadsheet could take for a formula has an apostrophe before it; JSON lines have every \
             event as `listUsageEvents` shows it.",
        )
        .parameter(query("format", Required::False, format))
        .parameter(query("limit", Required::False, limit).description(Some("Events of a part.")));
    let response = [
        (ExportFormat::Csv, schema::text()),
        (ExportFormat::Jsonl, schema::text()),
    ]
    .into_iter()
    .fold(
        ResponseBuilder::new().description("A part of the file."),
        |response, (format, schema)| {
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response.content(format.content_type(), content)
        },
    );
    filtered(operation)
        .response(StatusCode::OK, response)
        .header(
            StatusCode::OK,
            "Content-Disposition",
            "A name for the file.",
        )
        .header(
            StatusCode::OK,
            "Link",
            "The next part, with rel=\"next\" (RFC 8288); absent from the last one.",
        )
        .problems(&[ProblemType::CustomerNotFound])
}

fn limit(max: u32) -> ObjectBuilder {
    schema::whole(1, usize::try_from(max).unwrap_or_default())
}

fn filtered(operation: Operation) -> Operation {
    let time = |name: &str, description: &str| -> ParameterBuilder {
        query(name, Required::False, schema::wire_time()).description(Some(description))
    };
    let action_type = schema::pattern(&format!("^[A-Za-z0-9_.:-]{{1,{ACTION_TYPE_LENGTH_MAX}}}$"));
    let meter = schema::text().max_length(Some(METER_EVENT_NAME_LENGTH_MAX));
    let cursor = schema::pattern("^[0-9a-f]{80}$");
    operation
        .parameter(
            query("cursor", Required::False, cursor)
                .example(Some(Value::from(CURSOR)))
                .description(Some("The page after the one that named it. Of any other text: 400.")),
        )
        .parameter(time("from", "Happened then or later."))
        .parameter(time("to", "Happened before then; later than `from`."))
        .parameter(time(
            "billed_from",
            "Is billed then or later. Without `from`, what happened up to 36 days before it is looked at.",
        ))
        .parameter(time(
            "billed_to",
            "Is billed before then; later than `billed_from`.",
        ))
        .parameter(query("action_type", Required::False, action_type))
        .parameter(query("status", Required::False, schema::usage_status()))
        .parameter(
            query("meter_event_name", Required::False, meter)
                .description(Some("Is counted by the meter of this event name.")),
        )
}
