//! docs/stripe.md lists every request that is made. Here each is made once, and
//! compared with its row.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stripe::{
    Aggregation, Attempt, CancelSubscription, Client, CreateBillingPortalSession,
    CreateCheckoutSession, CreateCustomer, CreateCustomerBalanceTransaction,
    CreateEventDestination, CreateMeter, CreatePrice, CreateProduct, CreateSetupIntent,
    CreateSubscription, CreateSubscriptionItem, CreateUsageRecord, CreateWebhookEndpoint,
    ListCustomers, ListEvents, ListMeterEventSummaries, ListSubscriptions, ListV2Events,
    MeterEvent, MeterEventStream, Observer, RequestOptions, STRIPE_VERSION, UpdateCustomer,
    UpdateEventDestination, UpdateSubscription, UpdateWebhookEndpoint,
};

use crate::support::{Answer, Scripted};

const PAGE: &str = include_str!("../../../docs/stripe.md");
/// Stands for every id.
const ID: &str = "ID";

/// Makes each request of a list, and answers the names of the methods: so that
/// none is missing, they are compared with the sources.
macro_rules! make {
    ($($on:ident . $method:ident ( $($argument:expr),* )),* $(,)?) => {{
        // What is answered does not matter.
        $( let _ = $on.$method($($argument),*).await; )*
        BTreeSet::from([$( stringify!($method) ),*])
    }};
}

#[rustfmt::skip]
async fn make_every_request(client: &Client) -> BTreeSet<&'static str> {
    let options = &RequestOptions::new();
    let stream = &MeterEventStream::new(client.clone());
    let event = &MeterEvent::new("id-1", "pages", 0, ID, 1);
    let metered = &CreatePrice { meter: Some(ID.to_owned()), ..CreatePrice::default() };
    let unmetered = &CreatePrice { meter: None, ..CreatePrice::default() };
    let subscription = &CreateSubscription::default();
    let legacy = &CreateSubscription { bills_usage_records: true, ..CreateSubscription::default() };
    let item = &CreateSubscriptionItem::default();
    let legacy_item = &CreateSubscriptionItem { bills_usage_records: true, ..CreateSubscriptionItem::default() };
    let record = &CreateUsageRecord { subscription_item: ID.to_owned(), quantity: 1, timestamp: 0 };
    let meter = &CreateMeter {
        display_name: "Pages".to_owned(), event_name: "pages".to_owned(), formula: Aggregation::Sum,
    };
    let window = &ListMeterEventSummaries {
        customer: ID.to_owned(), start_time: 0, end_time: 60, value_grouping_window: None,
    };
    make![
        client.retrieve_account(),
        client.create_customer_balance_transaction(ID, &CreateCustomerBalanceTransaction::default(), options),
        client.list_customer_balance_transactions(ID),
        client.create_event_destination(&CreateEventDestination::default(), options),
        client.update_event_destination(ID, &UpdateEventDestination::default(), options),
        client.disable_event_destination(ID, options),
        client.list_event_destinations(),
        client.retrieve_dispute(ID), client.retrieve_event(ID),
        client.retrieve_v2_event(ID),
        client.list_v2_events(&ListV2Events::default(), None),
        client.list_events(&ListEvents::default()),
        client.list_all_events(&ListEvents::default()),
        client.list_invoice_lines(ID),
        client.retrieve_invoice(ID),
        client.list_invoices(ID, 1),
        client.list_open_invoices(ID),
        client.list_subscription_invoices_until(ID, |_| false),
        client.list_all_invoices(ID),
        client.create_invoice_preview(ID, ID),
        client.pay_invoice(ID, options),
        client.create_meter_event_adjustment("pages", "id-1", options),
        stream.send(std::slice::from_ref(event), options),
        client.list_meter_event_summaries(ID, window),
        client.create_meter_event(event, options),
        client.create_meter(meter, options),
        client.retrieve_meter(ID),
        client.list_meters(),
        client.create_price(metered, options),
        client.create_price(unmetered, options),
        client.retrieve_price(ID),
        client.list_prices_by_lookup_key("key"),
        client.create_product(&CreateProduct::default(), options),
        client.retrieve_product(ID),
        client.create_subscription_item(item, options),
        client.create_subscription_item(legacy_item, options),
        client.retrieve_subscription_item(ID),
        client.create_subscription(subscription, options),
        client.create_subscription(legacy, options),
        client.retrieve_subscription(ID),
        client.list_subscriptions(&ListSubscriptions::default()),
        client.list_all_subscriptions(&ListSubscriptions::default()),
        client.create_test_clock(0, "name", options),
        client.retrieve_test_clock(ID),
        client.advance_test_clock(ID, 1, options),
        client.list_usage_record_summaries(ID),
        client.create_usage_record(record, options),
        client.create_webhook_endpoint(&CreateWebhookEndpoint::default(), options),
        client.update_webhook_endpoint(ID, &UpdateWebhookEndpoint::default(), options),
        client.list_webhook_endpoints(),
    ]
}

