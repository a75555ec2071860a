//! `meterline setup`: its arguments, and what it prints.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use meterline_cli::secret_file::SecretFile;
use meterline_cli::{SetupOptions, SetupReport, WebhookOptions, setup};

use super::Failure;
use super::environment::stripe_client;
use super::price::PriceArguments;

#[derive(Args)]
pub(crate) struct SetupArguments {
    /// What invoices call it.
    #[arg(long, default_value = "Agent Operations")]
    product_name: String,
    /// The name of the meter's events.
    #[arg(long, default_value = "agent_operations")]
    event_name: String,
    /// The name by which the price is found.
    #[arg(long, default_value = "agent_operations_monthly")]
    lookup_key: String,
    #[command(flatten)]
    price: PriceArguments,
    /// For accounts older than Stripe's meters: a price without one, which bills
    /// usage records. The functions need USAGE_API=usage_record then.
    #[arg(long, conflicts_with = "event_name")]
    legacy: bool,
    /// Have Stripe send its events here: the template's output WebhookUrl.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// Find the endpoint by this name when its address has changed.
    #[arg(long, requires = "webhook_url", value_name = "NAME")]
    webhook_name: Option<String>,
    /// The file for the webhook's signing secrets.
    #[arg(long, default_value = "meterline-webhook-secrets", value_name = "FILE")]
    webhook_secret_file: PathBuf,
    /// Make a new endpoint where the old one's secret is lost.
    #[arg(long, requires = "webhook_url")]
    replace_webhook: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Where Stripe's API is.
    #[arg(
        long,
        env = "STRIPE_API_BASE",
        default_value = "https://api.stripe.com",
        value_name = "URL"
    )]
    stripe_api_base: String,
}

/// Sets Stripe up and prints what is there.
pub(crate) async fn run(arguments: SetupArguments) -> Result<(), Failure> {
    let stripe = stripe_client(&arguments.stripe_api_base)?;
    let webhook = arguments.webhook_url.map(|url| WebhookOptions {
        url,
        name: arguments.webhook_name,
        secret_file: SecretFile::new(&arguments.webhook_secret_file),
        replace: arguments.replace_webhook,
    });
    let options = SetupOptions {
        product_name: arguments.product_name,
        event_name: arguments.event_name,
        lookup_key: arguments.lookup_key,
        price: arguments.price.terms(),
        legacy: arguments.legacy,
        webhook,
        ..SetupOptions::default()
    };
    let report = setup(&stripe, &options).await?;
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    } else {
        print_report(&report, &options)?;
    }
    Ok(())
}

fn print_report(report: &SetupReport, options: &SetupOptions) -> io::Result<()> {
    let mut out = io::stdout();
    let mode = if report.livemode { "live" } else { "test" };
    writeln!(out, "account    {} ({mode} mode)", report.account_id)?;
    let name = options.product_name.as_str();
    let price = format!("{}; lookup key {}", report.terms, options.lookup_key);
    let events = format!("sums {}", options.event_name);
    let rows = [
        ("product", Some(&report.product), name),
        ("meter", report.meter.as_ref(), events.as_str()),
        ("price", Some(&report.price), price.as_str()),
    ];
    for (what, part, detail) in rows {
        let Some((id, found)) = part else { continue };
        writeln!(out, "{what:10} {id}  {detail}  [{}]", found.as_str())?;
    }
    let Some(webhook) = &report.webhook else {
        return Ok(());
    };
    let rows = [
        ("webhook", &webhook.endpoint),
        ("thin", &webhook.event_destination),
    ];
    for (what, (id, found)) in rows {
        writeln!(out, "{what:10} {id}  {}  [{}]", webhook.url, found.as_str())?;
    }
    let file = &webhook.secret_file;
    writeln!(
        out,
        "\nThe signing secrets are in {file}, a line each, readable by you alone. Keep them,\n\
         comma-separated, in Secrets Manager, whose ARN is the parameter StripeWebhookSecretArn:\n\
         \n  aws secretsmanager put-secret-value --secret-id NAME \\\n    \
         --secret-string \"$(cut -d' ' -f2 {file} | paste -sd,)\""
    )
}
