//! Metrics as lines of the log, which CloudWatch reads figures off (Amazon
//! CloudWatch User Guide: "Embedded metric format specification").

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use stripe::{Attempt, AttemptEnding, Observer};

/// The namespace of every metric.
pub const NAMESPACE: &str = "Meterline";

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// How many.
    Count,
    /// For how long.
    Milliseconds,
}

impl Unit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

/// Values of one metric in a line, the most that CloudWatch takes.
const VALUES_MAX: usize = 100;

/// One figure: its name, what it counts, and how much. Several of one name in
/// one line are as many values of that metric: percentiles are made of them.
pub type Figure = (&'static str, Unit, u64);

/// Writes figures for one function of one stack: on standard output in Lambda,
/// nowhere elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Option<Source>);

#[derive(Clone, Debug)]
struct Source {
    stack: String,
    function: String,
    output: Output,
}

#[derive(Clone, Debug)]
enum Output {
    Standard,
    Channel(Sender<Value>),
}

impl Metrics {
    /// Those of this function: `METERLINE_STACK` names the stack, and the
    /// runtime the function. Without them nothing is written.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let source = variable("METERLINE_STACK").zip(variable("AWS_LAMBDA_FUNCTION_NAME"));
        let output = Output::Standard;
        Self(source.map(|(stack, function)| Source {
            stack,
            function,
            output,
        }))
    }

    /// Those of `function` of `stack`, line by line into a channel: for whoever
    /// reads them without a log.
    pub fn channel(stack: &str, function: &str) -> (Self, Receiver<Value>) {
        let (sender, receiver) = mpsc::channel();
        let source = Source {
            stack: stack.to_owned(),
            function: function.to_owned(),
            output: Output::Channel(sender),
        };
        (Self(Some(source)), receiver)
    }

    /// Writes `figures`, which have just been found.
    pub fn write(&self, figures: &[Figure]) {
        let Some(source) = &self.0 else { return };
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_unix_ms = elapsed.unwrap_or_default().as_millis();
        let now_unix_ms = u64::try_from(now_unix_ms).unwrap_or(u64::MAX);
        let line = source.line(now_unix_ms, figures);
        match &source.output {
            Output::Standard => println!("{line}"),
            // Who does not listen any more wants none.
            Output::Channel(sender) => drop(sender.send(line)),
        }
    }
}

/// How Stripe does: every attempt's time, and how those failed that failed.
impl Observer for Metrics {
    fn attempted(&self, attempt: Attempt<'_>) {
        let latency_ms = u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX);
        let latency = ("stripe_latency_ms", Unit::Milliseconds, latency_ms);
        let failure = match attempt.ending {
            AttemptEnding::Answered => None,
            AttemptEnding::Refused => Some("stripe_refused"),
            AttemptEnding::Unauthorized => Some("stripe_unauthorized"),
            AttemptEnding::RateLimited => Some("stripe_rate_limited"),
            AttemptEnding::ServerError => Some("stripe_server_errors"),
            AttemptEnding::Unreachable => Some("stripe_unreachable"),
        };
        match failure {
            None => self.write(&[latency]),
            Some(name) => self.write(&[latency, (name, Unit::Count, 1)]),
        }
    }
}

impl Source {
    /// The line. Each figure counts for the function, and for the stack as a
    /// whole, which alarms look at.
    fn line(&self, now_unix_ms: u64, figures: &[Figure]) -> Value {
        let mut names: Vec<(&str, Unit, Vec<u64>)> = Vec::new();
        for &(name, unit, value) in figures {
            match names.iter_mut().find(|(known, ..)| *known == name) {
                Some((.., values)) if values.len() < VALUES_MAX => values.push(value),
                Some(_) => {}
                None => names.push((name, unit, vec![value])),
            }
        }
        let described: Vec<Value> = names
            .iter()
            .map(|(name, unit, _)| json!({ "Name": name, "Unit": unit.as_str() }))
            .collect();
        let mut line = Map::new();
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": now_unix_ms,
                "CloudWatchMetrics": [{
                    "Namespace": NAMESPACE,
                    "Dimensions": [["stack"], ["stack", "function"]],
                    "Metrics": described,
                }],
            }),
        );
        line.insert("stack".to_owned(), json!(self.stack));
        line.insert("function".to_owned(), json!(self.function));
        for (name, _, values) in names {
            let value = match values.as_slice() {
                [value] => json!(value),
                _ => json!(values),
            };
            line.insert(name.to_owned(), value);
        }
        Value::Object(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stripe::Operation;

    #[test]
    fn a_line_describes_its_figures_and_holds_them_beside_their_dimensions() {
        let source = Source {
            stack: "meterline".to_owned(),
            function: "meterline-Redelivery".to_owned(),
            output: Output::Standard,
        };
        let figures = [
            ("delivered", Unit::Count, 3),
            ("oldest_pending_ms", Unit::Milliseconds, 61_000),
        ];
        let expected = json!({
            "_aws": {
                "Timestamp": 1_769_860_800_000_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "Meterline",
                    "Dimensions": [["stack"], ["stack", "function"]],
                    "Metrics": [
                        { "Name": "delivered", "Unit": "Count" },
                        { "Name": "oldest_pending_ms", "Unit": "Milliseconds" },
                    ],
                }],
            },
            "stack": "meterline",
            "function": "meterline-Redelivery",
            "delivered": 3,
            "oldest_pending_ms": 61_000,
        });
        assert_eq!(source.line(1_769_860_800_000, &figures), expected);
    }

    #[test]
    fn several_figures_of_one_name_are_values_of_one_metric() {
        let (metrics, lines) = Metrics::channel("meterline", "meterline-Emission");
        let lag = |ms| ("delivery_lag_ms", Unit::Milliseconds, ms);
        metrics.write(&[lag(31), lag(33)]);
        let line = lines.try_recv().unwrap();
        assert_eq!(line["delivery_lag_ms"], json!([31, 33]));
        let described = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        assert_eq!(described.as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_failed_attempt_at_stripe_is_named_beside_its_time() {
        for (ending, name) in [
            (AttemptEnding::Answered, None),
            (AttemptEnding::Refused, Some("stripe_refused")),
            (AttemptEnding::Unauthorized, Some("stripe_unauthorized")),
            (AttemptEnding::RateLimited, Some("stripe_rate_limited")),
            (AttemptEnding::ServerError, Some("stripe_server_errors")),
            (AttemptEnding::Unreachable, Some("stripe_unreachable")),
        ] {
            let (metrics, lines) = Metrics::channel("meterline", "meterline-Emission");
            let duration = std::time::Duration::from_millis(40);
            metrics.attempted(Attempt {
                operation: Operation::new("GET", "https://api.stripe.com", "/v1/account"),
                duration,
                ending,
                status: None,
            });
            let line = lines.try_recv().unwrap();
            assert_eq!(line["stripe_latency_ms"], 40);
            let described = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"];
            assert_eq!(described[1]["Name"].as_str(), name);
            assert_eq!(name.map_or(&json!(1), |name| &line[name]), 1);
        }
    }
}
