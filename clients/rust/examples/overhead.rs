//! What the client costs, beside raw reqwest in the same run: by turns, so that both
//! meet the same machine.
//!
//! Against a server that answers at once, or, with `METERLINE_URL`,
//! `METERLINE_API_KEY` and `CUSTOMER_ID`, against the API, where it records real
//! usage. `--quick` only shows that it works.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::routing::post;
use axum::{Json, Router};
use meterline_client::{BufferSettings, Emit, Meterline, Usage};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How often the ways take turns, after one that warms up and does not count.
const ROUNDS: usize = 5;
const CALLERS: usize = 128;
const ACTION: &str = "document_processed";
/// Many callers wait for one another, here and at the server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    /// Events of one block, one after the other.
    block: u64,
    at_once: u64,
}

/// Where events go.
struct Target {
    url: String,
    api_key: String,
    customer: String,
    server: Option<Child>,
}

/// A way to record an event.
enum Way {
    /// What somebody writes who has no client: no retries, no look at the answer.
    Raw {
        http: reqwest::Client,
        url: String,
        api_key: String,
    },
    Client(Meterline),
}

struct Emitter {
    name: &'static str,
    way: Way,
    customer: String,
    run: String,
    next: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let asked_for = |what: &str| env::args().any(|argument| argument == what);
    if asked_for("--serve") {
        return serve().await;
    }
    let scale = match asked_for("--quick") {
        true => Scale {
            block: 50,
            at_once: 1_000,
        },
        false => Scale {
            block: 1_000,
            at_once: 50_000,
        },
    };
    let mut target = Target::start()?;
    let measured = measure(&target, scale).await;
    if let Some(server) = &mut target.server {
        server.kill()?;
        server.wait()?;
    }
    measured
}

async fn measure(target: &Target, scale: Scale) -> Result<(), Failure> {
    let settings = || {
        let builder = Meterline::builder(&target.url, target.api_key.clone());
        builder.request_timeout(REQUEST_TIMEOUT)
    };
    let raw = Way::Raw {
        http: raw_client()?,
        url: format!("{}/v1/usage", target.url),
        api_key: target.api_key.clone(),
    };
    let single = Way::Client(settings().build()?);
    let buffered = Way::Client(settings().buffer(BufferSettings::default()).build()?);
    let emitters = [
        ("raw reqwest", raw),
        ("client", single),
        ("client, with its buffer", buffered),
    ];
    let emitters = emitters.map(|(name, way)| Arc::new(target.emitter(name, way)));
    let processors = std::thread::available_parallelism()?;
    println!("Rust, {processors} processors\n");
    println!(
        "| one event after the other, ms | events | p50 | p99 |\n| --- | ---: | ---: | ---: |"
    );
    // Alone, an event has nobody to wait for in a buffer.
    one_by_one(&emitters[..2], scale).await?;
    println!("\n| {CALLERS} callers at once, median of {ROUNDS} | events | events a second |");
    println!("| --- | ---: | ---: |");
    at_once(&emitters, scale).await
}

async fn one_by_one(emitters: &[Arc<Emitter>], scale: Scale) -> Result<(), Failure> {
    let mut taken = vec![Vec::new(); emitters.len()];
    for round in 0..=ROUNDS {
        for (emitter, taken) in emitters.iter().zip(&mut taken) {
            for _ in 0..scale.block {
                let started = Instant::now();
                emitter.emit().await?;
                if round > 0 {
                    taken.push(started.elapsed());
                }
            }
        }
    }
    for (emitter, mut taken) in emitters.iter().zip(taken) {
        taken.sort_unstable();
        let (p50, p99) = (quantile(&taken, 50), quantile(&taken, 99));
        println!("| {} | {} | {p50} | {p99} |", emitter.name, taken.len());
    }
    Ok(())
}

