//! `meterline dead-letters`: its arguments, and what it prints.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use meterline_cli::Rebuilder;
use meterline_cli::dead_letters::queue::Received;
use meterline_cli::dead_letters::{DeadLetter, Queues, Settled, Settler, Source};
use redelivery::Redelivery;
use serde_json::json;
use web::Settings;

use super::Failure;
use super::environment::{Surroundings, surroundings};
use super::rebuild::streams_client;

/// The exit status where letters are left.
const LEFT: u8 = 1;

/// What to do with what Lambda gave up.
#[derive(Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Show them: when, whose, why.
    List(DeadLettersArguments),
    /// Do again what they stand for, and delete them.
    ///
    /// Redelivery runs once more, here; for batches of the rollup, totals and outbox
    /// are rebuilt; for a sweep, it is checked that a later one came further.
    Redrive(DeadLettersArguments),
}

#[derive(Args)]
pub(crate) struct DeadLettersArguments {
    /// Print JSON, a line for each letter.
    #[arg(long)]
    json: bool,
}

/// Does what is asked for, and prints what came of it.
pub(crate) async fn run(command: DeadLettersCommand) -> Result<ExitCode, Failure> {
    let settings = Settings::from_environment().await?;
    let queues = queues(&settings)?;
    match command {
        DeadLettersCommand::List(arguments) => list(&queues, &arguments).await,
        DeadLettersCommand::Redrive(arguments) => redrive(&queues, &arguments).await,
    }
}

/// Those whose variables are set.
fn queues(settings: &Settings) -> Result<Queues, Failure> {
    let urls = Source::ALL.into_iter();
    let urls = urls.filter_map(|source| Some((source, settings.variable(source.variable())?)));
    let urls: Vec<_> = urls.collect();
    if urls.is_empty() {
        return Err(Failure::NoDeadLetters);
    }
    Ok(Queues::new(aws_sdk_sqs::Client::new(settings.aws()), urls))
}

async fn list(queues: &Queues, arguments: &DeadLettersArguments) -> Result<ExitCode, Failure> {
    let received = queues.receive_all().await?;
    for one in &received {
        print(&one.letter, None, arguments)?;
        queues.give_back(one).await?;
    }
    writeln!(io::stderr(), "{} dead letters", received.len())?;
    Ok(ExitCode::SUCCESS)
}

async fn redrive(queues: &Queues, arguments: &DeadLettersArguments) -> Result<ExitCode, Failure> {
    let received = queues.receive_all().await?;
    let settled = match settle(&received).await {
        Ok(settled) => settled,
        Err(failure) => {
            for one in &received {
                queues.give_back(one).await?;
            }
            return Err(failure);
        }
    };
    let mut left = 0;
    for one in &received {
        let outcome = settled.get(&one.letter.source);
        print(&one.letter, outcome, arguments)?;
        if outcome == Some(&Settled::Done) {
            queues.delete(one).await?;
        } else {
            left += 1;
            queues.give_back(one).await?;
        }
    }
    let done = received.len() - left;
    writeln!(io::stderr(), "{done} settled and deleted, {left} left")?;
    Ok(if left == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(LEFT)
    })
}

async fn settle(received: &[Received]) -> Result<BTreeMap<Source, Settled>, Failure> {
    if received.is_empty() {
        return Ok(BTreeMap::new());
    }
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings().await?;
    let settler = Settler::new(
        ledger.clone(),
        Redelivery::new(ledger.clone(), stripe, Arc::clone(&clock)),
        Rebuilder::new(ledger, streams_client().await?),
    );
    let letters: Vec<&DeadLetter> = received.iter().map(|one| &one.letter).collect();
    Ok(settler.settle(&letters).await?)
}

fn print(
    letter: &DeadLetter,
    outcome: Option<&Settled>,
    arguments: &DeadLettersArguments,
) -> io::Result<()> {
    let mut out = io::stdout();
    let source = letter.source.as_str();
    let outcome = outcome.map(|outcome| match outcome {
        Settled::Done => "settled".to_owned(),
        Settled::Left(why) => format!("left: {why}"),
    });
    if arguments.json {
        let line = json!({
            "source": source,
            "at": letter.at.map(|at| at.to_string()),
            "condition": letter.condition,
            "detail": letter.detail,
            "outcome": outcome,
        });
        return writeln!(out, "{line}");
    }
    let at = letter
        .at
        .map_or_else(|| "no time".to_owned(), |at| at.to_string());
    write!(
        out,
        "{at}  {source}  {}  {}",
        letter.condition, letter.detail
    )?;
    match outcome {
        Some(outcome) => writeln!(out, "  {outcome}"),
        None => writeln!(out),
    }
}
