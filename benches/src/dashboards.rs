//! Two hundred open dashboards while usage comes in: how soon it shows, how long a look
//! takes, and what the looks cost in reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::config::SharedInterceptor;
use billing::CustomerId;
use reqwest::StatusCode;
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use serde_json::Value;
use stack::Pumping;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::capacity::Capacity;
use crate::page::Page;
use crate::samples::{Samples, ms, per_second};
use crate::world::{Customer, World};
use crate::{Failure, Scale};

const DASHBOARDS: usize = 200;
/// How often a page looks while something changes.
const PACE: Duration = Duration::from_secs(1);
/// Calls under way at once: on a machine that does not keep up, the others wait.
const CALLS_MAX: usize = 256;
/// After the last event: until all of it must have been seen.
const AFTERWARDS: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(1);

/// One row of the table.
struct Setting {
    name: &'static str,
    customers: usize,
    events_per_second: u64,
    seconds: u64,
}

/// What it came to.
#[derive(Default)]
struct Outcome {
    /// That were recorded, by the second: less than were sent, where the machine
    /// does not keep up.
    events_per_second: u64,
    looks: Samples,
    not_modified: usize,
    bytes: usize,
    failures: usize,
    /// From an event's answer until a dashboard of its customer has it.
    until_shown: Samples,
    never_shown: usize,
    /// Tenths of read units: of the totals, and of the customers' rows.
    read_units: [u64; 2],
}

/// When each event of a customer was answered, and what its dashboards showed when.
#[derive(Default)]
struct Seen {
    answered: Vec<Instant>,
    shown: Vec<(Instant, u64)>,
}

type Log = Arc<Mutex<HashMap<CustomerId, Seen>>>;

/// Measures and tells.
pub(crate) async fn run(page: &mut Page, scale: Scale) -> Result<(), Failure> {
    let settings = [
        Setting {
            name: "20 customers, 500 events a second",
            customers: 20,
            events_per_second: 500,
            seconds: scale.of_u64(60),
        },
        Setting {
            name: "200 customers, 500 events a second",
            customers: 200,
            events_per_second: 500,
            seconds: scale.of_u64(60),
        },
        Setting {
            name: "200 customers, nothing happens",
            customers: 200,
            events_per_second: 0,
            seconds: scale.of_u64(60),
        },
    ];
    page.heading("Two hundred open dashboards")?;
    page.line(
        "`GET /dashboard/data` as the page's script asks for it, once a second each, with the tag of \
         what it has. *Shown*: from an event's answer until a dashboard of its customer has it. *Read \
         units*: of DynamoDB, a look; the customers' rows are read by emission as well. Milliseconds.\n",
    )?;
    page.columns(&[
        "200 dashboards of",
        "events/s",
        "looks",
        "of them unchanged",
        "p50",
        "p99",
        "failed",
        "bytes a look",
        "shown p50",
        "shown p99",
        "not shown",
        "read units, totals",
        "customers",
    ])?;
    for setting in settings {
        page.progress(&format!("{}, {} s", setting.name, setting.seconds))?;
        let outcome = measure(&setting).await?;
        tell(page, &setting, &outcome)?;
    }
    Ok(())
}

fn tell(page: &mut Page, setting: &Setting, outcome: &Outcome) -> Result<(), Failure> {
    let looks = outcome.looks.len();
    let per_look = |tenths: u64| -> Result<String, Failure> {
        let thousandths = tenths * 100 / u64::try_from(looks.max(1))?;
        Ok(format!(
            "{}.{:03}",
            thousandths / 1_000,
            thousandths % 1_000
        ))
    };
    let [totals, customers] = outcome.read_units;
    page.row([
        setting.name.to_owned(),
        outcome.events_per_second.to_string(),
        looks.to_string(),
        outcome.not_modified.to_string(),
        ms(outcome.looks.p50_us()),
        ms(outcome.looks.p99_us()),
        outcome.failures.to_string(),
        (outcome.bytes / looks.max(1)).to_string(),
        ms(outcome.until_shown.p50_us()),
        ms(outcome.until_shown.p99_us()),
        outcome.never_shown.to_string(),
        per_look(totals)?,
        per_look(customers)?,
    ])?;
    Ok(())
}

