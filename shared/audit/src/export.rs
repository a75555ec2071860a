//! Events as a file: CSV for spreadsheets (RFC 4180), and a line of JSON for each
//! event, for programs.

use std::borrow::Cow;
use std::io::{self, Write};
use std::str::FromStr;

use csv::{QuoteStyle, Terminator, WriterBuilder};

use crate::event::AuditEvent;

/// The columns of the CSV. What an event's history says besides is in the JSON.
pub const CSV_COLUMNS: [&str; 19] = [
    "event_id",
    "identifier",
    "customer_id",
    "action_type",
    "quantity",
    "status",
    "reason",
    "occurred_at",
    "billed_at",
    "period_start",
    "carried_over",
    "meter_event_name",
    "subscription_item_id",
    "stripe_code",
    "stripe_record_id",
    "recorded_at",
    "first_attempt_at",
    "status_since",
    "source",
];

/// What a spreadsheet may take for the beginning of a formula (OWASP: "CSV
/// Injection"), full-width forms among it.
const FORMULA_BEGINS: [char; 11] = [
    '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values with a line of names, lines ended by CR LF.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

/// A word that names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be csv or jsonl")]
pub struct UnknownFormat;

impl ExportFormat {
    /// The words for them.
    pub const WORDS: [&'static str; 2] = ["csv", "jsonl"];

    /// The word for it, which files of it end with.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Jsonl => "application/x-ndjson",
        }
    }
}

impl FromStr for ExportFormat {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        match word {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(UnknownFormat),
        }
    }
}

/// Writes events, one after the other.
pub struct EventWriter<W: Write> {
    lines: Lines<W>,
}

enum Lines<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Jsonl(W),
}

impl<W: Write> EventWriter<W> {
    /// Writes to `out` as `format` has it. A file begins with the names of its
    /// columns ([`Self::begin`]); a part that goes on does not.
    pub fn new(format: ExportFormat, out: W) -> Self {
        let lines = match format {
            ExportFormat::Csv => {
                let mut builder = WriterBuilder::new();
                // A field in quotes stays one where a spreadsheet splits at other
                // characters than commas, too.
                let builder = builder
                    .terminator(Terminator::CRLF)
                    .quote_style(QuoteStyle::Always);
                Lines::Csv(Box::new(builder.from_writer(out)))
            }
            ExportFormat::Jsonl => Lines::Jsonl(out),
        };
        Self { lines }
    }

    /// Writes what a file begins with.
    ///
    /// # Errors
    /// That of `out`.
    pub fn begin(&mut self) -> io::Result<()> {
        match &mut self.lines {
            Lines::Csv(csv) => csv.write_record(CSV_COLUMNS).map_err(io::Error::from),
            Lines::Jsonl(_) => Ok(()),
        }
    }

    /// Writes `event`.
    ///
    /// # Errors
    /// That of `out`.
    pub fn write(&mut self, event: &AuditEvent) -> io::Result<()> {
        match &mut self.lines {
            Lines::Csv(csv) => {
                let record = record(event);
                let fields = record.iter().map(|field| field.as_bytes());
                csv.write_record(fields).map_err(io::Error::from)
            }
            Lines::Jsonl(out) => {
                serde_json::to_writer(&mut *out, event)?;
                out.write_all(b"\n")
            }
        }
    }

    /// Hands on to `out` what is not there yet.
    ///
    /// # Errors
    /// That of `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.lines {
            Lines::Csv(csv) => csv.flush(),
            Lines::Jsonl(out) => out.flush(),
        }
    }

    /// What it wrote to, with all that was written.
    ///
    /// # Errors
    /// That of `out`.
    pub fn finish(self) -> io::Result<W> {
        match self.lines {
            Lines::Csv(csv) => {
                let out = (*csv).into_inner();
                out.map_err(csv::IntoInnerError::into_error)
            }
            Lines::Jsonl(mut out) => out.flush().map(|()| out),
        }
    }

    /// What it writes to. What was not flushed is not there yet.
    pub fn out(&self) -> &W {
        match &self.lines {
            Lines::Csv(csv) => csv.get_ref(),
            Lines::Jsonl(out) => out,
        }
    }
}

