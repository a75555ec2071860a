//! Metrics as lines of the log, which CloudWatch reads figures off (Amazon
//! CloudWatch User Guide: "Embedded metric format specification").

use std::time::SystemTime;

use serde_json::{Map, Value, json};

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

/// One figure: its name, what it counts, and how much.
pub type Figure = (&'static str, Unit, u64);

/// Writes figures for one function of one stack: on standard output in Lambda,
/// nowhere elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Option<Source>);

#[derive(Clone, Debug)]
struct Source {
    stack: String,
    function: String,
}

impl Metrics {
    /// Those of this function: `METERLINE_STACK` names the stack, and the
    /// runtime the function. Without them nothing is written.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let source = variable("METERLINE_STACK").zip(variable("AWS_LAMBDA_FUNCTION_NAME"));
        Self(source.map(|(stack, function)| Source { stack, function }))
    }

    /// Writes `figures`, which have just been found.
    pub fn write(&self, figures: &[Figure]) {
        let Some(source) = &self.0 else { return };
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_unix_ms = elapsed.unwrap_or_default().as_millis();
        let now_unix_ms = u64::try_from(now_unix_ms).unwrap_or(u64::MAX);
        println!("{}", source.line(now_unix_ms, figures));
    }
}

impl Source {
    /// The line. Each figure counts for the function, and for the stack as a
    /// whole, which alarms look at.
    fn line(&self, now_unix_ms: u64, figures: &[Figure]) -> Value {
        let described = figures.iter();
        let described: Vec<Value> = described
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
        for (name, _, value) in figures {
            line.insert((*name).to_owned(), json!(value));
        }
        Value::Object(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_describes_its_figures_and_holds_them_beside_their_dimensions() {
        let source = Source {
            stack: "meterline".to_owned(),
            function: "meterline-Redelivery".to_owned(),
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
}