#[rustfmt::skip]
async fn make_every_request_about_customers(client: &Client) -> BTreeSet<&'static str> {
    let options = &RequestOptions::new();
    make![
        client.create_billing_portal_session(&CreateBillingPortalSession::default(), options),
        client.create_checkout_session(&CreateCheckoutSession::default(), options),
        client.retrieve_checkout_session(ID),
        client.expire_checkout_session(ID, options),
        client.list_checkout_sessions(ID),
        client.create_customer(&CreateCustomer::default(), options),
        client.retrieve_customer(ID),
        client.update_customer(ID, &UpdateCustomer::default(), options),
        client.list_customers(&ListCustomers::default()),
        client.list_all_customers(&ListCustomers::default()),
        client.search_customers_by_metadata("key", "value"),
        client.attach_payment_method(ID, ID, options),
        client.create_setup_intent(&CreateSetupIntent::default(), options),
        client.retrieve_setup_intent(ID),
        client.list_setup_intents(ID),
        client.update_subscription(ID, &UpdateSubscription::default(), options),
        client.cancel_subscription(ID, &CancelSubscription::default(), options),
    ]
}

/// The methods that the sources offer, on whatever.
fn methods_in_the_sources() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let source = fs::read_to_string(file.unwrap().path()).unwrap();
        let methods = source.split("pub async fn ").skip(1);
        names.extend(methods.map(|rest| {
            let end = rest.find(['(', '<']).unwrap();
            rest[..end].to_owned()
        }));
    }
    names
}

/// What a client's observer is told: method and route of each request.
#[derive(Clone, Debug, Default)]
struct Routes(Arc<Mutex<BTreeSet<String>>>);

impl Observer for Routes {
    fn attempted(&self, attempt: Attempt<'_>) {
        let operation = attempt.operation;
        let call = format!("{} {}", operation.method(), operation.route());
        self.0.lock().unwrap().insert(call);
    }
}

/// As the table words it: the request, the version, and whether it has a key.
type Row = (String, String, bool);

fn rows_of_the_page() -> BTreeSet<Row> {
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let request = cells.next()?.strip_suffix('`')?;
        let is_request = ["GET /", "POST /", "DELETE /"]
            .iter()
            .any(|method| request.starts_with(method));
        let (version, key) = (cells.next()?, cells.next()?);
        is_request.then(|| {
            (
                request.to_owned(),
                version.to_owned(),
                !key.starts_with('–'),
            )
        })
    });
    rows.collect()
}

#[tokio::test]
async fn the_page_lists_every_request_as_it_is_made() {
    // The stream needs a session to get as far as its request.
    let session = serde_json::json!({
        "authentication_token": "token", "created": "2026-01-31T12:00:00Z",
        "expires_at": "2026-01-31T12:15:00Z",
    });
    let stripe = Scripted::start(move |received| {
        if received.path.ends_with("/meter_event_session") {
            Answer::ok(&session)
        } else {
            Answer::error(400, "invalid_request_error", "refused")
        }
    })
    .await;
    let routes = Routes::default();
    let config = stripe.config().with_observer(Arc::new(routes.clone()));
    let client = Client::new(config).unwrap();
    let mut made = make_every_request(&client).await;
    made.extend(make_every_request_about_customers(&client).await);
    let made: BTreeSet<String> = made.into_iter().map(str::to_owned).collect();
    let mut offered = methods_in_the_sources();
    // It asks where the key comes from, and Stripe nothing.
    offered.remove("renew_key");
    let untried: Vec<&String> = offered.symmetric_difference(&made).collect();
    assert!(
        untried.is_empty(),
        "make each request of {untried:?} in this test, and list it in docs/stripe.md"
    );

    let received = stripe.received();
    let sent: BTreeSet<Row> = received
        .iter()
        .map(|request| {
            let version = match request.header("stripe-version") {
                STRIPE_VERSION => "new",
                _ => "old",
            };
            let call = format!("{} {}", request.method, request.path);
            let has_key = !request.header("idempotency-key").is_empty();
            (call, version.to_owned(), has_key)
        })
        .collect();
    // What watches the client is told the same, with another word for each id.
    let watched = routes.0.lock().unwrap().clone();
    let asked: BTreeSet<String> = sent.iter().map(|(call, ..)| call.clone()).collect();
    assert_eq!(watched, asked);

    let listed = rows_of_the_page();
    let unlisted: Vec<&Row> = sent.difference(&listed).collect();
    let unsent: Vec<&Row> = listed.difference(&sent).collect();
    assert!(
        unlisted.is_empty() && unsent.is_empty(),
        "docs/stripe.md lacks {unlisted:?}, and has {unsent:?}, which is not sent"
    );
}