fn record(event: &AuditEvent) -> [Cow<'_, str>; CSV_COLUMNS.len()] {
    let or_empty =
        |text: &'_ Option<String>| safe(text.as_deref().unwrap_or_default()).into_owned();
    [
        safe(&event.event_id),
        safe(&event.identifier),
        safe(&event.customer_id),
        safe(&event.action_type),
        event.quantity.to_string().into(),
        event.status.as_str().into(),
        safe(event.reason().unwrap_or_default()),
        safe(&event.occurred_at),
        or_empty(&event.billed_at).into(),
        or_empty(&event.period_start).into(),
        event.carried_over.to_string().into(),
        or_empty(&event.meter_event_name).into(),
        or_empty(&event.subscription_item_id).into(),
        or_empty(&event.stripe_code).into(),
        or_empty(&event.stripe_record_id).into(),
        safe(&event.recorded_at),
        safe(&event.first_attempt_at),
        safe(event.status_since()),
        or_empty(&event.source).into(),
    ]
}

/// A text that no spreadsheet runs: an apostrophe, which shows the rest as it
/// is, goes before what would begin a formula.
fn safe(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA_BEGINS) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use billing::UsageStatus;

    use super::*;

    fn event(event_id: &str) -> AuditEvent {
        AuditEvent {
            event_id: event_id.to_owned(),
            customer_id: "cus_1".to_owned(),
            identifier: "0f".repeat(32),
            source: Some("=/agents/7".to_owned()),
            action_type: "-read".to_owned(),
            quantity: 3,
            status: UsageStatus::Rejected,
            subscription_item_id: None,
            occurred_at: "2026-01-31T12:00:00Z".to_owned(),
            billed_at: None,
            period_start: None,
            carried_over: false,
            held_reason: None,
            meter_event_name: Some("operations".to_owned()),
            recorded_at: "2026-01-31T12:00:01Z".to_owned(),
            first_attempt_at: "2026-01-31T12:00:01Z".to_owned(),
            stripe_code: Some("no_meter".to_owned()),
            stripe_record_id: None,
            history: Vec::new(),
        }
    }

    fn written(format: ExportFormat, events: &[AuditEvent]) -> String {
        let mut writer = EventWriter::new(format, Vec::new());
        writer.begin().unwrap();
        for event in events {
            writer.write(event).unwrap();
        }
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn whatever_an_id_holds_the_csv_reads_back_and_runs_as_no_formula() {
        let ids = [
            ("job-7", "job-7"),
            ("=1+1", "'=1+1"),
            ("+cmd", "'+cmd"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("a,\"b\"\r\nc", "a,\"b\"\r\nc"),
            ("'", "'"),
            ("x;=1+1", "x;=1+1"),
        ];
        let events = ids.map(|(event_id, _)| event(event_id));
        let csv = written(ExportFormat::Csv, &events);
        // Where columns end at semicolons, too, it is one field.
        assert!(csv.contains("\r\n\"x;=1+1\","), "{csv}");
        assert!(csv.ends_with("\"'=/agents/7\"\r\n"), "{csv}");
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        assert_eq!(reader.headers().unwrap(), &CSV_COLUMNS[..]);
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), ids.len());
        for (record, (_, expected)) in records.iter().zip(ids) {
            assert_eq!(&record[0], expected);
            assert_eq!((&record[3], &record[4]), ("'-read", "3"));
            assert_eq!((&record[5], &record[6]), ("rejected", "no_meter"));
            assert_eq!(&record[17], "2026-01-31T12:00:01Z");
        }
    }

    #[test]
    fn a_line_of_json_is_the_event_as_the_api_shows_it() {
        let events = [event("=1+1\n"), event("b")];
        let lines = written(ExportFormat::Jsonl, &events);
        let lines: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let shown = events.map(|event| serde_json::to_value(event).unwrap());
        assert_eq!(lines, shown);
    }
}
