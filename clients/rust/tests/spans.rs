//! What a trace shows of a call.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meterline_client::{AccessQuery, Emit, ReservationRequest, Usage};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Subscriber, subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::support::{Scripted, Step, answer};

/// The fields of spans, in the order in which these began.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

struct Span {
    id: Id,
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
}

impl Spans {
    /// Looks at what this thread does, as long as the guard lives.
    fn watch() -> (Self, DefaultGuard) {
        let spans = Self::default();
        let subscriber = tracing_subscriber::registry().with(spans.clone());
        (spans, subscriber::set_default(subscriber))
    }

    /// The fields of the only span of this name, without what an exporter alone wants.
    fn of(&self, name: &str) -> BTreeMap<&'static str, String> {
        let mut spans = self.0.lock().unwrap();
        let mut found: Vec<Span> = spans.extract_if(.., |span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        let mut fields = found.remove(0).fields;
        assert_eq!(fields.remove("otel.kind").as_deref(), Some("client"));
        fields
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.0.lock().unwrap().push(Span {
            id: id.clone(),
            name: attributes.metadata().name(),
            fields: fields.0,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        let mut spans = self.0.lock().unwrap();
        // An id may be that of another span, once its own has ended.
        let mut spans = spans.iter_mut().rev();
        let span = spans.find(|span| span.id == *id).unwrap();
        span.fields.extend(fields.0);
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

fn usage() -> Usage {
    Usage::new("cus_1", "page_read").quantity(3).event_id("a")
}

/// With the names of the clients in other languages.
fn fields<const N: usize>(fields: [(&'static str, &str); N]) -> BTreeMap<&'static str, String> {
    fields.map(|(name, value)| (name, value.to_owned())).into()
}

#[tokio::test]
async fn the_span_of_an_event_says_whose_it_is_and_what_became_of_it() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let (spans, _watched) = Spans::watch();
    for (duplicates, reservation) in [("0", Some("run-1")), ("1", None)] {
        let usage = match reservation {
            Some(id) => {
                let request = ReservationRequest::new("cus_1", "page_read", 5);
                client.reserve(request.reservation_id(id)).await.unwrap();
                usage().reservation_id(id)
            }
            None => usage(),
        };
        client.emit(usage).await.unwrap();
        let mut expected = fields([
            ("meterline.events", "1"),
            ("meterline.customer_id", "cus_1"),
            ("meterline.action_type", "page_read"),
            ("meterline.quantity", "3"),
            ("meterline.event_id", "a"),
            ("meterline.status", "delivered"),
            ("meterline.duplicates", duplicates),
        ]);
        if let Some(id) = reservation {
            expected.insert("meterline.reservation_id", id.to_owned());
            expected.insert("meterline.reservation", "settled".to_owned());
        }
        assert_eq!(spans.of("meterline.emit"), expected);
    }
}

#[tokio::test]
async fn the_span_of_a_call_that_failed_says_why() {
    let refused = answer(403, "forbidden");
    let meterline = Scripted::start([refused.clone(), Step::Vanish, refused]).await;
    let impatient = meterline.builder().retry_budget(Duration::ZERO);
    let client = impatient.build().unwrap();
    let (spans, _watched) = Spans::watch();
    for status in ["refused", "perhaps_recorded"] {
        client.emit(usage()).await.unwrap_err();
        let fields = spans.of("meterline.emit");
        assert_eq!(fields["meterline.status"], status);
        assert_eq!(fields["otel.status_code"], "ERROR");
    }
    client.release("cus_1", "run-1").await.unwrap_err();
    let expected = fields([
        ("meterline.customer_id", "cus_1"),
        ("meterline.reservation_id", "run-1"),
        ("meterline.status", "refused"),
        ("otel.status_code", "ERROR"),
    ]);
    assert_eq!(spans.of("meterline.release"), expected);
}

#[tokio::test]
async fn the_span_of_many_events_counts_what_became_of_them() {
    let meterline = Scripted::start([]).await;
    meterline.refuse("a");
    let client = meterline.client();
    let (spans, _watched) = Spans::watch();
    let usages = vec![usage(), usage().event_id("b"), usage().event_id("b")];
    client.emit_many(usages).await;
    let expected = fields([
        ("meterline.events", "3"),
        ("meterline.events.delivered", "2"),
        ("meterline.events.refused", "1"),
        ("meterline.duplicates", "1"),
        ("otel.status_code", "ERROR"),
    ]);
    assert_eq!(spans.of("meterline.emit"), expected);
}

#[tokio::test]
async fn the_spans_of_what_comes_before_an_action_say_for_how_much() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let (spans, _watched) = Spans::watch();
    let query = AccessQuery::new("cus_1").units(40);
    client.access(query.action_type("page_read")).await.unwrap();
    let asked = [
        ("meterline.customer_id", "cus_1"),
        ("meterline.action_type", "page_read"),
        ("meterline.quantity", "40"),
    ];
    assert_eq!(spans.of("meterline.check_access"), fields(asked));
    let request = ReservationRequest::new("cus_1", "page_read", 40);
    client
        .reserve(request.reservation_id("run-1"))
        .await
        .unwrap();
    let mut held = fields(asked);
    held.insert("meterline.reservation_id", "run-1".to_owned());
    held.insert("meterline.status", "held".to_owned());
    assert_eq!(spans.of("meterline.reserve"), held);
    client.release("cus_1", "run-1").await.unwrap();
    let released = fields([
        ("meterline.customer_id", "cus_1"),
        ("meterline.reservation_id", "run-1"),
        ("meterline.status", "released"),
    ]);
    assert_eq!(spans.of("meterline.release"), released);
}

#[tokio::test]
async fn requests_carry_on_the_trace_of_their_call() {
    let meterline = Scripted::start([answer(503, "unavailable")]).await;
    let (_spans, _watched) = Spans::watch();
    // As a propagator would, which knows the context of the span.
    let traced = meterline.builder().request_headers(|| {
        let span = tracing::Span::current();
        let name = span.metadata().map_or("none", tracing::Metadata::name);
        HashMap::from([("traceparent".to_owned(), format!("00-{name}-01"))])
    });
    let client = traced.build().unwrap();
    client.emit(usage()).await.unwrap();
    client.access("cus_1").await.unwrap();
    let carried = meterline.traceparents();
    let emitted = "00-meterline.emit-01";
    assert_eq!(carried, [emitted, emitted, "00-meterline.check_access-01"]);
}
