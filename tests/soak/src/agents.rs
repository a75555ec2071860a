//! The agents: what they emit, and what they remember of the answers.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::fault::{Fault, Faults};
use crate::functions::Functions;
use crate::random::Random;
use crate::world::Customer;

/// What agents do, and the event name of the meter that the catalog of
/// [`crate::world`] counts it by: as the default, by name, by a prefix.
pub(crate) const ACTIONS: [(&str, &str); 4] = [
    ("read", "agent_operations"),
    ("write", "agent_operations"),
    ("document_processed", "agent_operations"),
    ("tool:call.v2", "tool_calls"),
];

/// Emissions that may be repeated soon, and ones that are kept to be repeated
/// much later.
const RECENT_MAX: usize = 2_000;
const KEPT_MAX: usize = 500;

const DAY_S: u64 = 86_400;

/// One event as an agent sends it.
#[derive(Clone, Debug)]
pub(crate) struct Emission {
    /// Its place in [`Agents::told`].
    event: usize,
    customer: usize,
    event_id: String,
    quantity: u64,
    action_type: &'static str,
    occurred_at: Option<i64>,
}

/// What the agents know of one event id of one customer.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The customer's place in the list of customers.
    pub(crate) customer: usize,
    /// The event's id.
    pub(crate) event_id: Box<str>,
    /// The quantities that were sent under the id: the first, and another one.
    pub(crate) quantities: (u64, Option<u64>),
    /// The quantity that a 2xx was heard for.
    pub(crate) acknowledged: Option<u64>,
    /// Whether Stripe was said to have it.
    pub(crate) is_delivered: bool,
    /// Whether it was said to be new.
    is_new: bool,
}

/// An answer to one event, as an agent hears it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// Durable.
    Acknowledged {
        status: &'static str,
        is_duplicate: bool,
        quantity: u64,
    },
    /// The id is used for other content.
    Conflict,
    /// Stripe refused it for good.
    Rejected,
    /// Not recorded by this call: too old.
    Invalid,
    /// Perhaps recorded.
    Unknown,
}

impl Heard {
    const fn word(&self) -> &'static str {
        match self {
            Self::Acknowledged {
                is_duplicate: true, ..
            } => "duplicate",
            Self::Acknowledged { status, .. } => status,
            Self::Conflict => "conflict",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
        }
    }

    /// Of an answer to one event, or of one result of a batch.
    fn read(answer: &Value, status: &str) -> Self {
        let statuses = ["delivered", "pending", "quarantined", "held"];
        if let Some(status) = statuses.into_iter().find(|known| *known == status) {
            return Self::Acknowledged {
                status,
                is_duplicate: answer["duplicate"] == json!(true),
                quantity: answer["quantity"].as_u64().unwrap_or_default(),
            };
        }
        match status {
            "conflict" => Self::Conflict,
            "rejected" => Self::Rejected,
            "invalid" => Self::Invalid,
            _ => Self::Unknown,
        }
    }
}

/// A call that an agent makes, again and again if need be.
#[derive(Debug)]
pub(crate) struct Call {
    emissions: Vec<Emission>,
    is_batch: bool,
    attempts_max: u64,
    is_deaf: bool,
}

/// All agents.
pub(crate) struct Agents {
    random: Random,
    pub(crate) told: Vec<Told>,
    /// Per customer, how many ids are used up.
    next_ids: Vec<u64>,
    recent: VecDeque<Emission>,
    kept: Vec<Emission>,
    /// Answers by what they said.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// Answers that contradict an earlier one.
    pub(crate) contradictions: Vec<String>,
}

impl Agents {
    pub(crate) fn new(seed: u64, customers: usize) -> Self {
        Self {
            random: Random::of(seed, "agents"),
            told: Vec::new(),
            next_ids: vec![0; customers],
            recent: VecDeque::new(),
            kept: Vec::new(),
            outcomes: BTreeMap::new(),
            contradictions: Vec::new(),
        }
    }

    /// The next call: single or a batch of up to `events_max`, of new events
    /// and repeats. `now_ms` is every customer's own time.
    pub(crate) fn next_call(&mut self, now_ms: &[i64], events_max: u64) -> Call {
        let is_batch = self.random.percent(85);
        let events = match is_batch {
            true if self.random.percent(80) => events_max,
            true => 1 + self.random.below(events_max),
            false => 1,
        };
        let emissions = (0..events).map(|_| self.next_emission(now_ms)).collect();
        Call {
            emissions,
            is_batch,
            attempts_max: 1 + self.random.below(4),
            is_deaf: self.random.percent(2),
        }
    }

