//! `meterline catalog`: its arguments, and what it prints.

use std::io::{self, Write};
use std::process::ExitCode;

use billing::{ActionType, CatalogTerms, CustomerId};
use clap::{Args, Subcommand};
use ledger::{CatalogRow, CustomerCursor, CustomerRow, Ledger};
use metering::in_order;
use meterline_cli::catalog::{AddedItem, Rule, SubscribeError, Subscribed, Subscriber};
use serde_json::{Value, json};
use web::{Settings, SettingsError};

use super::environment::{Surroundings, surroundings};
use super::progress::Progress;
use super::{Failure, complain};

/// The exit status where an action is refused, or a customer was not subscribed.
const LEFT: u8 = 1;

/// Customers at once: each asks Stripe for three things, one after the other, and
/// Stripe takes 25 requests a second in test mode.
const CUSTOMERS_IN_FLIGHT: usize = 4;

/// What to do with the catalog.
#[derive(Subcommand)]
pub(crate) enum CatalogCommand {
    /// Print the stored catalog. `setup --catalog` stores one.
    Show(ShowArguments),
    /// Say which meter counts an action, and by which entry.
    Which(WhichArguments),
    /// Give customers the subscription items of the catalog that they lack.
    Subscribe(SubscribeArguments),
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct WhichArguments {
    /// Action types.
    #[arg(value_name = "ACTION", value_parser = ActionType::parse, required = true)]
    actions: Vec<ActionType>,
    /// Print JSON, a line for each action.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct SubscribeArguments {
    /// Only this customer; may be given again. All customers, if none.
    #[arg(long = "customer", value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customers: Vec<CustomerId>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, a line for each customer.
    #[arg(long)]
    json: bool,
}

/// Does what is asked for, and prints what came of it.
pub(crate) async fn run(command: CatalogCommand) -> Result<ExitCode, Failure> {
    match command {
        CatalogCommand::Show(arguments) => show(arguments).await,
        CatalogCommand::Which(arguments) => which(arguments).await,
        CatalogCommand::Subscribe(arguments) => subscribe(arguments).await,
    }
}

/// The tables, one of which keeps the catalog.
pub(super) fn tables(settings: &Settings) -> Result<Ledger, SettingsError> {
    settings.required("CUSTOMERS_TABLE")?;
    Ok(settings.ledger())
}

async fn show(arguments: ShowArguments) -> Result<ExitCode, Failure> {
    let settings = Settings::from_environment().await?;
    let row = tables(&settings)?.catalog().await?;
    let mut out = io::stdout();
    if arguments.json {
        writeln!(out, "{}", described(row))?;
        return Ok(ExitCode::SUCCESS);
    }
    match row {
        Some(row) => {
            writeln!(out, "version {}, of {}", row.version, row.changed_at)?;
            write!(out, "{}", row.catalog)?;
        }
        None => writeln!(
            out,
            "no catalog is stored: all usage of a customer goes to the one item that it was \
             onboarded with"
        )?,
    }
    Ok(ExitCode::SUCCESS)
}

fn described(row: Option<CatalogRow>) -> Value {
    row.map_or_else(
        || json!({ "catalog": null }),
        |row| {
            json!({
                "version": row.version,
                "changed_at": row.changed_at.to_string(),
                "catalog": CatalogTerms::from(row.catalog),
            })
        },
    )
}

/// The status is 0 where the catalog covers every action, 1 where it refuses one.
async fn which(arguments: WhichArguments) -> Result<ExitCode, Failure> {
    let settings = Settings::from_environment().await?;
    let row = tables(&settings)?.catalog().await?;
    let catalog = row.ok_or(Failure::NoCatalog)?.catalog;
    let mut out = io::stdout();
    let mut is_refused = false;
    for action_type in &arguments.actions {
        let found = Rule::of(&catalog, action_type);
        is_refused |= found.is_none();
        let action = action_type.as_str();
        match (found, arguments.json) {
            (Some((meter, rule)), false) => {
                let (event_name, lookup_key) = (&meter.event_name, &meter.lookup_key);
                writeln!(
                    out,
                    "{action}  {event_name}  {rule}; billed at {lookup_key}"
                )?;
            }
            (None, false) => writeln!(out, "{action}  refused: no entry covers it")?,
            (found, true) => {
                let (meter, rule) = found.unzip();
                let line = json!({
                    "action_type": action,
                    "event_name": meter.map(|meter| &meter.event_name),
                    "lookup_key": meter.map(|meter| &meter.lookup_key),
                    "by": rule,
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(match is_refused {
        true => ExitCode::from(LEFT),
        false => ExitCode::SUCCESS,
    })
}

/// Subscribes customers, and prints an outcome for each. The status is 0 where
/// every one has all items, or its subscription has ended, and 1 where one failed.
async fn subscribe(arguments: SubscribeArguments) -> Result<ExitCode, Failure> {
    let Surroundings { ledger, stripe, .. } = surroundings().await?;
    let row = ledger.catalog().await?;
    let catalog = row.ok_or(Failure::NoCatalog)?.catalog;
    let subscriber = Subscriber::new(ledger.clone(), stripe, catalog, arguments.dry_run);
    let mut run = Run {
        subscriber: subscriber.await?,
        json: arguments.json,
        progress: Progress::new(),
        done: 0,
        failed: 0,
    };
    if arguments.customers.is_empty() {
        let mut cursor = CustomerCursor::default();
        while let Some(customers) = ledger.next_customers(&mut cursor).await? {
            run.customers(customers).await?;
        }
    }
    for customer_id in &arguments.customers {
        match ledger.customer(customer_id).await? {
            Some(customer) => run.customers(vec![customer]).await?,
            None => {
                let unknown = SubscribeError::UnknownCustomer(customer_id.clone());
                run.print(customer_id, &Err(unknown))?;
            }
        }
    }
    run.end()
}

struct Run {
    subscriber: Subscriber,
    json: bool,
    progress: Progress,
    done: u64,
    failed: u64,
}

impl Run {
    async fn customers(&mut self, customers: Vec<CustomerRow>) -> Result<(), Failure> {
        for customers in customers.chunks(CUSTOMERS_IN_FLIGHT) {
            let looked_at = self.done.saturating_add(self.failed);
            self.progress
                .say(&format!("{looked_at} customers looked at"));
            let subscribing = customers.iter().cloned();
            let subscribing = subscribing.map(|customer| self.subscriber.customer(customer));
            let subscribed = in_order(subscribing.collect(), CUSTOMERS_IN_FLIGHT).await;
            self.progress.clear();
            for (customer, subscribed) in customers.iter().zip(subscribed) {
                self.print(&customer.customer_id, &subscribed)?;
            }
        }
        Ok(())
    }

    fn print(
        &mut self,
        customer_id: &CustomerId,
        subscribed: &Result<Subscribed, SubscribeError>,
    ) -> Result<(), Failure> {
        let mut out = io::stdout();
        match subscribed {
            Ok(subscribed) => {
                self.done = self.done.saturating_add(1);
                if self.json {
                    let mut line = serde_json::to_value(subscribed)?;
                    line["customer_id"] = json!(customer_id);
                    writeln!(out, "{line}")?;
                } else {
                    writeln!(out, "{customer_id}  {}", describe(subscribed))?;
                }
            }
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                if self.json {
                    let line = json!({ "customer_id": customer_id, "outcome": "failed",
                        "reason": error.to_string() });
                    writeln!(out, "{line}")?;
                } else {
                    complain(&format!("{customer_id}  not subscribed"), error);
                }
            }
        }
        Ok(())
    }

    fn end(self) -> Result<ExitCode, Failure> {
        let Self { done, failed, .. } = self;
        if !self.json {
            writeln!(io::stdout(), "{done} customers done, {failed} failed")?;
        }
        Ok(match failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(LEFT),
        })
    }
}

fn describe(subscribed: &Subscribed) -> String {
    match subscribed {
        Subscribed::UpToDate => "has all items".to_owned(),
        Subscribed::Ended => "left: its subscription has ended".to_owned(),
        Subscribed::RowChanged => "had all items in Stripe; its row has them now, too".to_owned(),
        Subscribed::RowToChange => {
            "has all items in Stripe; its row would be brought to that".to_owned()
        }
        Subscribed::Added { items } => {
            let items = items.iter().map(|item: &AddedItem| {
                format!(
                    "{} for {}",
                    item.subscription_item_id, item.meter_event_name
                )
            });
            format!("subscribed: {}", items.collect::<Vec<_>>().join(", "))
        }
        Subscribed::ToAdd { meters } => format!("would be subscribed to {}", meters.join(", ")),
    }
}
