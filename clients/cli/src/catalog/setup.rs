//! `meterline setup --catalog`: Stripe gets a product, a meter and a price for
//! each meter of the file, and the tables get the catalog. All is looked for and
//! checked before anything is made, and found again by the next run.

use std::collections::HashMap;

use billing::{Catalog, Timestamp};
use ledger::{CatalogRow, CatalogStored, Ledger, LedgerError};
use serde::Serialize;
use stripe::Client;

use super::changes::Change;
use super::file::{CatalogFile, CatalogFileError, MeterEntry, place};
use crate::setup::parts::{self, Known, Parts};
use crate::setup::product_id;
use crate::webhook_setup::{WebhookOptions, WebhookReport, set_up_webhook};
use crate::{Found, SetupError, SetupOptions};

/// How a catalog is to be set up.
#[derive(Clone, Debug, Default)]
pub struct CatalogSetupOptions {
    /// Whether its prices are to have no meter and to bill usage records.
    pub legacy: bool,
    /// Whether nothing is to be made or stored.
    pub is_dry_run: bool,
    /// Where Stripe is to send its events, if anywhere. A dry run leaves it.
    pub webhook: Option<WebhookOptions>,
}

/// What Stripe and the tables hold now; of a dry run, what they would.
#[derive(Debug, Serialize)]
pub struct CatalogReport {
    /// Stripe's account, `acct_…`.
    pub account_id: String,
    /// Whether it is live mode.
    pub livemode: bool,
    /// Whether nothing was made or stored.
    pub dry_run: bool,
    /// The meters, as the file has them.
    pub meters: Vec<MeterReport>,
    /// The event name of the meter for what no entry covers.
    pub default_meter: Option<String>,
    /// The catalog's version, and whether it was stored before.
    pub catalog: (u64, Found),
    /// What is otherwise than in the catalog before, if there was one.
    pub changes: Vec<Change>,
    /// The webhook, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookReport>,
}

impl CatalogReport {
    /// Whether customers from before may lack an item: the catalog has a meter
    /// that the one before had not, or is the first.
    pub fn has_new_meters(&self) -> bool {
        let is_new = |change: &Change| matches!(change, Change::MeterAdded { .. });
        self.catalog.1 == Found::Created || self.changes.iter().any(is_new)
    }
}

/// A meter of the catalog in Stripe. What is missing, after a dry run, has no id.
#[derive(Debug, Serialize)]
pub struct MeterReport {
    /// The event name that it listens to.
    pub event_name: String,
    /// What invoices call what it counts, where the product was made from this.
    pub product_name: String,
    /// The product and whether it was there.
    pub product: (Option<String>, Found),
    /// The meter and whether it was there; none for a price without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<(Option<String>, Found)>,
    /// The price and whether it was there.
    pub price: (Option<String>, Found),
    /// The name by which the price is found.
    pub lookup_key: String,
    /// What usage costs, for people: `0.02 usd a unit`.
    pub terms: String,
    /// The action types that it counts.
    pub actions: Vec<String>,
}

/// Why a catalog could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum CatalogSetupError {
    /// The file holds none.
    #[error(transparent)]
    File(#[from] CatalogFileError),
    /// Stripe did not tell the account, or the webhook could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// What a meter needs is not in Stripe as it should be.
    #[error("{place}: {source}")]
    Meter {
        /// The file and the meter: `catalog.json: meters[1] (llm_tokens)`.
        place: String,
        /// Why.
        source: Box<SetupError>,
    },
    /// Two prices without a meter are of one product.
    #[error(
        "{place}.lookup_key: its price is of the product {product_id}, as that of {other} is, \
         and usage records are told apart by the product; choose another lookup key, and setup \
         makes a price of a product of its own"
    )]
    SharedProduct {
        /// The file and the second of the meters.
        place: String,
        /// The event name of the first.
        other: String,
        /// The product.
        product_id: String,
    },
    /// The tables failed.
    #[error("{0}; a catalog is kept in the deployed table that CUSTOMERS_TABLE names")]
    Ledger(#[from] LedgerError),
    /// Somebody stored another catalog since this run had read it.
    #[error(
        "somebody stored another catalog at {changed_at}, version {version}, while this ran: \
         nothing was stored over it. See `meterline catalog show`, and run setup again"
    )]
    ChangedMeanwhile {
        /// The version that is there now.
        version: u64,
        /// When it was stored.
        changed_at: Timestamp,
    },
    /// The catalog that was read is gone.
    #[error("the stored catalog was deleted while this ran: run setup again")]
    DeletedMeanwhile,
}

/// A meter of the file, and what Stripe has of it.
struct Looked<'a> {
    place: String,
    entry: &'a MeterEntry,
    options: SetupOptions,
    known: Known,
}