    fn next_emission(&mut self, now_ms: &[i64]) -> Emission {
        match self.random.below(100) {
            0..=2 if !self.recent.is_empty() => {
                let place = self.random.place(self.recent.len());
                self.repeat(self.recent.get(place).cloned(), now_ms)
            }
            3 if !self.kept.is_empty() => {
                let place = self.random.place(self.kept.len());
                self.repeat(self.kept.get(place).cloned(), now_ms)
            }
            _ => self.new_emission(now_ms),
        }
    }

    /// The same again, or other content under the same id.
    fn repeat(&mut self, emission: Option<Emission>, now_ms: &[i64]) -> Emission {
        let Some(mut emission) = emission else {
            return self.new_emission(now_ms);
        };
        if self.random.percent(20)
            && let Some(told) = self.told.get_mut(emission.event)
        {
            let other = told.quantities.0 + 1;
            told.quantities.1 = Some(other);
            emission.quantity = other;
        }
        emission
    }

    fn new_emission(&mut self, now_ms: &[i64]) -> Emission {
        let customer = self.random.place(now_ms.len());
        let mut number = 0;
        if let Some(next_id) = self.next_ids.get_mut(customer) {
            number = *next_id;
            *next_id += 1;
        }
        // Two customers use one id, and an id may hold any character.
        let event_id = match self.random.below(20) {
            0 => format!("job/{number}#ä\u{202e}\n\"{{}}\""),
            _ => format!("job-{number}"),
        };
        let quantity = match self.random.below(1_000) {
            0 => 1_000_000,
            _ => 1 + self.random.below(1_000),
        };
        let now_s = now_ms.get(customer).copied().unwrap_or_default() / 1_000;
        let back = match self.random.below(100) {
            0..=4 => Some(self.random.below(3 * DAY_S)),
            5 => Some(self.random.below(33 * DAY_S)),
            6..=9 => Some(self.random.below(3)),
            _ => None,
        };
        let place = self.random.place(ACTIONS.len());
        let emission = Emission {
            event: self.told.len(),
            customer,
            event_id,
            quantity,
            action_type: ACTIONS.get(place).map_or("read", |(action, _)| action),
            occurred_at: back.map(|back| now_s.saturating_sub_unsigned(back)),
        };
        self.told.push(Told {
            customer,
            event_id: emission.event_id.clone().into_boxed_str(),
            quantities: (quantity, None),
            acknowledged: None,
            is_delivered: false,
            is_new: false,
        });
        self.remember(&emission);
        emission
    }

    fn remember(&mut self, emission: &Emission) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(emission.clone());
        if self.random.percent(1) {
            if self.kept.len() < KEPT_MAX {
                self.kept.push(emission.clone());
            } else {
                let place = self.random.place(KEPT_MAX);
                if let Some(kept) = self.kept.get_mut(place) {
                    *kept = emission.clone();
                }
            }
        }
    }

    /// Takes in what agents heard.
    pub(crate) fn hear(&mut self, answers: Answers) {
        for (emission, heard) in answers.0.into_inner() {
            *self.outcomes.entry(heard.word()).or_default() += 1;
            let Some(told) = self.told.get_mut(emission.event) else {
                continue;
            };
            if let Some(contradiction) = told.hear(&emission, &heard) {
                let Emission {
                    customer, event_id, ..
                } = &emission;
                let contradiction =
                    format!("customer {customer}, {event_id:?}: {contradiction} ({heard:?})");
                self.contradictions.push(contradiction);
            }
        }
    }
}

impl Told {
    /// Whether the answer contradicts what was heard before.
    fn hear(&mut self, emission: &Emission, heard: &Heard) -> Option<&'static str> {
        match heard {
            Heard::Acknowledged {
                status,
                is_duplicate,
                quantity,
            } => {
                let is_new_again = !is_duplicate && std::mem::replace(&mut self.is_new, true);
                let before = self.acknowledged.replace(*quantity);
                self.is_delivered |= *status == "delivered";
                if *quantity != emission.quantity {
                    Some("another quantity is acknowledged than was sent")
                } else if before.is_some_and(|before| before != *quantity) {
                    Some("two contents are acknowledged")
                } else if is_new_again {
                    Some("it is new twice")
                } else {
                    None
                }
            }
            Heard::Conflict if self.acknowledged == Some(emission.quantity) => {
                Some("what was acknowledged is in conflict with itself")
            }
            Heard::Conflict | Heard::Rejected | Heard::Invalid | Heard::Unknown => None,
        }
    }
}

