//! One function's part of the document.

use billing::FieldError;
use utoipa::openapi::path::{HttpMethod, PathItem, Paths};
use utoipa::openapi::schema::Components;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Info, ObjectBuilder, OpenApi, Type};

use super::{Operation, schema};
use crate::{Problem, ProblemType};

/// The operations of one function, and the schemas that they need.
pub struct Part {
    function: &'static str,
    paths: Paths,
    components: Components,
    description: &'static str,
}

impl Part {
    /// The part of `function`, which is its operations' tag.
    pub fn new(function: &'static str, description: &'static str) -> Self {
        Self {
            function,
            description,
            paths: Paths::new(),
            components: Components::new(),
        }
    }

    /// Adds what the function does at `path`.
    #[must_use]
    pub fn operation(mut self, method: HttpMethod, path: &str, operation: Operation) -> Self {
        let (operation, schemas) = operation.into_parts();
        let operation = operation.tag(self.function);
        self.components.schemas.extend(schemas);
        let mut item = PathItem::new(method, operation);
        if let Some(others) = self.paths.paths.remove(path) {
            item.merge_operations(others);
        }
        self.paths.paths.insert(path.to_owned(), item);
        self
    }

    /// The part as a document.
    pub fn into_openapi(self) -> OpenApi {
        let mut document = OpenApi::new(Info::new(self.function, "1"), self.paths);
        document.components = Some(self.components);
        let tag = TagBuilder::new()
            .name(self.function)
            .description(Some(self.description));
        document.tags = Some(vec![tag.build()]);
        document
    }
}

/// The schemas that every operation's answers need.
pub fn shared_components() -> Components {
    let mut components = Components::new();
    let schemas = &mut components.schemas;
    schemas.insert("Problem".to_owned(), problem().into());
    schemas.insert("GatewayMessage".to_owned(), gateway_message().into());
    components
}

fn problem() -> ObjectBuilder {
    let example = Problem::field(&FieldError::new("quantity", "is missing"));
    let type_uris = ProblemType::ALL.map(ProblemType::type_uri);
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "What is wrong (RFC 9457). Match on `type`; `detail` is for the caller's developer and may \
             change. Other members may come.",
        ))
        .property("type", schema::words(type_uris.iter().map(String::as_str)))
        .property("title", schema::text())
        .property("status", schema::whole(400, 599))
        .property("detail", schema::text())
        .property("field", schema::text().description(Some("The field that cannot be accepted.")))
        .property("code", schema::or_null(schema::text().description(Some("Stripe's error code."))))
        .property(
            "stripe_code",
            schema::or_null(schema::text().description(Some("Why Stripe refused the usage event."))),
        )
        .examples(serde_json::to_value(example))
        .required("type")
        .required("title")
        .required("status")
        .required("detail")
}

fn gateway_message() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("What API Gateway says by itself."))
        .property("message", schema::or_null(schema::text()))
        .required("message")
}
