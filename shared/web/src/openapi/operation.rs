//! One operation of the API: what it takes, and every answer that it gives.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AllOf, Ref, Schema};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, ObjectBuilder, RefOr, Required, ResponseBuilder, Type};

use super::{API_KEY, schema};
use crate::ProblemType;

/// What an example shows, and the example.
pub type Example<'a> = (&'a str, Value);

/// What an operation of the API is described by.
pub struct Operation {
    pub(super) operation: OperationBuilder,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
    answers: BTreeMap<u16, ResponseBuilder>,
    problems: BTreeMap<u16, Vec<ProblemType>>,
    body: Option<RequestBodyBuilder>,
}

impl Operation {
    /// What `operation_id` does, in one line; it may fail as every operation may.
    pub fn new(operation_id: &str, summary: &str) -> Self {
        let operation = OperationBuilder::new()
            .operation_id(Some(operation_id))
            .summary(Some(summary));
        let operation = Self {
            operation,
            schemas: Vec::new(),
            answers: BTreeMap::new(),
            problems: BTreeMap::new(),
            body: None,
        };
        operation.gateway()
    }

    /// What its one line has no room for.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        self.operation = self.operation.description(Some(text));
        self
    }

    /// It needs an API key, for which the tables are asked.
    #[must_use]
    pub fn keyed(mut self) -> Self {
        let key = SecurityRequirement::new::<_, [&str; 0], _>(API_KEY, []);
        self.operation = self.operation.security(key);
        self.problems(&[
            ProblemType::Unauthorized,
            ProblemType::Forbidden,
            ProblemType::RateLimited,
            ProblemType::Unavailable,
            ProblemType::Internal,
        ])
    }

    /// It needs no API key.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.operation = self.operation.securities(Some([]));
        self
    }

    /// A part of its path, and an example of it.
    #[must_use]
    pub fn path(self, name: &str, schema: ObjectBuilder, example: &str) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(schema))
            .example(Some(example.into()));
        self.parameter(parameter)
            .problems(&[ProblemType::InvalidRequest, ProblemType::InvalidField])
    }

    /// A parameter of its query, or a header.
    #[must_use]
    pub fn parameter(mut self, parameter: ParameterBuilder) -> Self {
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// The header that stands in for an id in the body that is omitted.
    #[must_use]
    pub fn idempotency_key(self, bytes_max: usize, description: &str) -> Self {
        let schema = schema::short_text(bytes_max).pattern(Some("^[ -~]+$"));
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema));
        self.parameter(parameter)
    }

    /// The JSON that it takes, `bytes_max` at most, with examples.
    #[must_use]
    pub fn body<T: ToSchema>(self, bytes_max: usize, examples: &[Example<'_>]) -> Self {
        self.json_body::<T>(Required::True, bytes_max, examples)
    }

    /// The same that may be left out.
    #[must_use]
    pub fn optional_body<T: ToSchema>(self, bytes_max: usize, examples: &[Example<'_>]) -> Self {
        self.json_body::<T>(Required::False, bytes_max, examples)
    }

    fn json_body<T: ToSchema>(
        self,
        required: Required,
        bytes_max: usize,
        examples: &[Example<'_>],
    ) -> Self {
        let description = format!(
            "JSON in UTF-8 of at most {bytes_max} bytes, not compressed, no key of an object twice."
        );
        self.content::<T>("application/json", examples)
            .body_described(required, &description)
    }

    /// One of the content types that it takes, of JSON, with examples.
    #[must_use]
    pub fn content<T: ToSchema>(mut self, media_type: &str, examples: &[Example<'_>]) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .examples_from_iter(named(examples))
            .build();
        let body = self.body.take().unwrap_or_default();
        self.body = Some(body.content(media_type, content));
        self
    }

    /// What its content types have in common: among it what a body of JSON is refused for.
    #[must_use]
    pub fn body_described(mut self, required: Required, description: &str) -> Self {
        let body = self.body.take().unwrap_or_default();
        let body = body.description(Some(description)).required(Some(required));
        self.body = Some(body);
        self.problems(&[
            ProblemType::InvalidRequest,
            ProblemType::InvalidField,
            ProblemType::BodyTooLarge,
            ProblemType::UnsupportedEncoding,
        ])
    }

    /// An answer of JSON, with examples.
    #[must_use]
    pub fn answer<T: ToSchema>(
        mut self,
        status: StatusCode,
        description: &str,
        examples: &[Example<'_>],
    ) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .examples_from_iter(named(examples))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/json", content);
        self.response(status, response)
    }

    /// An answer of another form.
    #[must_use]
    pub fn response(mut self, status: StatusCode, response: ResponseBuilder) -> Self {
        self.answers.insert(status.as_u16(), response);
        self
    }

    /// A header that every answer with `status` has.
    #[must_use]
    pub fn header(mut self, status: StatusCode, name: &str, description: &str) -> Self {
        if let Some(response) = self.answers.remove(&status.as_u16()) {
            let response = response.header(name, header(description));
            self.answers.insert(status.as_u16(), response);
        }
        self
    }

    /// Problems that it may answer with.
    #[must_use]
    pub fn problems(mut self, kinds: &[ProblemType]) -> Self {
        for kind in kinds {
            let known = self.problems.entry(kind.status().as_u16()).or_default();
            if !known.contains(kind) {
                known.push(*kind);
            }
        }
        self
    }

    /// Adds the schema of a type that a body's refers to.
    #[must_use]
    pub fn component<T: ToSchema>(mut self) -> Self {
        self.reference::<T>();
        self
    }

    /// The reference to a type's schema, which the document will have.
    fn reference<T: ToSchema>(&mut self) -> Ref {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(T::name())
    }

    /// What API Gateway answers by itself, in words of its own, where a request
    /// does not reach the function or its answer does not come back.
    fn gateway(mut self) -> Self {
        for (status, why) in [
            (413, "The body has more than 10 MB."),
            (429, "More requests than the stage or the account takes."),
            (500, "The function failed."),
            (503, "The function did not answer in time, or is not there."),
        ] {
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("GatewayMessage")))
                .build();
            let response = ResponseBuilder::new()
                .description(format!("API Gateway's own answer. {why}"))
                .content("application/json", content);
            self.answers.insert(status, response);
        }
        self
    }

    pub(super) fn into_parts(mut self) -> (OperationBuilder, Vec<(String, RefOr<Schema>)>) {
        for (status, kinds) in std::mem::take(&mut self.problems) {
            let response = self.answers.remove(&status).unwrap_or_default();
            self.answers
                .insert(status, with_problems(response, status, &kinds));
        }
        let body = self.body.map(RequestBodyBuilder::build);
        let mut operation = self.operation.request_body(body);
        for (status, response) in self.answers {
            operation = operation.response(status.to_string(), response.build());
        }
        (operation, self.schemas)
    }
}

/// `response`, which may be an answer of another kind, or a problem of `kinds`.
fn with_problems(response: ResponseBuilder, status: u16, kinds: &[ProblemType]) -> ResponseBuilder {
    let type_uris: Vec<String> = kinds.iter().map(|kind| kind.type_uri()).collect();
    let only = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .enum_values(Some([status]));
    let narrowed = ObjectBuilder::new()
        .property("type", schema::words(type_uris.iter().map(String::as_str)))
        .property("status", only);
    let narrowed = AllOf::builder()
        .item(Ref::from_schema_name("Problem"))
        .item(narrowed);
    let content = ContentBuilder::new()
        .schema(Some(RefOr::<Schema>::from(narrowed)))
        .build();
    let mut titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
    let before = response.build();
    if !before.description.is_empty() {
        titles.push(&before.description);
    }
    let description = titles.join(". ");
    let response = ResponseBuilder::from(before)
        .description(description)
        .content("application/problem+json", content);
    match status {
        401 => response.header("WWW-Authenticate", header("The scheme: Bearer.")),
        429 | 503 => response.header(
            "Retry-After",
            header("Seconds to wait, in answers of Meterline's own."),
        ),
        _ => response,
    }
}

fn header(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new()
        .schema(Some(schema::text()))
        .description(Some(description))
        .build()
}

fn example(summary: &str, value: Value) -> RefOr<utoipa::openapi::example::Example> {
    RefOr::T(
        ExampleBuilder::new()
            .summary(summary)
            .value(Some(value))
            .build(),
    )
}

/// Examples, numbered.
fn named<'a>(
    examples: &'a [Example<'a>],
) -> impl Iterator<Item = (String, RefOr<utoipa::openapi::example::Example>)> + 'a {
    examples.iter().enumerate().map(|(index, (shows, value))| {
        (
            format!("example_{}", index + 1),
            example(shows, value.clone()),
        )
    })
}
