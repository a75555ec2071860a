//! What an emission takes beyond the least that it can take: floor, function
//! and API by turns, in one run.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use secrecy::ExposeSecret;
use stack::Pumping;
use tower::ServiceExt;

use crate::floor::Floor;
use crate::page::Page;
use crate::samples::{Samples, ms, ratio};
use crate::world::{Customer, World};
use crate::{Failure, Scale};

const ANSWER_BYTES_MAX: usize = 1 << 20;

/// One row of the table: how long Stripe takes, how many call at once, and how
/// often each of them does.
struct Setting {
    delay_ms: u64,
    callers: usize,
    rounds: usize,
}

/// Who emits, by turns.
struct Emitters {
    world: World,
    floor: Floor,
    /// The emission function as Lambda runs it: its router, without a network
    /// before it.
    function: Router,
    customers: Vec<Customer>,
}

/// What each of the three took.
#[derive(Default)]
struct Taken {
    floor: Samples,
    function: Samples,
    api: Samples,
}

/// Measures and tells.
pub(crate) async fn run(page: &mut Page, scale: Scale) -> Result<(), Failure> {
    page.heading("Emission over its floor")?;
    page.line(
        "Milliseconds. *Floor*: one conditional put, one call to the meter event stream, one \
         conditional update, by bare clients. *Function*: the emission function's router, as \
         Lambda calls it. *API*: the same over HTTP. By turns, against the same servers.\n",
    )?;
    page.columns(&[
        "Stripe, callers",
        "samples",
        "floor p50",
        "function p50",
        "ratio",
        "API p50",
        "ratio",
        "floor p99",
        "function p99",
        "ratio",
        "API p99",
        "ratio",
    ])?;
    let world = World::start(Pumping::Automatic, None).await?;
    let emitters = Arc::new(Emitters {
        floor: Floor::new(&world).await?,
        function: function(&world),
        customers: world.onboard(16).await?,
        world,
    });
    for (delay_ms, callers, rounds) in [
        (0, 1, 2_000),
        (0, 16, 200),
        (50, 1, 300),
        (50, 16, 120),
        (150, 1, 200),
        (150, 16, 100),
    ] {
        let setting = Setting {
            delay_ms,
            callers,
            rounds: scale.of(rounds),
        };
        page.progress(&format!("Stripe takes {delay_ms} ms, {callers} callers"))?;
        let taken = measure(&emitters, &setting).await?;
        tell(page, &setting, &taken)?;
    }
    let emitters = Arc::into_inner(emitters).ok_or("an emitter is still at work")?;
    emitters.world.stop().await
}

fn function(world: &World) -> Router {
    let system = &world.system;
    let (ledger, stripe) = (system.ledger().clone(), system.stripe().clone());
    let state = emission::State::new(ledger, stripe, system.clock());
    web::service(emission::router(state))
}

async fn measure(emitters: &Arc<Emitters>, setting: &Setting) -> Result<Taken, Failure> {
    emitters.world.delay_stripe(0).await?;
    for customer in &emitters.customers {
        // Connections, the session and what the function remembers are there.
        emitters.round(customer, &mut Taken::default()).await?;
    }
    emitters.world.delay_stripe(setting.delay_ms).await?;
    let callers: Vec<_> = (0..setting.callers)
        .map(|caller| {
            let (emitters, rounds) = (Arc::clone(emitters), setting.rounds);
            tokio::spawn(async move {
                let mut taken = Taken::default();
                let customer = emitters.customers.get(caller).ok_or("too many callers")?;
                for _ in 0..rounds {
                    emitters.round(customer, &mut taken).await?;
                }
                Ok::<_, Failure>(taken)
            })
        })
        .collect();
    let mut all = Taken::default();
    for caller in callers {
        let taken = caller.await??;
        all.floor.extend(taken.floor);
        all.function.extend(taken.function);
        all.api.extend(taken.api);
    }
    Ok(all)
}

impl Emitters {
    async fn round(&self, customer: &Customer, taken: &mut Taken) -> Result<(), Failure> {
        let ready = Floor::ready(&self.world, customer)?;
        let started = Instant::now();
        self.floor.emit(ready).await?;
        taken.floor.add(started.elapsed());

        let body = self.world.event(customer).to_string();
        let key = self.world.system.api_key().expose_secret();
        let request = Request::post("/v1/usage")
            .header("authorization", format!("Bearer {key}"))
            .body(Body::from(body))?;
        let started = Instant::now();
        let response = self.function.clone().oneshot(request).await?;
        let status = response.status();
        let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await?;
        taken.function.add(started.elapsed());
        if status != StatusCode::OK {
            let body = String::from_utf8_lossy(&body);
            return Err(format!("the function answered {status}: {body}").into());
        }

        let body = self.world.event(customer).to_string();
        let started = Instant::now();
        let answer = self.world.post("/v1/usage", body).await?;
        taken.api.add(started.elapsed());
        answer.expect(&[200])?;
        Ok(())
    }
}

fn tell(page: &mut Page, setting: &Setting, taken: &Taken) -> Result<(), Failure> {
    let mut row = vec![
        format!("{} ms, {}", setting.delay_ms, setting.callers),
        taken.floor.len().to_string(),
    ];
    for percentile in [Samples::p50_us, Samples::p99_us] {
        let floor = percentile(&taken.floor);
        row.push(ms(floor));
        for samples in [&taken.function, &taken.api] {
            row.push(ms(percentile(samples)));
            row.push(ratio(percentile(samples), floor));
        }
    }
    Ok(page.row(row)?)
}
