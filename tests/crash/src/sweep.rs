//! Ends a scenario's process at every poll and at every named site in turn.

use std::collections::BTreeMap;

use crate::process::{Crash, Ended, Surroundings, run};
use crate::site::{Moment, Site};
use crate::wire::Calls;
use crate::world::World;

/// More polls than any handler takes: a sweep must come to an end.
const POLLS_MAX: u32 = 5_000;

/// What follows a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// The caller does the same again.
    Retry,
    /// Nobody does anything.
    Nothing,
    /// The same is done twice, at once.
    TwoAtOnce,
}

/// A handler and what it is given.
pub trait Scenario {
    /// What a trial gives to the handler, every time.
    type Input: Clone + Send + 'static;
    /// What the handler tells its caller, where that is a success.
    type Answer: Send + 'static;

    /// Every call that the handler makes in [`prepare`](Self::prepare)'s trials.
    const CALLS: &'static [&'static str];

    /// Makes everything ready for one trial.
    fn prepare(&mut self, world: &World) -> impl Future<Output = Self::Input>;

    /// Handles `input`; none is a failure, which its caller is told.
    fn handle(
        surroundings: Surroundings,
        input: Self::Input,
    ) -> impl Future<Output = Option<Self::Answer>>;

    /// What passes between a crash and what follows it: no time, as a rule.
    fn time_passes(&mut self, _world: &World) {}

    /// Takes an answer that reached the caller.
    fn acknowledge(&mut self, input: &Self::Input, answer: Self::Answer);
}

/// What a sweep did.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// How often the process ended at each site.
    pub hits: BTreeMap<Site, u32>,
    /// How often it ended at a poll.
    pub polls: u32,
    /// The polls of the longest handling.
    pub polls_max: u32,
    /// Trials, those that ran to the end included.
    pub trials: u32,
}

impl Sweep {
    /// Ends `scenario`'s process everywhere, each time followed by `aftermath`.
    ///
    /// # Panics
    /// Where the handler makes a call that has no name, or a site was not hit.
    pub async fn run<S: Scenario>(
        world: &World,
        scenario: &mut S,
        aftermath: Aftermath,
        rounds: u32,
    ) -> Self {
        let mut sweep = Self::default();
        let (_, calls) = sweep.trial(world, scenario, Crash::Never, aftermath).await;
        for call in calls.keys() {
            assert!(S::CALLS.contains(&call.as_str()), "{call} has no name");
        }
        for _ in 0..rounds {
            sweep
                .every_poll(world, scenario, aftermath, Crash::InsteadOfPoll)
                .await;
            sweep
                .every_poll(world, scenario, aftermath, Crash::AfterPoll)
                .await;
            sweep.every_site(world, scenario, aftermath, &calls).await;
        }
        for call in S::CALLS {
            for moment in Moment::ALL {
                let site = Site {
                    call: (*call).to_owned(),
                    moment,
                };
                assert!(sweep.hits.contains_key(&site), "never hit: {site}");
            }
        }
        sweep
    }

    async fn every_poll<S: Scenario>(
        &mut self,
        world: &World,
        scenario: &mut S,
        aftermath: Aftermath,
        crash: impl Fn(u32) -> Crash,
    ) {
        for n in 1..POLLS_MAX {
            let (has_answered, _) = self.trial(world, scenario, crash(n), aftermath).await;
            if has_answered {
                self.polls_max = self.polls_max.max(n);
                return;
            }
            self.polls += 1;
        }
        panic!("the handler does not answer after {POLLS_MAX} polls");
    }

    async fn every_site<S: Scenario>(
        &mut self,
        world: &World,
        scenario: &mut S,
        aftermath: Aftermath,
        calls: &Calls,
    ) {
        for (call, occurrences) in calls {
            for occurrence in chosen(*occurrences) {
                for moment in Moment::ALL {
                    let call = call.clone();
                    let site = Site { call, moment };
                    let crash = Crash::At(site.clone(), occurrence);
                    let (has_answered, _) = self.trial(world, scenario, crash, aftermath).await;
                    assert!(!has_answered, "it did not end {site}");
                    *self.hits.entry(site).or_default() += 1;
                }
            }
        }
    }

    /// Whether the handler answered, and the calls that it made.
    async fn trial<S: Scenario>(
        &mut self,
        world: &World,
        scenario: &mut S,
        crash: Crash,
        aftermath: Aftermath,
    ) -> (bool, Calls) {
        self.trials += 1;
        let input = scenario.prepare(world).await;
        let handle = |crash| {
            let input = input.clone();
            run(&world.environment, crash, move |surroundings| {
                S::handle(surroundings, input)
            })
        };
        let Ended {
            answer,
            calls,
            on_its_way,
        } = handle(crash.clone()).await;
        let has_answered = answer.is_some();
        let mut answers: Vec<_> = answer.into_iter().collect();
        scenario.time_passes(world);
        let again = match aftermath {
            Aftermath::Nothing => vec![],
            Aftermath::Retry => vec![handle(Crash::Never).await],
            Aftermath::TwoAtOnce => {
                let two = tokio::join!(handle(Crash::Never), handle(Crash::Never));
                vec![two.0, two.1]
            }
        };
        drop(on_its_way);
        let again = again.into_iter().map(|ended| ended.answer);
        answers.extend(again.map(|answer| answer.expect("nothing ended it")));
        for answer in answers {
            let answer = answer.unwrap_or_else(|| panic!("a failure after {crash:?}"));
            scenario.acknowledge(&input, answer);
        }
        (has_answered, calls)
    }

    /// Prints the sweep as a table.
    pub fn print(&self, what: &str, aftermath: Aftermath) {
        let Self {
            trials,
            polls,
            polls_max,
            ..
        } = self;
        println!(
            "{what}, then {aftermath:?}: {trials} trials; ended at {polls} polls, of up to {polls_max} a call; at sites:"
        );
        for (site, hits) in &self.hits {
            println!("{hits:>6} {site}");
        }
    }
}

/// All of up to three occurrences; of more the first, one in the middle, the last.
fn chosen(occurrences: u32) -> Vec<u32> {
    let mut chosen = vec![1, occurrences.div_ceil(2), occurrences];
    chosen.dedup();
    chosen
}