async fn at_once(emitters: &[Arc<Emitter>], scale: Scale) -> Result<(), Failure> {
    let mut rates = vec![Vec::new(); emitters.len()];
    for round in 0..=ROUNDS {
        for (emitter, rates) in emitters.iter().zip(&mut rates) {
            let rate = emitter.events_per_second(scale.at_once).await?;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    for (emitter, mut rates) in emitters.iter().zip(rates) {
        rates.sort_unstable();
        let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
        println!("| {} | {} | {median} |", emitter.name, scale.at_once);
    }
    Ok(())
}

impl Target {
    fn start() -> Result<Self, Failure> {
        let given = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let names = ["METERLINE_URL", "METERLINE_API_KEY", "CUSTOMER_ID"];
        if let [Some(url), Some(api_key), Some(customer)] = names.map(given) {
            let server = None;
            return Ok(Self {
                url,
                api_key,
                customer,
                server,
            });
        }
        let mut server = Command::new(env::current_exe()?)
            .arg("--serve")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let out = server.stdout.take().ok_or("the server has no output")?;
        BufReader::new(out).read_line(&mut address)?;
        Ok(Self {
            url: format!("http://{}", address.trim()),
            api_key: "mk_bench".to_owned(),
            customer: "cus_bench".to_owned(),
            server: Some(server),
        })
    }

    fn emitter(&self, name: &'static str, way: Way) -> Emitter {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Emitter {
            name,
            way,
            customer: self.customer.clone(),
            run: format!("bench-{}-{name}", now.as_nanos()),
            next: AtomicU64::new(0),
        }
    }
}

impl Emitter {
    /// The next event.
    async fn emit(&self) -> Result<(), Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let event_id = format!("{}-{number}", self.run);
        match &self.way {
            Way::Raw { http, url, api_key } => {
                let event = json!({
                    "event_id": event_id, "customer_id": self.customer,
                    "action_type": ACTION, "quantity": 1,
                });
                let sent = http.post(url).bearer_auth(api_key).json(&event).send();
                sent.await?.error_for_status()?.json::<Value>().await?;
            }
            Way::Client(meterline) => {
                let usage = Usage::new(self.customer.clone(), ACTION).event_id(event_id);
                meterline.emit(usage).await?;
            }
        }
        Ok(())
    }

    /// So many events from [`CALLERS`] callers at once.
    async fn events_per_second(self: &Arc<Self>, events: u64) -> Result<u128, Failure> {
        let left = Arc::new(AtomicU64::new(events));
        let mut callers = JoinSet::new();
        let started = Instant::now();
        for _ in 0..CALLERS {
            let (emitter, left) = (Arc::clone(self), Arc::clone(&left));
            callers.spawn(async move {
                let take = |left: u64| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    emitter.emit().await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller??;
        }
        Ok(u128::from(events) * 1_000_000 / started.elapsed().as_micros().max(1))
    }
}

/// As the client's own is made.
fn raw_client() -> Result<reqwest::Client, Failure> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let tls =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
    Ok(client.no_proxy().timeout(REQUEST_TIMEOUT).build()?)
}

/// In milliseconds.
fn quantile(sorted: &[Duration], percent: usize) -> String {
    let rank = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    let us = sorted.get(rank).copied().unwrap_or_default().as_micros();
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

/// Answers as the API does, at once and without recording anything; a process of its
/// own, so that it takes no time of the caller's.
async fn serve() -> Result<(), Failure> {
    let recorded = |event: &Value| {
        json!({
            "event_id": event["event_id"], "status": "delivered", "duplicate": false,
            "quantity": event["quantity"], "customer_status": "active",
        })
    };
    let single = move |Json(event): Json<Value>| async move { Json(recorded(&event)) };
    let batch = move |Json(batch): Json<Value>| async move {
        let events = batch["events"].as_array().into_iter().flatten();
        Json(json!({ "results": events.map(recorded).collect::<Vec<_>>() }))
    };
    let router = Router::new()
        .route("/v1/usage", post(single))
        .route("/v1/usage/batch", post(batch));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    Ok(axum::serve(listener, router).await?)
}
