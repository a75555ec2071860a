//! The metered prices that a new customer subscribes to: one for each meter of
//! the catalog, or the one that is configured where there is no catalog.

use billing::{Catalog, CatalogMeter};
use metering::{MeteredPrice, in_order};

use crate::error::OnboardingError;
use crate::onboard::Onboarder;

/// How many prices are looked up at once: twenty are the most that there are,
/// and a sandbox takes 25 requests a second.
const LOOK_UPS_IN_FLIGHT: usize = 5;

/// All that a new customer's usage is billed at: usable, in one currency, for
/// periods of one length.
pub(crate) struct Prices {
    first: MeteredPrice,
    more: Vec<MeteredPrice>,
    catalog: Option<Catalog>,
}

impl Onboarder {
    /// The prices as they are now. The catalog is read anew, not remembered:
    /// calls that come at once for one customer must not subscribe it twice, to
    /// two sets of prices, and who is onboarded after a change gets the change.
    pub(crate) async fn prices(&self) -> Result<Prices, OnboardingError> {
        let catalog = self.ledger.catalog().await?.map(|row| row.catalog);
        let (stripe, lookup_key) = (&self.stripe, &self.price_lookup_key);
        let meters = catalog.as_ref().map(|it| meters_in_order(it, lookup_key));
        let meters = meters.unwrap_or_default();
        let found = meters
            .iter()
            .map(|meter| find(stripe, meter, catalog.as_ref()));
        let found = in_order(found.collect(), LOOK_UPS_IN_FLIGHT).await;
        let found: Vec<MeteredPrice> = found.into_iter().collect::<Result<_, _>>()?;
        check_alike(&meters, &found)?;
        let mut found = found.into_iter();
        let first = match found.next() {
            Some(first) => first,
            None => MeteredPrice::find(stripe, lookup_key, None).await?,
        };
        Ok(Prices {
            first,
            more: found.collect(),
            catalog,
        })
    }
}

impl Prices {
    /// The price of the item that the customer's row names first, to which all
    /// usage goes where there is no catalog.
    pub(crate) const fn first(&self) -> &MeteredPrice {
        &self.first
    }

    /// All of them, the first one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &MeteredPrice> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The catalog that names them, if there is one.
    pub(crate) const fn catalog(&self) -> Option<&Catalog> {
        self.catalog.as_ref()
    }

    /// Their ids, as they name a subscription to all of them.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.iter().map(|price| price.price_id.clone()).collect()
    }
}

/// The catalog's meters. First the one of the configured price, which customers
/// of before the catalog have; else the one that counts what no entry covers.
fn meters_in_order<'a>(catalog: &'a Catalog, price_lookup_key: &str) -> Vec<&'a CatalogMeter> {
    let mut meters: Vec<&CatalogMeter> = catalog.meters().iter().collect();
    let configured = |meter: &&CatalogMeter| meter.lookup_key == price_lookup_key;
    let default = |meter: &&CatalogMeter| catalog.default_meter() == Some(&meter.event_name);
    let first = meters.iter().position(configured);
    if let Some(first) = first.or_else(|| meters.iter().position(default)) {
        meters[..=first].rotate_right(1);
    }
    meters
}

/// The price of `meter`, which must bill what that counts.
async fn find(
    stripe: &stripe::Client,
    meter: &CatalogMeter,
    catalog: Option<&Catalog>,
) -> Result<MeteredPrice, OnboardingError> {
    let price = MeteredPrice::find(stripe, &meter.lookup_key, catalog).await?;
    if price.meter_event_name == meter.event_name {
        return Ok(price);
    }
    let reason = match price.meter_event_name.as_str() {
        "" => format!("is not of the product of {}", meter.event_name),
        other => format!(
            "bills {other}, and in the catalog it is the price of {}",
            meter.event_name
        ),
    };
    Err(OnboardingError::Price {
        name: meter.lookup_key.clone(),
        reason,
    })
}

/// A subscription has one currency, and periods of one length.
fn check_alike(meters: &[&CatalogMeter], prices: &[MeteredPrice]) -> Result<(), OnboardingError> {
    let mut all = meters.iter().zip(prices);
    let Some((first_meter, first)) = all.next() else {
        return Ok(());
    };
    for (meter, price) in all {
        let of_price = [price.price.currency().as_str(), price.period.as_str()];
        let of_first = [first.price.currency().as_str(), first.period.as_str()];
        let differ = of_price.into_iter().zip(of_first).find(|(a, b)| a != b);
        if let Some((this, that)) = differ {
            return Err(OnboardingError::Price {
                name: meter.lookup_key.clone(),
                reason: format!(
                    "is for {this}, and {:?} for {that}: a subscription has one currency and one \
                     period",
                    first_meter.lookup_key
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use billing::CatalogTerms;

    use super::*;

    fn catalog(default_meter: Option<&str>) -> Catalog {
        let meters = ["a", "b", "c"].map(|name| CatalogMeter {
            event_name: name.to_owned(),
            lookup_key: format!("{name}_monthly"),
            product_id: format!("prod_{name}"),
            actions: vec![name.to_owned()],
        });
        let terms = CatalogTerms {
            meters: meters.to_vec(),
            default_meter: default_meter.map(str::to_owned),
        };
        Catalog::try_from(terms).unwrap()
    }

    #[test]
    fn the_configured_price_comes_first_then_the_default_meters_then_as_written() {
        for (configured, default_meter, order) in [
            ("b_monthly", Some("c"), ["b", "a", "c"]),
            ("other", Some("c"), ["c", "a", "b"]),
            ("other", None, ["a", "b", "c"]),
        ] {
            let catalog = catalog(default_meter);
            let meters = meters_in_order(&catalog, configured);
            let names: Vec<&str> = meters.iter().map(|it| it.event_name.as_str()).collect();
            assert_eq!(names, order, "{configured} {default_meter:?}");
        }
    }
}
