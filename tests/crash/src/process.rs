//! A function's process: one handler in a runtime of its own. When it ends,
//! nothing that the handler began goes on, and what it remembered is gone.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use billing::Clock;
use ledger::{Ledger, TableNames};
use secrecy::SecretString;
use stack::connection::Connection;
use stripe::UsageApi;
use tokio_util::sync::DropGuard;

use crate::site::Site;
use crate::wire::{Calls, Services, Signals, Wire};

/// When a process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crash {
    /// When the handler has answered.
    Never,
    /// In place of its n-th poll: what the poll would have taken in is there.
    InsteadOfPoll(u32),
    /// At the end of its n-th poll: what the poll was about to send is not sent.
    AfterPoll(u32),
    /// At a site, when its call is made for the n-th time.
    At(Site, u32),
}

/// What became of a process.
#[derive(Debug)]
pub struct Ended<T> {
    /// What the handler answered; none where its process ended before.
    pub answer: Option<T>,
    /// The calls that it made.
    pub calls: Calls,
    /// Lets the call arrive that was on its way when it ended. Dropped, it does.
    pub on_its_way: DropGuard,
}

/// What every process of a world has around it, but for its wire.
#[derive(Clone)]
pub struct Environment {
    /// Behind the wire.
    pub services: Services,
    /// Names of the tables.
    pub tables: TableNames,
    /// Stripe's secret key.
    pub stripe_key: SecretString,
    /// By which API usage is reported.
    pub usage_api: UsageApi,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What a handler is made of: clients of its own, as after a cold start.
pub struct Surroundings {
    /// The tables.
    pub ledger: Ledger,
    /// Stripe.
    pub stripe: stripe::Client,
    /// SNS's address.
    pub sns_url: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Environment {
    fn surroundings(&self, url: &str) -> Surroundings {
        let config = stripe::Config::new(self.stripe_key.clone())
            .with_api_base(url)
            .with_meter_events_base(url)
            .with_usage_api(self.usage_api);
        Surroundings {
            ledger: Ledger::new(Connection::embedded(url).client(), self.tables.clone()),
            stripe: stripe::Client::new(config).unwrap(),
            sns_url: url.to_owned(),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// Runs `handler` in a process that ends at `crash`.
pub async fn run<T, F, H>(environment: &Environment, crash: Crash, handler: H) -> Ended<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
    H: FnOnce(Surroundings) -> F + Send + 'static,
{
    let armed = match &crash {
        Crash::At(site, occurrence) => Some((site.clone(), *occurrence)),
        _ => None,
    };
    let wire = Wire::start(environment.services.clone(), armed).await;
    let (environment, signals, url) = (environment.clone(), wire.signals(), wire.url().to_owned());
    let down = signals.down.clone().drop_guard();
    let process = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let answer = runtime.block_on(async {
            let handler = handler(environment.surroundings(&url));
            drive(handler, &crash, &signals).await
        });
        // Connections are tasks of the runtime: they end with it.
        drop(runtime);
        drop(down);
        answer
    });
    let answer = process.await.unwrap();
    Ended {
        answer,
        calls: wire.calls(),
        on_its_way: wire.signals().arrive.drop_guard(),
    }
}

/// Polls `handler` until it answers or `crash` comes.
async fn drive<F: Future>(handler: F, crash: &Crash, signals: &Signals) -> Option<F::Output> {
    let mut handler = pin!(handler);
    let mut crashed = pin!(signals.crash.cancelled());
    let mut polls: u32 = 0;
    let answer = poll_fn(|context| {
        polls += 1;
        let is_over = crashed.as_mut().poll(context).is_ready();
        if is_over || *crash == Crash::InsteadOfPoll(polls) {
            return Poll::Ready(None);
        }
        match handler.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if *crash == Crash::AfterPoll(polls) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    // Behind the last answer that it took in, nothing got out.
    answer.filter(|_| !signals.last_answer.is_cancelled())
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn polled(crash: Crash) -> Option<()> {
        let handler = async {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        };
        drive(handler, &crash, &Signals::default()).await
    }

    #[tokio::test]
    async fn a_handler_of_three_polls_ends_before_or_after_each() {
        for n in 1..=3 {
            assert_eq!(polled(Crash::InsteadOfPoll(n)).await, None);
        }
        assert_eq!(polled(Crash::AfterPoll(1)).await, None);
        assert_eq!(polled(Crash::AfterPoll(2)).await, None);
        // With the third it has answered.
        assert_eq!(polled(Crash::AfterPoll(3)).await, Some(()));
        assert_eq!(polled(Crash::InsteadOfPoll(4)).await, Some(()));
    }

    #[tokio::test]
    async fn an_answer_behind_the_last_one_taken_in_is_none() {
        let signals = Signals::default();
        signals.last_answer.cancel();
        assert_eq!(drive(ready(()), &Crash::Never, &signals).await, None);
    }
}
