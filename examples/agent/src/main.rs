//! Reads the command line and the environment, and wires the agent.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent::anthropic::{Anthropic, DEFAULT_BASE_URL, DEFAULT_MAX_TOKENS, DEFAULT_MODEL};
use agent::documents::{
    DOCUMENT_PROCESSED, DocumentAgent, DocumentError, ProcessedDocument, list_documents,
};
use agent::job::Job;
use agent::journal::Journal;
use agent::operations::{Clients, Operations, Summary};
use clap::{Args, Parser, Subcommand};
use meterline_client::Meterline;
use secrecy::SecretString;

/// Meterline answers in milliseconds. After this long an answer counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a summary the line of a document shows, in words.
const SUMMARY_WORDS: usize = 12;

/// An agent that bills its work through Meterline.
///
/// Keys come from the environment only, METERLINE_API_KEY and
/// ANTHROPIC_API_KEY: a command line is visible to every process.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Summarise every document of a folder; bill one unit for each.
    Documents(DocumentsArguments),
    /// Emit many single-unit events at once, with a journal of their outcomes.
    Operations(OperationsArguments),
}

#[derive(Args)]
struct MeterlineArguments {
    /// Where Meterline is.
    #[arg(long, env = "METERLINE_URL", value_name = "URL")]
    meterline_url: String,
    /// How long an event without a clear answer is sent again, under the same id.
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    retry_for_ms: u64,
}

#[derive(Args)]
struct DocumentsArguments {
    /// Stripe's id of who pays, cus_….
    #[arg(long)]
    customer: String,
    /// Stripe's id of the subscription item, si_…; Meterline knows it too. A job that may
    /// move to an agent in another language leaves it out, as that does.
    #[arg(long)]
    subscription_item: Option<String>,
    /// Names the work: the same job again bills nothing twice.
    #[arg(long, value_parser = Job::parse)]
    job: Job,
    /// The folder of the documents, .md and .txt.
    #[arg(long, default_value = "examples/documents")]
    dir: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    meterline: MeterlineArguments,
    /// Where Anthropic's API is.
    #[arg(long, env = "ANTHROPIC_BASE_URL", default_value = DEFAULT_BASE_URL, value_name = "URL")]
    anthropic_base_url: String,
    /// The model that summarises.
    #[arg(long, env = "ANTHROPIC_MODEL", default_value = DEFAULT_MODEL)]
    model: String,
    /// The bound of a summary; one that does not fit is an error.
    #[arg(long, default_value_t = DEFAULT_MAX_TOKENS)]
    max_tokens: u32,
}

#[derive(Args)]
struct OperationsArguments {
    /// Stripe's id of who pays, cus_….
    #[arg(long)]
    customer: String,
    /// Stripe's id of the subscription item, si_…; Meterline knows it too.
    #[arg(long)]
    subscription_item: Option<String>,
    /// What an operation is called on the bill.
    #[arg(long, default_value = DOCUMENT_PROCESSED)]
    action_type: String,
    /// Names the run: operation n has the event id JOB-op-n.
    #[arg(long, value_parser = Job::parse)]
    job: Job,
    /// How many operations.
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// How many at the same time.
    #[arg(long, default_value = "32")]
    concurrency: NonZeroUsize,
    /// The file that every outcome is appended to before it is counted.
    #[arg(long)]
    journal: PathBuf,
    /// Emit again what the journal does not show as acknowledged.
    #[arg(long)]
    resume: bool,
    /// The summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    meterline: MeterlineArguments,
}