/// Brings `stripe` and `ledger` to what `file` says, at `now`.
///
/// # Errors
/// A [`CatalogSetupError`]. Run again, it goes on where it stopped.
pub async fn set_up_catalog(
    stripe: &Client,
    ledger: &Ledger,
    file: &CatalogFile,
    options: &CatalogSetupOptions,
    now: Timestamp,
) -> Result<CatalogReport, CatalogSetupError> {
    let account = stripe.retrieve_account().await;
    let account = account.map_err(SetupError::stripe("tell the account"))?;
    let read = ledger.catalog().await?;
    let looked = look(stripe, file, options).await?;
    let products: HashMap<&str, String> = looked
        .iter()
        .map(|looked| (looked.entry.event_name.as_str(), looked.product_id()))
        .collect();
    let product_of = |entry: &MeterEntry| products.get(entry.event_name.as_str()).cloned();
    let catalog = file.catalog(|entry| product_of(entry).unwrap_or_default())?;
    let changes = read
        .as_ref()
        .map(|read| Change::between(&read.catalog, &catalog))
        .unwrap_or_default();
    let mut meters = Vec::with_capacity(looked.len());
    for looked in looked {
        meters.push(match options.is_dry_run {
            true => looked.left(),
            false => looked.made(stripe).await?,
        });
    }
    let stored = match options.is_dry_run {
        true => would_store(read.as_ref(), &catalog),
        false => store(ledger, read.as_ref(), catalog, now).await?,
    };
    let webhook = match &options.webhook {
        Some(webhook) if !options.is_dry_run => Some(set_up_webhook(stripe, webhook).await?),
        _ => None,
    };
    Ok(CatalogReport {
        account_id: account.id,
        livemode: stripe.livemode(),
        dry_run: options.is_dry_run,
        meters,
        default_meter: file.default_meter.clone(),
        catalog: stored,
        changes,
        webhook,
    })
}

/// What Stripe has of each meter, all of it as it should be.
async fn look<'a>(
    stripe: &Client,
    file: &'a CatalogFile,
    options: &CatalogSetupOptions,
) -> Result<Vec<Looked<'a>>, CatalogSetupError> {
    let mut looked: Vec<Looked<'a>> = Vec::with_capacity(file.meters.len());
    for (index, entry) in file.meters.iter().enumerate() {
        let options = SetupOptions {
            product_name: entry.product_name.clone(),
            event_name: entry.event_name.clone(),
            lookup_key: entry.lookup_key.clone(),
            price: entry.price.clone().into(),
            legacy: options.legacy,
            ..SetupOptions::default()
        };
        let place = place(&file.path, index, &entry.event_name);
        let known = parts::find(stripe, &options, &entry.price).await;
        let known = known.map_err(|source| CatalogSetupError::Meter {
            place: place.clone(),
            source: Box::new(source),
        })?;
        let this = Looked {
            place,
            entry,
            options,
            known,
        };
        let mut before = looked.iter();
        if this.options.legacy
            && let Some(other) = before.find(|other| other.product_id() == this.product_id())
        {
            return Err(CatalogSetupError::SharedProduct {
                other: other.entry.event_name.clone(),
                product_id: this.product_id(),
                place: this.place,
            });
        }
        looked.push(this);
    }
    Ok(looked)
}

impl Looked<'_> {
    /// The product that is there, or the one that is to be made.
    fn product_id(&self) -> String {
        let known = self.known.product_id.clone();
        known.unwrap_or_else(|| product_id(&self.entry.event_name))
    }

    /// Makes what is missing.
    async fn made(self, stripe: &Client) -> Result<MeterReport, CatalogSetupError> {
        let Self {
            place,
            entry,
            options,
            known,
        } = self;
        let made = parts::make(stripe, &options, &entry.price, known).await;
        let Parts {
            product,
            meter,
            price,
        } = made.map_err(|source| CatalogSetupError::Meter {
            place,
            source: Box::new(source),
        })?;
        let some = |(id, found)| (Some(id), found);
        Ok(report(entry, some(product), meter.map(some), some(price)))
    }

    /// Makes nothing.
    fn left(self) -> MeterReport {
        let there = |id: Option<String>| match id {
            Some(id) => (Some(id), Found::Found),
            None => (None, Found::Missing),
        };
        let Known {
            product_id,
            meter_id,
            price_id,
            ..
        } = self.known;
        let meter = (!self.options.legacy).then(|| there(meter_id));
        report(self.entry, there(product_id), meter, there(price_id))
    }
}

fn report(
    entry: &MeterEntry,
    product: (Option<String>, Found),
    meter: Option<(Option<String>, Found)>,
    price: (Option<String>, Found),
) -> MeterReport {
    MeterReport {
        event_name: entry.event_name.clone(),
        product_name: entry.product_name.clone(),
        product,
        meter,
        price,
        lookup_key: entry.lookup_key.clone(),
        terms: entry.price.to_string(),
        actions: entry.actions.clone(),
    }
}

/// Stores `catalog` over the one that was `read`, and over no other. Answers its
/// version, and whether it was stored before.
///
/// # Errors
/// [`CatalogSetupError::ChangedMeanwhile`] where another one is there now.
pub async fn store(
    ledger: &Ledger,
    read: Option<&CatalogRow>,
    catalog: Catalog,
    now: Timestamp,
) -> Result<(u64, Found), CatalogSetupError> {
    let would_be = would_store(read, &catalog);
    match ledger.store_catalog(read, catalog.clone(), now).await? {
        CatalogStored::Done | CatalogStored::Same => return Ok(would_be),
        CatalogStored::VersionConflict => {}
    }
    match ledger.catalog().await? {
        // Another run of the same file, or this one, whose answer was lost.
        Some(row) if row.catalog == catalog => Ok((row.version, would_be.1)),
        Some(row) => Err(CatalogSetupError::ChangedMeanwhile {
            version: row.version,
            changed_at: row.changed_at,
        }),
        None => Err(CatalogSetupError::DeletedMeanwhile),
    }
}

/// The version that `catalog` has, or would get over the one that was `read`.
fn would_store(read: Option<&CatalogRow>, catalog: &Catalog) -> (u64, Found) {
    match read {
        None => (1, Found::Created),
        Some(read) if read.catalog == *catalog => (read.version, Found::Found),
        Some(read) => (read.version.saturating_add(1), Found::Changed),
    }
}
