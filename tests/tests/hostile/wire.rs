//! Requests as bytes: what no HTTP client would send.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use stack::story::Api;
use stack::{Options, System};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back on a connection: the first answer, and how many there were.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) answers: usize,
    pub(crate) body: String,
}

impl Answered {
    /// The last part of the problem's type; empty where it is no problem.
    pub(crate) fn problem(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let kind = body["type"].as_str().unwrap_or_default();
        kind.trim_start_matches("urn:meterline:problem:").to_owned()
    }
}

/// A system with one customer, and a way to its sockets.
pub(crate) struct Target {
    pub(crate) system: System,
    pub(crate) customer: String,
    pub(crate) key: String,
    _folder: tempfile::TempDir,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let system = System::start(Options::manual(folder.path())).await.unwrap();
        let mut target = Self {
            key: secret(&system, "METERLINE_API_KEY")
                .expose_secret()
                .to_owned(),
            system,
            customer: String::new(),
            _folder: folder,
        };
        target.customer = target.onboard("hostile").await;
        target
    }

    pub(crate) async fn onboard(&self, external_id: &str) -> String {
        let body = format!(
            r#"{{"email":"a@example.com","payment_method":"pm_card_visa","external_id":"{external_id}"}}"#
        );
        let answered = self.post("/v1/customers", body).await;
        assert_eq!(answered.status, 201, "{answered:?}");
        let body: Value = serde_json::from_str(&answered.body).unwrap();
        body["customer_id"].as_str().unwrap().to_owned()
    }

    /// Sends `request` as it is, and reads until the other side closes.
    pub(crate) async fn send(&self, request: impl AsRef<[u8]>) -> Answered {
        let address = self.system.url().trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Who refuses a request early may close before it has read all of it.
        let _ = stream.write_all(request.as_ref()).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Answered {
            status: status.unwrap_or_default(),
            answers: text.matches("HTTP/1.1 ").count(),
            body: body.to_owned(),
        }
    }

    /// A request with these lines after the first, which the headers that every
    /// request needs go before.
    pub(crate) async fn request(
        &self,
        line: &str,
        headers: &str,
        body: impl AsRef<[u8]>,
    ) -> Answered {
        let key = &self.key;
        let head = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n{headers}\r\n"
        );
        self.send([head.as_bytes(), body.as_ref()].concat()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.request(&format!("GET {path}"), "", "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answered {
        let length = format!("content-length: {}\r\n", body.as_ref().len());
        self.request(&format!("POST {path}"), &length, body).await
    }

    pub(crate) async fn emit(&self, body: impl AsRef<[u8]>) -> Answered {
        self.post("/v1/usage", body).await
    }

    /// A usage event as JSON, of `quantity` units, which may be anything.
    pub(crate) fn event(&self, event_id: &str, quantity: &str) -> String {
        let customer = &self.customer;
        format!(
            r#"{{"event_id":"{event_id}","customer_id":"{customer}","quantity":{quantity},"action_type":"document_processed"}}"#
        )
    }

    /// Holds the audit log, the totals and Stripe against what was accepted: this
    /// many units in this many events, and nothing else.
    pub(crate) async fn has_recorded(self, events: u64, units: u64) {
        self.system.pump_stream().await.unwrap();
        let usage = self
            .get(&format!("/v1/customers/{}/usage", self.customer))
            .await;
        let usage: Value = serde_json::from_str(&usage.body).unwrap();
        assert_eq!(usage["total_units"], units, "{usage}");
        let key = secret(&self.system, "STRIPE_SECRET_KEY");
        let stripe = Api::new(self.system.stripe_url(), key).unwrap();
        let path = format!(
            "/_simulator/meter_events?customer={}&limit=0",
            self.customer
        );
        let counted = stripe.get(&path).await.unwrap().body;
        assert_eq!(counted["value"], units, "{counted}");
        assert_eq!(counted["count"], events, "{counted}");
        self.system.stop().await.unwrap();
    }
}

fn secret(system: &System, name: &str) -> SecretString {
    let mut variables = system.environment().into_iter();
    variables.find(|(it, _)| *it == name).unwrap().1
}