/// What ends the program early, in words.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0} must be set in the environment")]
    MissingKey(&'static str),
    #[error(transparent)]
    Service(#[from] agent::service::ServiceError),
    #[error(transparent)]
    Meterline(#[from] meterline_client::SettingsError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Journal(#[from] agent::journal::JournalError),
    #[error(transparent)]
    Operations(#[from] agent::operations::OperationsError),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    #[error("cannot print: {0}")]
    Json(#[from] serde_json::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Documents(arguments) => documents(arguments).await,
        Command::Operations(arguments) => operations(arguments).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

/// Whether every document was summarised and billed.
async fn documents(arguments: DocumentsArguments) -> Result<bool, Failure> {
    let agent = DocumentAgent {
        anthropic: Anthropic::new(
            &arguments.anthropic_base_url,
            &key("ANTHROPIC_API_KEY")?,
            &arguments.model,
            arguments.max_tokens,
        )?,
        meterline: meterline(&arguments.meterline, patience(&arguments.meterline))?,
        customer_id: arguments.customer,
        subscription_item_id: arguments.subscription_item,
        job: arguments.job,
    };
    let mut complete = true;
    for path in list_documents(&arguments.dir)? {
        match agent.process_document(&path).await {
            Ok(processed) if arguments.json => print_json(&processed)?,
            Ok(processed) => print_document(&processed)?,
            // What cannot be billed must not be worked on either. The same job
            // again takes up here and bills nothing twice.
            Err(error @ DocumentError::Emission { .. }) => return Err(error.into()),
            Err(error) => {
                complain(&error);
                complete = false;
            }
        }
    }
    Ok(complete)
}

/// Whether every operation is acknowledged.
async fn operations(arguments: OperationsArguments) -> Result<bool, Failure> {
    let patience = patience(&arguments.meterline);
    let clients = Clients {
        patient: meterline(&arguments.meterline, patience)?,
        hasty: meterline(&arguments.meterline, Duration::ZERO)?,
        patience,
    };
    let (journal, entries) = if arguments.resume {
        Journal::resume(&arguments.journal)?
    } else {
        (Journal::create(&arguments.journal)?, Vec::new())
    };
    let operations = Operations {
        customer_id: arguments.customer,
        subscription_item_id: arguments.subscription_item,
        action_type: arguments.action_type,
        job: arguments.job,
        count: arguments.count,
        concurrency: arguments.concurrency,
    };
    let summary = operations.run(clients, journal, &entries).await?;
    if arguments.json {
        print_json(&summary)?;
    } else {
        print_summary(&summary)?;
    }
    Ok(summary.is_complete())
}

const fn patience(arguments: &MeterlineArguments) -> Duration {
    Duration::from_millis(arguments.retry_for_ms)
}

fn meterline(arguments: &MeterlineArguments, patience: Duration) -> Result<Meterline, Failure> {
    let builder = Meterline::builder(&arguments.meterline_url, key("METERLINE_API_KEY")?)
        .retry_budget(patience)
        .request_timeout(ANSWER_TIMEOUT);
    Ok(builder.build()?)
}

fn key(variable: &'static str) -> Result<SecretString, Failure> {
    std::env::var(variable)
        .ok()
        .filter(|key| !key.is_empty())
        .map(SecretString::from)
        .ok_or(Failure::MissingKey(variable))
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value)?;
    Ok(writeln!(io::stdout(), "{line}")?)
}

fn print_document(processed: &ProcessedDocument) -> Result<(), Failure> {
    let words: Vec<&str> = processed.summary.split_whitespace().collect();
    let (shown, rest) = words.split_at(words.len().min(SUMMARY_WORDS));
    let more = if rest.is_empty() { "" } else { " …" };
    let billed = if processed.duplicate {
        "billed before"
    } else {
        processed.status.as_str()
    };
    let standing = match processed.customer_status.as_deref() {
        None | Some("active") => String::new(),
        Some(status) => format!(", customer {status}"),
    };
    Ok(writeln!(
        io::stdout(),
        "{}: {}{more} [{billed}{standing}]",
        processed.document,
        shown.join(" "),
    )?)
}

fn print_summary(summary: &Summary) -> Result<(), Failure> {
    writeln!(
        io::stdout(),
        "{} acknowledged ({} recorded before), {} refused, {} unknown",
        summary.acknowledged,
        summary.duplicates,
        summary.refused,
        summary.unknown
    )?;
    if summary.acknowledged_before > 0 {
        let before = summary.acknowledged_before;
        writeln!(io::stdout(), "{before} acknowledged before, by the journal")?;
    }
    Ok(())
}

/// To stderr. There is nowhere to report that it is closed.
fn complain(error: &dyn std::error::Error) {
    let _ = writeln!(io::stderr(), "agent: {error}");
}
