//! Measures how fast Meterline is, everything beside what it is compared with,
//! and writes the results into a page.
//!
//! | module | measures |
//! | --- | --- |
//! | [`latency`], [`floor`] | an emission, and the least that it could take |
//! | [`sustained`], [`load`], [`capacity`] | a thousand events a second, and their write units |
//! | [`throughput`] | the most that batches reach |
//! | [`report_time`] | the report, and the answer to access, by the customer's events |
//! | [`dashboards`] | open dashboards while usage comes in |
//! | [`python`] | the common emitter in Python |
//! | [`cold_start`], [`lambda`] | the functions' first answers |

mod capacity;
mod cold_start;
mod dashboards;
mod floor;
mod lambda;
mod latency;
mod load;
mod machine;
mod page;
mod python;
mod report_time;
mod samples;
mod sustained;
mod throughput;
mod world;

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use page::Page;

/// Why a measurement cannot be made.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Measures how fast Meterline is.
#[derive(Parser)]
struct Arguments {
    /// A smoke run: everything, a little of each. Its figures say nothing.
    #[arg(long)]
    quick: bool,
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// The page that the results are written into.
    #[arg(long)]
    page: Option<PathBuf>,
    /// Where `cargo lambda build` put the functions.
    #[arg(long, default_value = "target/lambda")]
    functions: PathBuf,
    /// A Python that has Stripe's SDK.
    #[arg(long, default_value = "target/bench-python/bin/python")]
    python: PathBuf,
}

/// One part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Latency,
    Sustained,
    Throughput,
    Report,
    Dashboards,
    Python,
    ColdStart,
}

/// How much of everything is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    divisor: usize,
}

impl Scale {
    /// How many instead of `full`: at least one.
    pub(crate) fn of(self, full: usize) -> usize {
        (full / self.divisor).max(1)
    }

    /// As [`Scale::of`].
    pub(crate) fn of_u64(self, full: u64) -> u64 {
        (full / self.divisor as u64).max(1)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes. There is nowhere to report that stderr is closed.
fn complain(error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let scale = Scale {
        divisor: if arguments.quick { 50 } else { 1 },
    };
    let page = &mut Page::default();
    machine::tell(page)?;
    let parts = if arguments.only.is_empty() {
        Part::value_variants()
    } else {
        &arguments.only
    };
    for part in parts {
        match part {
            Part::Latency => latency::run(page, scale).await?,
            Part::Sustained => sustained::run(page, scale).await?,
            Part::Throughput => throughput::run(page, scale).await?,
            Part::Report => report_time::run(page, scale).await?,
            Part::Dashboards => dashboards::run(page, scale).await?,
            Part::Python => python::run(page, scale, &arguments.python).await?,
            Part::ColdStart => cold_start::run(page, scale, &arguments.functions).await?,
        }
    }
    match &arguments.page {
        Some(path) => page.write_into(path),
        None => Ok(()),
    }
}