async fn measure(setting: &Setting) -> Result<Outcome, Failure> {
    let capacity = Capacity::default();
    let interceptor = SharedInterceptor::new(capacity.clone());
    let world = Arc::new(World::start(Pumping::Automatic, Some(interceptor)).await?);
    let customers = Arc::new(world.onboard(setting.customers).await?);
    let log = Log::default();
    let mut links = Vec::with_capacity(customers.len());
    for customer in customers.iter() {
        links.push(data_address(&world, customer).await?);
    }
    capacity.take();

    let end = Arc::<OnceLock<Instant>>::default();
    let mut viewers = JoinSet::new();
    let addresses = customers.iter().zip(&links).cycle().take(DASHBOARDS);
    for (number, (customer, url)) in (0_u32..).zip(addresses) {
        // Pages are opened one after the other, and do not ask in step.
        let late = PACE * number / u32::try_from(DASHBOARDS)?;
        let viewer = Viewer {
            http: world.http.clone(),
            url: url.clone(),
            customer_id: customer.id.clone(),
            log: Arc::clone(&log),
            end: Arc::clone(&end),
        };
        viewers.spawn(async move {
            tokio::time::sleep(late).await;
            viewer.watch().await
        });
    }
    let mut outcome = Outcome {
        events_per_second: emit(&world, &customers, &log, setting).await?,
        ..Outcome::default()
    };
    let _ = end.set(Instant::now() + AFTERWARDS);
    while let Some(watched) = viewers.join_next().await {
        let watched = watched??;
        outcome.looks.extend(watched.looks);
        outcome.not_modified += watched.not_modified;
        outcome.bytes += watched.bytes;
        outcome.failures += watched.failures;
    }
    let tables = world.system.ledger().tables().clone();
    let counted = capacity.take();
    let of = |operation: &str, table: &str| {
        let chosen = counted
            .iter()
            .filter(|((of, name), _)| *of == operation && name == table);
        chosen.map(|(_, tenths)| tenths).sum::<u64>()
    };
    outcome.read_units = [
        of("query", &tables.usage_totals),
        of("get", &tables.customers),
    ];
    for seen in log
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .values_mut()
    {
        seen.settle(&mut outcome)?;
    }
    let world = Arc::into_inner(world).ok_or("a dashboard is still open")?;
    world.stop().await?;
    Ok(outcome)
}

/// Where the page of a new link asks for its data.
async fn data_address(world: &World, customer: &Customer) -> Result<String, Failure> {
    let path = format!("/v1/customers/{}/dashboard-links", customer.id);
    let link = world.post(&path, String::new()).await?.expect(&[200])?;
    let link = link["url"].as_str().ok_or("a link without an address")?;
    Ok(link.replace("/dashboard?", "/dashboard/data?"))
}

/// Events at a fixed rate, one unit each, the customers by turns; where nobody uses
/// anything, as long without. Answers how many a second were recorded.
async fn emit(
    world: &Arc<World>,
    customers: &Arc<Vec<Customer>>,
    log: &Log,
    setting: &Setting,
) -> Result<u64, Failure> {
    let started = Instant::now();
    let count = setting.events_per_second * setting.seconds;
    let mut answers = JoinSet::new();
    let calls = Arc::new(Semaphore::new(CALLS_MAX));
    for (number, customer) in (0..count).zip(customers.iter().cycle()) {
        let due = Duration::from_micros(number * 1_000_000 / setting.events_per_second);
        while started.elapsed() < due {
            tokio::time::sleep(TICK).await;
        }
        let (world, log) = (Arc::clone(world), Arc::clone(log));
        let customer = customer.clone();
        let turn = Arc::clone(&calls).acquire_owned().await?;
        answers.spawn(async move {
            let _turn = turn;
            let event = world.event(&customer).to_string();
            let answer = world.post("/v1/usage", event).await?;
            answer.expect(&[200])?;
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = log.entry(customer.id).or_default();
            seen.answered.push(Instant::now());
            Ok::<_, Failure>(())
        });
    }
    while let Some(answered) = answers.join_next().await {
        answered??;
    }
    let rate = per_second(count, started.elapsed());
    let emitting = Duration::from_secs(setting.seconds);
    tokio::time::sleep(emitting.saturating_sub(started.elapsed())).await;
    Ok(rate)
}

/// A page that somebody looks at.
struct Viewer {
    http: reqwest::Client,
    url: String,
    customer_id: CustomerId,
    log: Log,
    /// When nobody looks any more: known once all events have been answered.
    end: Arc<OnceLock<Instant>>,
}

impl Viewer {
    async fn watch(self) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let mut tag: Option<HeaderValue> = None;
        while self.end.get().is_none_or(|end| Instant::now() < *end) {
            let asked = Instant::now();
            let mut request = self.http.get(&self.url);
            if let Some(tag) = &tag {
                request = request.header(IF_NONE_MATCH, tag);
            }
            let response = request.send().await?;
            match response.status() {
                StatusCode::NOT_MODIFIED => outcome.not_modified += 1,
                StatusCode::OK => {
                    tag = response.headers().get(ETAG).cloned();
                    let body = response.bytes().await?;
                    outcome.bytes += body.len();
                    let data: Value = serde_json::from_slice(&body)?;
                    let units = data["units"].as_str().unwrap_or_default().parse()?;
                    let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                    let seen = log.entry(self.customer_id.clone()).or_default();
                    seen.shown.push((Instant::now(), units));
                }
                _ => outcome.failures += 1,
            }
            outcome.looks.add(asked.elapsed());
            tokio::time::sleep(PACE).await;
        }
        Ok(outcome)
    }
}

impl Seen {
    /// The n-th event to be answered is shown by the first look that has n units: in a
    /// crowd nobody can tell which n of them it has.
    fn settle(&mut self, outcome: &mut Outcome) -> Result<(), Failure> {
        self.answered.sort_unstable();
        self.shown.sort_unstable();
        let mut looks = self.shown.iter().peekable();
        for (number, answered) in self.answered.iter().enumerate() {
            let units = u64::try_from(number)? + 1;
            while looks.next_if(|(_, shown)| *shown < units).is_some() {}
            match looks.peek() {
                Some((at, _)) => outcome
                    .until_shown
                    .add(at.saturating_duration_since(*answered)),
                None => outcome.never_shown += 1,
            }
        }
        Ok(())
    }
}
