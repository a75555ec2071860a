//! `meterline notifications`: its arguments, and what it prints.

use std::io::{self, Write};
use std::process::ExitCode;

use billing::Timestamp;
use clap::{Args, Subcommand, ValueEnum};
use ledger::{BillingEventRow, Channel, Delivery, DeliveryState, Ledger, Progress};
use meterline_cli::notifications::{Resent, Wanted, events_at, resend};
use serde_json::json;
use web::Settings;

use super::Failure;

/// The exit status where something is left as it was.
const LEFT: u8 = 1;

/// What to do with notifications by mail and webhook.
#[derive(Subcommand)]
pub(crate) enum NotificationsCommand {
    /// Show those that were given up, or that are still tried.
    List(ListArguments),
    /// Have them tried again, for three days more; the next minute is the first try.
    Resend(ResendArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Which.
    #[arg(long, value_enum, default_value_t = ListedState::Dead)]
    state: ListedState,
    /// How many events at most.
    #[arg(long, default_value_t = 100, value_name = "EVENTS",
          value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// Print JSON, a line for each.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ListedState {
    /// Given up.
    Dead,
    /// To be tried, perhaps again.
    Pending,
}

#[derive(Args)]
#[group(id = "which", required = true, args = ["events", "all_dead"])]
pub(crate) struct ResendArguments {
    /// Stripe's ids of the events that they are of, as `list` shows them.
    #[arg(value_name = "EVENT")]
    events: Vec<String>,
    /// Everything that was given up.
    #[arg(long, conflicts_with = "events")]
    all_dead: bool,
    /// By one way alone.
    #[arg(long, value_enum)]
    channel: Option<NamedChannel>,
    /// Even what was sent: whoever got it gets it again.
    #[arg(long, conflicts_with = "all_dead")]
    even_sent: bool,
    /// Print JSON, a line for each event.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum NamedChannel {
    Email,
    Webhook,
}

impl From<NamedChannel> for Channel {
    fn from(named: NamedChannel) -> Self {
        match named {
            NamedChannel::Email => Self::Email,
            NamedChannel::Webhook => Self::Webhook,
        }
    }
}

/// Does what is asked for, and prints what came of it.
pub(crate) async fn run(command: NotificationsCommand) -> Result<ExitCode, Failure> {
    let settings = Settings::from_environment().await?;
    let (ledger, now) = (settings.ledger(), settings.clock().now());
    match command {
        NotificationsCommand::List(arguments) => list(&arguments, &ledger).await,
        NotificationsCommand::Resend(arguments) => send_again(&arguments, &ledger, now).await,
    }
}

async fn list(arguments: &ListArguments, ledger: &Ledger) -> Result<ExitCode, Failure> {
    let (progress, state) = match arguments.state {
        ListedState::Dead => (Progress::Dead, DeliveryState::Dead),
        ListedState::Pending => (Progress::Pending, DeliveryState::Pending),
    };
    let events = events_at(ledger, progress, arguments.limit).await?;
    let mut out = io::stdout();
    let mut count = 0;
    for event in &events {
        let deliveries = event.deliveries.iter();
        for delivery in deliveries.filter(|delivery| delivery.state == state) {
            count += 1;
            print(&mut out, event, delivery, arguments.json)?;
        }
    }
    let word = state.as_str();
    writeln!(io::stderr(), "{count} {word}, of {} events", events.len())?;
    Ok(ExitCode::SUCCESS)
}

fn print(
    out: &mut impl Write,
    event: &BillingEventRow,
    delivery: &Delivery,
    as_json: bool,
) -> io::Result<()> {
    let (at, channel) = (delivery.due_at.to_string(), delivery.channel);
    let customer = event.customer_id.as_ref().map(|id| id.as_str());
    let (id, attempts) = (&delivery.notification_id, delivery.attempts);
    if as_json {
        let line = json!({
            "event_id": event.stripe_event_id, "notification_id": id,
            "customer_id": customer, "channel": channel, "state": delivery.state,
            "at": at, "since": delivery.since.to_string(),
            "attempts": attempts, "reason": delivery.reason,
        });
        return writeln!(out, "{line}");
    }
    let customer = customer.unwrap_or("no customer");
    let reason = delivery.reason.as_deref().unwrap_or("not tried yet");
    writeln!(
        out,
        "{at}  {id}  {customer}  {channel}  {attempts} attempts  {reason}"
    )
}

async fn send_again(
    arguments: &ResendArguments,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<ExitCode, Failure> {
    let wanted = Wanted {
        channel: arguments.channel.map(Channel::from),
        even_sent: arguments.even_sent,
    };
    let mut out = io::stdout();
    let mut again = async |event_id: &str| -> Result<bool, Failure> {
        let resent = resend(ledger, event_id, wanted, now).await?;
        print_resent(&mut out, event_id, &resent, arguments.json)?;
        Ok(matches!(resent, Resent::Due(_)))
    };
    let mut left = 0;
    for event_id in &arguments.events {
        left += usize::from(!again(event_id).await?);
    }
    // What is due is dead no more, so that the next page has others; unless they are
    // dead by another way than the one that is wanted.
    let mut goes_on = arguments.all_dead;
    while goes_on {
        let dead = events_at(ledger, Progress::Dead, PAGE_EVENTS).await?;
        goes_on = false;
        for event in &dead {
            goes_on |= again(&event.stripe_event_id).await?;
        }
        goes_on &= dead.len() == usize::from(PAGE_EVENTS);
    }
    Ok(if left == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(LEFT)
    })
}

/// Dead events that are looked at in one go.
const PAGE_EVENTS: u16 = 1_000;

fn print_resent(
    out: &mut impl Write,
    event_id: &str,
    resent: &Resent,
    as_json: bool,
) -> io::Result<()> {
    let due: &[Delivery] = match resent {
        Resent::Due(due) => due,
        _ => &[],
    };
    let why_not = match resent {
        Resent::Due(_) => None,
        Resent::Nothing => Some("nothing of it was given up"),
        Resent::Unknown => Some("there is no such event"),
        Resent::Busy => Some("it is being delivered: try again"),
    };
    if as_json {
        let due: Vec<_> = due
            .iter()
            .map(|it| json!({ "notification_id": it.notification_id, "channel": it.channel }))
            .collect();
        let line = json!({ "event_id": event_id, "due": due, "left": why_not });
        return writeln!(out, "{line}");
    }
    for delivery in due {
        let (id, channel) = (&delivery.notification_id, delivery.channel);
        writeln!(out, "{id}  {channel}  due again")?;
    }
    match why_not {
        Some(why_not) => writeln!(out, "{event_id}  left: {why_not}"),
        None => Ok(()),
    }
}