/// What agents heard, also those whose process died later.
#[derive(Debug, Default)]
pub(crate) struct Answers(RefCell<Vec<(Emission, Heard)>>);

/// What agents stand before.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) functions: &'a Functions,
    pub(crate) customers: &'a [Customer],
    pub(crate) faults: &'a Faults,
}

/// Makes `call` until everything in it is known, or the agent gives up.
pub(crate) async fn make(call: Call, side: Side<'_>, answers: &Answers) {
    let Call {
        mut emissions,
        is_batch,
        attempts_max,
        is_deaf,
    } = call;
    for _ in 0..attempts_max {
        let heard = ask(&emissions, is_batch, side).await;
        if is_deaf {
            side.faults.count(Fault::AgentDeaf);
            return;
        }
        let mut unknown = Vec::new();
        for (emission, heard) in emissions.into_iter().zip(heard) {
            if heard == Heard::Unknown {
                unknown.push(emission.clone());
            }
            answers.0.borrow_mut().push((emission, heard));
        }
        if unknown.is_empty() {
            return;
        }
        emissions = unknown;
    }
}

async fn ask(emissions: &[Emission], is_batch: bool, side: Side<'_>) -> Vec<Heard> {
    let functions = side.functions;
    let unknown = || vec![Heard::Unknown; emissions.len()];
    let mut events: Vec<Value> = emissions
        .iter()
        .map(|it| body(it, side.customers))
        .collect();
    if is_batch {
        let body = json!({ "events": events });
        let Ok((200, answer)) = functions.post("/v1/usage/batch", &body).await else {
            return unknown();
        };
        let results = answer["results"].as_array().map_or(&[][..], Vec::as_slice);
        if results.len() != emissions.len() {
            return unknown();
        }
        let word = |result: &Value| result["status"].as_str().unwrap_or_default().to_owned();
        return results
            .iter()
            .map(|it| Heard::read(it, &word(it)))
            .collect();
    }
    let event = events.pop().unwrap_or_default();
    match functions.post("/v1/usage", &event).await {
        Ok((200 | 202, answer)) => {
            let status = answer["status"].as_str().unwrap_or_default().to_owned();
            vec![Heard::read(&answer, &status)]
        }
        Ok((409, _)) => vec![Heard::Conflict],
        Ok((422, _)) => vec![Heard::Rejected],
        Ok((400, _)) => vec![Heard::Invalid],
        Ok(_) | Err(_) => unknown(),
    }
}

fn body(emission: &Emission, customers: &[Customer]) -> Value {
    let mut body = json!({
        "event_id": emission.event_id,
        "customer_id": customers.get(emission.customer).map(|customer| &customer.id),
        "quantity": emission.quantity,
        "action_type": emission.action_type,
    });
    if let Some(occurred_at) = emission.occurred_at {
        body["occurred_at"] = json!(occurred_at);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: [i64; 3] = [1_767_607_200_000; 3];

    fn calls(seed: u64) -> String {
        let mut agents = Agents::new(seed, NOW_MS.len());
        let calls: Vec<Call> = (0..50).map(|_| agents.next_call(&NOW_MS, 20)).collect();
        format!("{calls:?}")
    }

    fn told(heard: &[Heard]) -> Vec<Option<&'static str>> {
        let mut agents = Agents::new(1, 1);
        let emission = Emission {
            quantity: 5,
            ..agents.new_emission(&NOW_MS[..1])
        };
        let told = agents.told.first_mut().unwrap();
        heard.iter().map(|it| told.hear(&emission, it)).collect()
    }

    fn acknowledged(is_duplicate: bool, quantity: u64) -> Heard {
        Heard::Acknowledged {
            status: "delivered",
            is_duplicate,
            quantity,
        }
    }

    #[test]
    fn a_seed_sends_the_same_events() {
        assert_eq!(calls(1), calls(1));
        assert_ne!(calls(1), calls(2));
    }

    #[test]
    fn answers_that_fit_are_no_contradiction() {
        let heard = [
            Heard::Unknown,
            acknowledged(false, 5),
            acknowledged(true, 5),
            Heard::Unknown,
        ];
        assert_eq!(told(&heard), [None; 4]);
    }

    #[test]
    fn answers_that_do_not_fit_are_found() {
        for heard in [
            [acknowledged(false, 5), acknowledged(false, 5)],
            [acknowledged(false, 5), acknowledged(true, 6)],
            [acknowledged(false, 5), Heard::Conflict],
        ] {
            let told = told(&heard);
            assert!(told[0].is_none() && told[1].is_some(), "{heard:?}");
        }
    }
}
