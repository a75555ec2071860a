//! Prints what `docs/scale.md` says of large loads, or writes it there.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use scale::inputs::Inputs;
use scale::{ScaleError, page};

/// Reckons what large loads take and cost, from what was measured and published.
#[derive(Parser)]
struct Arguments {
    /// The repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Write the results into the repository's docs/scale.md; else print them.
    #[arg(long)]
    write: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match reckon(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn reckon(arguments: &Arguments) -> Result<(), ScaleError> {
    let failed = |path: PathBuf| |source| ScaleError::File { path, source };
    if arguments.write {
        let path = arguments.root.join(page::FILE);
        let fresh = page::fresh(&arguments.root)?;
        return std::fs::write(&path, fresh).map_err(failed(path));
    }
    let results = page::results(&Inputs::read(&arguments.root)?)?;
    let printed = writeln!(std::io::stdout(), "{}", results.trim());
    printed.map_err(failed(PathBuf::from("standard output")))
}

/// The error and its causes. There is nowhere to report that stderr is closed.
fn complain(error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    let _ = writeln!(std::io::stderr(), "scale: {text}");
}
