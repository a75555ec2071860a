//! How fast the deployed functions are, here, and the section of a page that
//! tells it.

use std::fmt::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use billing::Clock;
use serde_json::{Value, json};
use stack::story::{Answer, Api, Place, StoryError};
use web::SystemClock;

use crate::failure::Failure;

const BEGIN: &str = "<!-- deployed: written by make deploy-test -->";
const END: &str = "<!-- end of deployed -->";

/// Calls of each kind to functions that are warm.
const WARM_CALLS: u64 = 200;

/// One kind of call, and its times in microseconds.
#[derive(Debug, Default)]
struct Times {
    cold_us: Vec<u64>,
    warm_us: Vec<u64>,
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    emission: Times,
    report: Times,
    onboarding: Times,
    webhook: Times,
}

/// Who calls, and for whom.
pub(crate) struct Caller<'a> {
    place: &'a Place,
    api: Api,
    webhook: Api,
    customer_id: &'a str,
    /// An onboarding that is done already.
    customer: &'a Value,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(
        place: &'a Place,
        customer_id: &'a str,
        customer: &'a Value,
    ) -> Result<Self, Failure> {
        Ok(Self {
            place,
            api: Api::new(&place.url, place.api_key.clone())?,
            webhook: Api::new(&place.webhook_url, place.api_key.clone())?,
            customer_id,
            customer,
        })
    }

    async fn usage(&self, event_id: String) -> Result<Answer, StoryError> {
        let event = json!({
            "event_id": event_id, "customer_id": self.customer_id,
            "quantity": 1, "action_type": "document_processed",
        });
        self.api.post("/v1/usage", &event).await
    }

    async fn report(&self) -> Result<Answer, StoryError> {
        let path = format!("/v1/customers/{}/usage", self.customer_id);
        self.api.get(&path).await
    }

    /// Calls each function once; each starts a new environment for it. Answers how
    /// many events were emitted.
    pub(crate) async fn call_cold(
        &self,
        round: u32,
        figures: &mut Figures,
    ) -> Result<u64, Failure> {
        let usage = timed("usage", 200, self.usage(format!("cold-{round}")));
        figures.emission.cold_us.push(usage.await?);
        let report = timed("the report", 200, self.report());
        figures.report.cold_us.push(report.await?);
        let again = timed("onboarding", 200, self.onboard());
        figures.onboarding.cold_us.push(again.await?);
        let forged = timed("a forged webhook", 400, self.forge());
        figures.webhook.cold_us.push(forged.await?);
        Ok(1)
    }

    /// Calls each function again and again, one call at a time. Answers how many
    /// events were emitted.
    pub(crate) async fn call_warm(&self, figures: &mut Figures) -> Result<u64, Failure> {
        for number in 0..WARM_CALLS {
            let usage = timed("usage", 200, self.usage(format!("warm-{number}")));
            figures.emission.warm_us.push(usage.await?);
            let report = timed("the report", 200, self.report());
            figures.report.warm_us.push(report.await?);
            let again = timed("onboarding", 200, self.onboard());
            figures.onboarding.warm_us.push(again.await?);
            let forged = timed("a forged webhook", 400, self.forge());
            figures.webhook.warm_us.push(forged.await?);
        }
        Ok(WARM_CALLS)
    }

    async fn onboard(&self) -> Result<Answer, StoryError> {
        self.api.post("/v1/customers", self.customer).await
    }

    async fn forge(&self) -> Result<Answer, StoryError> {
        let now = self.place.clock.now().unix_s();
        self.webhook.post("", &json!({ "created": now })).await
    }
}

/// How long a call takes that is answered as it must be, in microseconds.
async fn timed(
    what: &str,
    status: u16,
    call: impl Future<Output = Result<Answer, StoryError>>,
) -> Result<u64, Failure> {
    let started = Instant::now();
    let answer = call.await?;
    let took = started.elapsed();
    // An onboarding that is repeated is 200 or 201.
    if answer.status == status || (status == 200 && answer.status == 201) {
        return Ok(microseconds(took));
    }
    let (status, body) = (answer.status, answer.body);
    Err(Failure::Unexpected(format!(
        "the answer {status} to {what}, {body},"
    )))
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Figures {
    /// The section, in Markdown.
    pub(crate) fn section(&self) -> String {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let processors = available_parallelism().map_or(0, NonZero::get);
        let mut text = format!(
            "Taken {} on {processors} processors, load {load} at the end. Milliseconds.\n\n",
            SystemClock.now()
        );
        text.push_str("| call | cold, the fastest | cold, median | warm p50 | warm p99 |\n");
        text.push_str("| --- | ---: | ---: | ---: | ---: |\n");
        for (name, times) in [
            ("emission: `POST /v1/usage`", &self.emission),
            ("report: `GET /v1/customers/{id}/usage`", &self.report),
            (
                "onboarding, of somebody who is a customer",
                &self.onboarding,
            ),
            ("webhook, of a forged event", &self.webhook),
        ] {
            let (cold, warm) = (&times.cold_us, &times.warm_us);
            let cells = [(cold, 0), (cold, 50), (warm, 50), (warm, 99)];
            let cells = cells.map(|(times, percent)| ms(percentile(times, percent)));
            // A string takes whatever is written to it.
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        text
    }

    /// Puts the section into the page at `path`, in place of the one there.
    pub(crate) fn write_into(&self, path: &Path) -> Result<(), Failure> {
        let page = std::fs::read_to_string(path);
        let page = page.map_err(Failure::io("the page cannot be read"))?;
        let marked = page.split_once(BEGIN).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(END)?;
            Some((before, after))
        });
        let (before, after) = marked.ok_or_else(|| Failure::unexpected("the page"))?;
        let page = format!("{before}{BEGIN}\n\n{}\n{END}{after}", self.section());
        std::fs::write(path, page).map_err(Failure::io("the page cannot be written"))
    }
}

/// By the nearest rank; 0 of none.
fn percentile(times: &[u64], percent: usize) -> u64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100);
    let found = times.get(rank.saturating_sub(1));
    found.copied().unwrap_or_default()
}

fn ms(us: u64) -> String {
    let tenths = (us + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<u64> = (1..=200).rev().collect();
        let percentiles = [0, 50, 99].map(|percent| percentile(&times, percent));
        assert_eq!(percentiles, [1, 100, 198]);
        assert_eq!(percentile(&[], 50), 0);
        assert_eq!(ms(1_250), "1.3");
    }

    #[test]
    fn the_section_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        std::fs::write(&page, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        let mut figures = Figures::default();
        figures.emission.cold_us = vec![3_000, 1_000, 2_000];
        figures.write_into(&page).unwrap();
        figures.write_into(&page).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"));
        let row = "| emission: `POST /v1/usage` | 1.0 | 2.0 | 0.0 | 0.0 |";
        assert_eq!(text.matches(row).count(), 1, "{text}");
        assert!(!text.contains("\nold\n"));

        std::fs::write(&page, "no marks").unwrap();
        assert!(figures.write_into(&page).is_err());
        assert_eq!(std::fs::read_to_string(&page).unwrap(), "no marks");
    }
}
