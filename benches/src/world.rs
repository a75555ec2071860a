//! The whole system on this machine, its files in memory, and a client of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedInterceptor;
use billing::CustomerId;
use ledger::CustomerRow;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::{Options, Pumping, System};
use stripe::ListMeterEventSummaries;
use tempfile::TempDir;

use crate::Failure;

/// A file system in memory (Linux manual page shm_overview(7)).
const MEMORY_FOLDER: &str = "/dev/shm";

/// Far longer than any answer here should take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const STREAM_PATH: &str = "/v2/billing/meter_event_stream";
const FOR_EVER: u64 = 1 << 40;

/// The system, and how it is reached.
pub(crate) struct World {
    pub(crate) system: System,
    pub(crate) http: reqwest::Client,
    next_event: AtomicU64,
    // Last: it is in use until the system has stopped.
    _folder: TempDir,
}

/// A customer of the system.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) id: CustomerId,
    pub(crate) row: Arc<CustomerRow>,
}

/// An answer of the system or of the simulator.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl World {
    /// Starts the system. `interceptor` sees its calls to DynamoDB.
    pub(crate) async fn start(
        pumping: Pumping,
        interceptor: Option<SharedInterceptor>,
    ) -> Result<Self, Failure> {
        let folder = memory_folder()?;
        let options = Options {
            pumping,
            dynamodb_interceptor: interceptor,
            ..Options::manual(folder.path())
        };
        Ok(Self {
            system: System::start(options).await?,
            http: http_client()?,
            next_event: AtomicU64::new(0),
            _folder: folder,
        })
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        Ok(self.system.stop().await?)
    }

    /// Onboards so many customers.
    pub(crate) async fn onboard(&self, count: usize) -> Result<Vec<Customer>, Failure> {
        let mut customers = Vec::with_capacity(count);
        for _ in 0..count {
            let number = self.next_event.fetch_add(1, Ordering::Relaxed);
            let body = json!({
                "email": format!("bench-{number}@example.com"),
                "payment_method": "pm_card_visa",
                "external_id": format!("bench-{number}"),
            });
            let answer = self.post("/v1/customers", body.to_string()).await?;
            let answer = answer.expect(&[200, 201])?;
            let id = answer["customer_id"].as_str().unwrap_or_default();
            let id = CustomerId::parse(id)?;
            let row = self.system.ledger().customer(&id).await?;
            let row = row.ok_or("an onboarded customer is not in the table")?;
            let row = Arc::new(row);
            customers.push(Customer { id, row });
        }
        Ok(customers)
    }

    /// An event id that no other event of this run has.
    pub(crate) fn event_id(&self) -> String {
        let number = self.next_event.fetch_add(1, Ordering::Relaxed);
        format!("bench-event-{number:08}")
    }

    /// The next event of `customer`, of one unit, as an agent would send it.
    pub(crate) fn event(&self, customer: &Customer) -> Value {
        json!({
            "event_id": self.event_id(),
            "customer_id": customer.id.as_str(),
            "quantity": 1,
            "action_type": "summarise_document",
        })
    }

    /// `POST path` of the API.
    pub(crate) async fn post(&self, path: &str, body: String) -> Result<Answer, Failure> {
        self.send(Method::POST, path, body).await
    }

    /// `PUT path` of the API.
    pub(crate) async fn put(&self, path: &str, body: String) -> Result<Answer, Failure> {
        self.send(Method::PUT, path, body).await
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.system.url());
        let request = self.http.request(method, url);
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = request.bearer_auth(self.system.api_key().expose_secret());
        answer(request.body(body)).await
    }

    /// `GET path` of the API.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.system.url());
        let key = self.system.api_key().expose_secret();
        answer(self.http.get(url).bearer_auth(key)).await
    }

    /// From now on the stream of the simulator answers after `delay_ms`; at once
    /// where it is 0.
    pub(crate) async fn delay_stripe(&self, delay_ms: u64) -> Result<(), Failure> {
        self.clear_faults().await?;
        if delay_ms == 0 {
            return Ok(());
        }
        self.order_fault(&json!({
            "kind": "delay_ms", "delay_ms": delay_ms, "method": "POST",
            "path_prefix": STREAM_PATH, "times": FOR_EVER,
        }))
        .await
    }

    /// Orders a fault of the simulator.
    pub(crate) async fn order_fault(&self, order: &Value) -> Result<(), Failure> {
        let request = self
            .control(Method::POST, "/faults")
            .body(order.to_string());
        answer(request).await?.expect(&[200]).map(|_| ())
    }

    /// Ends all faults of the simulator.
    pub(crate) async fn clear_faults(&self) -> Result<(), Failure> {
        let request = self.control(Method::DELETE, "/faults");
        answer(request).await?.expect(&[200]).map(|_| ())
    }

    /// A request to the simulator's own controls.
    fn control(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/_simulator{path}", self.system.stripe_url());
        let key = self.system.stripe_secret_key().expose_secret();
        self.http.request(method, url).bearer_auth(key)
    }

    /// The units that the report shows of `customer`, and how many of them are pending.
    pub(crate) async fn reported_units(&self, customer: &Customer) -> Result<(u64, u64), Failure> {
        let answer = self.get(&usage_path(customer)).await?.expect(&[200])?;
        let units = |member: &str| answer[member].as_u64().unwrap_or_default();
        Ok((units("total_units"), units("pending_units")))
    }

    /// The units that Stripe bills `customer` for.
    pub(crate) async fn units_in_stripe(&self, customer: &Customer) -> Result<u64, Failure> {
        let settled = answer(self.control(Method::POST, "/settle")).await?;
        settled.expect(&[200])?;
        let now_s = self.system.clock().now().unix_s();
        let list = ListMeterEventSummaries {
            customer: customer.id.as_str().to_owned(),
            start_time: (now_s - 86_400).div_euclid(60) * 60,
            end_time: (now_s + 120).div_euclid(60) * 60,
            value_grouping_window: None,
        };
        let stripe = self.system.stripe();
        let summaries = stripe.list_meter_event_summaries(&customer.row.item.meter_id, &list);
        let units: i64 = summaries.await?.iter().map(|s| s.aggregated_value).sum();
        Ok(u64::try_from(units)?)
    }
}

impl Answer {
    /// The body, if the status is one of these.
    pub(crate) fn expect(self, statuses: &[u16]) -> Result<Value, Failure> {
        if statuses.contains(&self.status) {
            return Ok(self.body);
        }
        Err(format!("answered {}: {}", self.status, self.body).into())
    }
}

/// The path of a customer's report.
pub(crate) fn usage_path(customer: &Customer) -> String {
    format!("/v1/customers/{}/usage", customer.id)
}

async fn answer(request: RequestBuilder) -> Result<Answer, Failure> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok(Answer {
        status,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// A folder in memory, where the machine has one.
pub(crate) fn memory_folder() -> Result<TempDir, Failure> {
    let mut folder = tempfile::Builder::new();
    folder.prefix("meterline-bench-");
    Ok(if Path::new(MEMORY_FOLDER).is_dir() {
        folder.tempdir_in(MEMORY_FOLDER)?
    } else {
        folder.tempdir()?
    })
}

/// A client that needs nothing of the machine.
pub(crate) fn http_client() -> Result<reqwest::Client, Failure> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(ANSWER_TIMEOUT);
    Ok(client.build()?)
}
