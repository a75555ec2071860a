//! `meterline events list`.

use audit::{PageBounds, read_page};
use billing::CustomerId;
use clap::Args;
use ledger::{Ledger, UsageEventOrder};

use super::super::Failure;
use super::arguments::FilterArguments;
use super::{customer, print};

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Whose events.
    #[arg(value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customer: CustomerId,
    /// So many at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The first to happen first.
    #[arg(long)]
    oldest_first: bool,
    #[command(flatten)]
    filter: FilterArguments,
    /// Print JSON, a line for each event.
    #[arg(long)]
    json: bool,
}

/// Lists, whatever it has to look at for it.
pub(super) async fn run(arguments: &ListArguments, ledger: &Ledger) -> Result<(), Failure> {
    customer(ledger, &arguments.customer).await?;
    let filter = arguments.filter.filter();
    let order = if arguments.oldest_first {
        UsageEventOrder::OldestFirst
    } else {
        UsageEventOrder::NewestFirst
    };
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let bounds = PageBounds {
        events: limit,
        looked_at: usize::MAX,
    };
    let page = read_page(ledger, &arguments.customer, &filter, order, None, bounds).await?;
    print(page.events, arguments.json)
}
