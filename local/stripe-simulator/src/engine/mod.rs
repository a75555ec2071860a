//! What happens by itself: periods end, drafts are finalised, payments are tried again. One
//! engine for test clocks and for the account's own time.

mod invoice_fields;
mod invoice_lines;
pub(crate) mod invoicing;
pub(crate) mod payments;
mod periods;
pub(crate) mod trials;

use serde_json::Value;

use crate::api::error::Result;
use crate::api::json::text;
use crate::call::Call;
use crate::resources::{checkout_sessions, disputes};
use crate::store::objects;

/// Does all that is due on a clock (`None`: the account's own) by a moment, in the order of
/// time, so that a long advance passes every period's end on its way. Answers how much it did.
pub(crate) fn run(call: &Call<'_>, clock: Option<&str>, until: i64) -> Result<usize> {
    let mut steps = 0;
    while let Some((object, due_at)) = objects::next_due(call.db, clock, until)? {
        step(call, object, due_at)?;
        steps += 1;
    }
    Ok(steps)
}

fn step(call: &Call<'_>, object: Value, at: i64) -> Result<()> {
    match (text(&object, "/object"), text(&object, "/status")) {
        (Some("checkout.session"), _) => {
            checkout_sessions::end(call, object)?;
            Ok(())
        }
        (Some("dispute"), _) => disputes::decide(call, &object),
        (Some("subscription"), _) if trials::is_announced_at(&object, at) => {
            trials::announce(call, object)
        }
        (Some("subscription"), _) => periods::turn(call, object, at),
        (_, Some("draft")) => {
            let invoice = invoicing::finalize(call, object, at)?;
            payments::collect(call, invoice, at)?;
            Ok(())
        }
        _ => {
            payments::collect(call, object, at)?;
            Ok(())
        }
    }
}
