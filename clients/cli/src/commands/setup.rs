//! `meterline setup`: its arguments, and what it prints.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use meterline_cli::catalog::MeterReport;
use meterline_cli::secret_file::SecretFile;
use meterline_cli::{
    CatalogFile, CatalogReport, CatalogSetupOptions, Found, SetupOptions, SetupReport,
    WebhookOptions, WebhookReport, set_up_catalog, setup,
};
use web::{Settings, SettingsError, check_stripe_account};

use super::Failure;
use super::environment::stripe_client;
use super::price::PriceArguments;

/// The arguments that say one meter and its price, as a catalog says several.
const OF_ONE_METER: [&str; 8] = [
    "product_name",
    "event_name",
    "lookup_key",
    "currency",
    "unit_amount_decimal",
    "transform_quantity",
    "tiers_mode",
    "tiers",
];

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
    /// Several meters with their prices and the actions that each counts, from a
    /// JSON file. Stored in the deployed table that CUSTOMERS_TABLE names.
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_ONE_METER)]
    catalog: Option<PathBuf>,
    /// Only say what would be made and what would change.
    #[arg(long, requires = "catalog", conflicts_with = "webhook_url")]
    dry_run: bool,
    /// For accounts older than Stripe's meters: prices without one, which bill
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
    if let Some(file) = &arguments.catalog {
        return run_catalog(&arguments, file).await;
    }
    let stripe = stripe_client(&arguments.stripe_api_base)?;
    let webhook = arguments.webhook();
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

/// Sets Stripe up for the catalog of `file`, and stores it.
async fn run_catalog(arguments: &SetupArguments, file: &Path) -> Result<(), Failure> {
    let file = CatalogFile::read(file).map_err(meterline_cli::catalog::CatalogSetupError::from)?;
    let stripe = stripe_client(&arguments.stripe_api_base)?;
    let settings = Settings::from_environment().await?;
    let ledger = super::catalog::tables(&settings)?;
    let checked = check_stripe_account(&ledger, &stripe).await;
    checked.map_err(SettingsError::from)?;
    let options = CatalogSetupOptions {
        legacy: arguments.legacy,
        is_dry_run: arguments.dry_run,
        webhook: arguments.webhook(),
    };
    let now = settings.clock().now();
    let report = set_up_catalog(&stripe, &ledger, &file, &options, now).await?;
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    } else {
        print_catalog(&report)?;
    }
    Ok(())
}

impl SetupArguments {
    fn webhook(&self) -> Option<WebhookOptions> {
        self.webhook_url.as_ref().map(|url| WebhookOptions {
            url: url.clone(),
            name: self.webhook_name.clone(),
            secret_file: SecretFile::new(&self.webhook_secret_file),
            replace: self.replace_webhook,
        })
    }
}

fn print_report(report: &SetupReport, options: &SetupOptions) -> io::Result<()> {
    let mut out = io::stdout();
    print_account(&mut out, &report.account_id, report.livemode)?;
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
    print_webhook(&mut out, report.webhook.as_ref())
}

fn print_catalog(report: &CatalogReport) -> io::Result<()> {
    let mut out = io::stdout();
    print_account(&mut out, &report.account_id, report.livemode)?;
    for meter in &report.meters {
        print_meter(&mut out, meter, report.default_meter.as_deref())?;
    }
    if report.default_meter.is_none() {
        writeln!(out, "any other action is refused")?;
    }
    let (version, found) = report.catalog;
    let stored = match (report.dry_run, found) {
        (true, Found::Created) => "to be stored",
        (true, Found::Changed) => "to be changed",
        (false, Found::Created) => "stored",
        (_, found) => found.as_str(),
    };
    writeln!(out, "{:10} version {version}  [{stored}]", "catalog")?;
    for change in &report.changes {
        writeln!(out, "  {change}")?;
    }
    if !report.dry_run && matches!(found, Found::Created | Found::Changed) {
        writeln!(
            out,
            "It counts within 30 seconds. What is recorded keeps its meter."
        )?;
    }
    print_webhook(&mut out, report.webhook.as_ref())?;
    if !report.dry_run && report.has_new_meters() {
        writeln!(
            out,
            "\nCustomers from before lack the items of new meters, and usage of these is held for \
             them.\n`meterline catalog subscribe` adds the items; then `meterline redrive --status \
             held --yes`\nsends what was held."
        )?;
    }
    Ok(())
}

fn print_meter(
    out: &mut impl Write,
    meter: &MeterReport,
    default_meter: Option<&str>,
) -> io::Result<()> {
    let price = format!("{}; lookup key {}", meter.terms, meter.lookup_key);
    let events = format!("sums {}", meter.event_name);
    let rows = [
        ("product", Some(&meter.product), meter.product_name.as_str()),
        ("meter", meter.meter.as_ref(), events.as_str()),
        ("price", Some(&meter.price), price.as_str()),
    ];
    for (what, part, detail) in rows {
        let Some((id, found)) = part else { continue };
        let id = id.as_deref().unwrap_or("-");
        writeln!(out, "{what:10} {id}  {detail}  [{}]", found.as_str())?;
    }
    let mut actions = meter.actions.clone();
    if default_meter == Some(meter.event_name.as_str()) {
        actions.push("any other action".to_owned());
    }
    let (what, name) = ("actions", &meter.event_name);
    writeln!(out, "{what:10} {}  to {name}", actions.join(", "))
}

fn print_account(out: &mut impl Write, account_id: &str, livemode: bool) -> io::Result<()> {
    let mode = if livemode { "live" } else { "test" };
    writeln!(out, "account    {account_id} ({mode} mode)")
}

fn print_webhook(out: &mut impl Write, webhook: Option<&WebhookReport>) -> io::Result<()> {
    let Some(webhook) = webhook else {
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
