//! `meterline keys rotate`.

use std::io::{self, Write};

use billing::{HOUR_MS, Timestamp};
use clap::Args;
use ledger::{Ledger, Rotated, Rotation};

use super::super::Failure;
use super::arguments::parse_key_id;
use super::create;

/// Thirty days.
const OVERLAP_HOURS_MAX: i64 = 720;

#[derive(Args)]
pub(crate) struct RotateArguments {
    /// The id of the key to replace, as `keys list` shows it.
    #[arg(value_name = "KEY_ID", value_parser = parse_key_id)]
    key_id: String,
    /// How long the old key goes on working, beside the new one.
    #[arg(
        long,
        value_name = "HOURS",
        default_value_t = 24,
        value_parser = clap::value_parser!(i64).range(0..=OVERLAP_HOURS_MAX)
    )]
    overlap: i64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    arguments: RotateArguments,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<(), Failure> {
    let key_id = arguments.key_id;
    let Some(old) = ledger.api_key(&key_id).await? else {
        return Err(Failure::UnknownKey(key_id));
    };
    if let Some(reason) = old.refuses_rotation(now) {
        return Err(Failure::NoRotation(reason));
    }
    let overlap_ms = arguments.overlap.saturating_mul(HOUR_MS);
    let rotation = Rotation::prepare(old, overlap_ms, now)?;
    // Stored first: a key that is shown works.
    match ledger.rotate_api_key(&rotation).await? {
        Rotated::Done => {}
        Rotated::Changed => {
            let reason = format!("the key {key_id} was changed meanwhile: see `keys list`");
            return Err(Failure::NoRotation(reason));
        }
    }
    create::print(&rotation.new.key, &rotation.new.row, arguments.json)?;
    if let Some(end) = rotation.old.expires_at {
        // Beside the key, which a script takes from stdout.
        writeln!(io::stderr(), "{key_id} works until {end}")?;
    }
    Ok(())
}
