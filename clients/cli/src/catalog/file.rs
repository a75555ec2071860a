//! The file that the operator writes: each meter with its product, its price and
//! the actions that it counts, as JSON. A field that is not known is refused: a
//! misspelt one would be another price.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use billing::{Catalog, CatalogMeter, CatalogTerms, InvalidCatalog, InvalidPrice, Price};

use super::fields::{FileTerms, MeterTerms};
use crate::setup::product_id;

/// What a file says, every price checked and the whole known to make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogFile {
    /// Where it is.
    pub path: PathBuf,
    /// The meters, as they were written.
    pub meters: Vec<MeterEntry>,
    /// The event name of the meter for actions that no entry covers.
    pub default_meter: Option<String>,
}

/// A meter of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterEntry {
    /// The event name that it listens to.
    pub event_name: String,
    /// What invoices call what it counts.
    pub product_name: String,
    /// The name by which its price is found.
    pub lookup_key: String,
    /// What it costs.
    pub price: Price,
    /// The action types that it counts: exact names, and prefixes that end in `*`.
    pub actions: Vec<String>,
}

/// Why a file holds no catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogFileError {
    /// It cannot be read.
    #[error("{}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON of this form; the reason says at which line and column.
    #[error("{}: {source}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A price makes no sense.
    #[error("{place}.price: {source}")]
    Price {
        /// The file and the meter: `catalog.json: meters[1] (llm_tokens)`.
        place: String,
        /// Why.
        source: InvalidPrice,
    },
    /// A meter's product has no name, and an invoice would show none.
    #[error("{place}.product_name: must not be empty")]
    NoProductName {
        /// The file and the meter.
        place: String,
    },
    /// The prices are in several currencies.
    #[error(
        "{place}.price.currency: is {currency}, and that of the meter before is {first}; one \
         subscription bills all meters, in one currency: give them prices in one, or \
         customers of another currency a Meterline of their own"
    )]
    Currencies {
        /// The file and the first meter whose price is in another currency.
        place: String,
        /// That one.
        currency: String,
        /// The currency of the first meter's price.
        first: String,
    },
    /// Its entries make no catalog.
    #[error("{}: {source}", .path.display())]
    Catalog {
        /// The file.
        path: PathBuf,
        /// Why.
        source: InvalidCatalog,
    },
}

impl CatalogFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// A [`CatalogFileError`], which names the file and the place.
    pub fn read(path: &Path) -> Result<Self, CatalogFileError> {
        let text = fs::read_to_string(path).map_err(|source| CatalogFileError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// What `text` says, the content of the file at `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self, CatalogFileError> {
        let terms: FileTerms =
            serde_json::from_str(text).map_err(|source| CatalogFileError::Form {
                path: path.to_owned(),
                source,
            })?;
        let meters = terms.meters.into_iter().enumerate();
        let meters = meters.map(|(index, meter)| meter.check(path, index));
        let file = Self {
            path: path.to_owned(),
            meters: meters.collect::<Result<_, _>>()?,
            default_meter: terms.default_meter,
        };
        file.check_currencies()?;
        // The products have ids of ours where Stripe has none of them yet.
        file.catalog(|meter| product_id(&meter.event_name))?;
        Ok(file)
    }

    /// The catalog that it says, each meter's product by `product_of`.
    ///
    /// # Errors
    /// [`CatalogFileError::Catalog`].
    pub fn catalog(
        &self,
        product_of: impl Fn(&MeterEntry) -> String,
    ) -> Result<Catalog, CatalogFileError> {
        let meters = self.meters.iter().map(|meter| CatalogMeter {
            event_name: meter.event_name.clone(),
            lookup_key: meter.lookup_key.clone(),
            product_id: product_of(meter),
            actions: meter.actions.clone(),
        });
        let terms = CatalogTerms {
            meters: meters.collect(),
            default_meter: self.default_meter.clone(),
        };
        Catalog::try_from(terms).map_err(|source| CatalogFileError::Catalog {
            path: self.path.clone(),
            source,
        })
    }

    fn check_currencies(&self) -> Result<(), CatalogFileError> {
        let Some(first) = self.meters.first() else {
            return Ok(());
        };
        let first = first.price.currency();
        let mut meters = self.meters.iter().enumerate();
        match meters.find(|(_, meter)| meter.price.currency() != first) {
            None => Ok(()),
            Some((index, other)) => Err(CatalogFileError::Currencies {
                place: place(&self.path, index, &other.event_name),
                currency: other.price.currency().as_str().to_owned(),
                first: first.as_str().to_owned(),
            }),
        }
    }
}

/// How a meter of the file is named to the operator.
pub(super) fn place(path: &Path, index: usize, event_name: &str) -> String {
    format!("{}: meters[{index}] ({event_name})", path.display())
}

impl MeterTerms {
    fn check(self, path: &Path, index: usize) -> Result<MeterEntry, CatalogFileError> {
        let place = place(path, index, &self.event_name);
        if self.product_name.trim().is_empty() {
            return Err(CatalogFileError::NoProductName { place });
        }
        let price = Price::try_from(self.price.terms());
        let price = price.map_err(|source| CatalogFileError::Price { place, source })?;
        Ok(MeterEntry {
            price,
            event_name: self.event_name,
            product_name: self.product_name,
            lookup_key: self.lookup_key,
            actions: self.actions,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn two_meters() -> Value {
        json!({
            "meters": [
                { "event_name": "documents", "product_name": "Documents",
                  "lookup_key": "documents_monthly", "actions": ["document_processed"],
                  "price": { "currency": "usd", "unit_amount_decimal": "2" } },
                { "event_name": "tokens", "product_name": "Tokens",
                  "lookup_key": "tokens_monthly", "actions": ["llm.*"],
                  "price": { "currency": "usd", "tiers_mode": "graduated", "tiers": [
                      { "up_to": 1_000, "unit_amount_decimal": "0.5" },
                      { "up_to": "inf", "unit_amount_decimal": "0.25", "flat_amount_decimal": "100" },
                  ] } },
            ],
            "default_meter": "documents",
        })
    }

    fn parse(text: &str) -> Result<CatalogFile, String> {
        let file = CatalogFile::parse(Path::new("catalog.json"), text);
        file.map_err(|error| error.to_string())
    }

    /// What is said of two meters where the `field` of the object at `place` is `value`.
    fn refusal(place: &str, field: &str, value: Value) -> String {
        let mut file = two_meters();
        file.pointer_mut(place).unwrap()[field] = value;
        parse(&file.to_string()).unwrap_err()
    }

    #[test]
    fn every_kind_of_price_is_read() {
        let file = parse(&two_meters().to_string()).unwrap();
        assert_eq!(file.default_meter.as_deref(), Some("documents"));
        let prices: Vec<String> = file.meters.iter().map(|it| it.price.to_string()).collect();
        assert_eq!(
            prices,
            [
                "0.02 usd a unit",
                "graduated tiers in usd: up to 1000 0.005 a unit, beyond 0.0025 a unit and 1.00"
            ]
        );
        for last in [json!(null), json!("inf")] {
            let mut other = two_meters();
            other["meters"][1]["price"]["tiers"][1]["up_to"] = last;
            assert_eq!(parse(&other.to_string()), Ok(file.clone()));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_place() {
        let tokens = "catalog.json: meters[1] (tokens)";
        for (place, field, value, told) in [
            (
                "/meters/1/price",
                "tiers_mode",
                json!(null),
                format!("{tokens}.price: tiers are graduated or volume"),
            ),
            (
                "/meters/1",
                "product_name",
                json!(" "),
                format!("{tokens}.product_name: must not be empty"),
            ),
            (
                "/meters/1/price",
                "currency",
                json!("eur"),
                format!("{tokens}.price.currency: is eur, and that of the meter before is usd"),
            ),
            (
                "/meters/1",
                "actions",
                json!(["llm.*", "document_processed"]),
                "catalog.json: the action document_processed is there twice: for documents and \
                 for tokens"
                    .to_owned(),
            ),
            (
                "",
                "default_meter",
                json!("pages"),
                "catalog.json: the default_meter pages is none of the meters".to_owned(),
            ),
        ] {
            let refusal = refusal(place, field, value);
            assert!(refusal.starts_with(&told), "{refusal}");
        }
    }

    #[test]
    fn what_is_of_another_form_is_named_with_line_and_column() {
        let decimal = "expected a decimal text in minor units, such as \"0.0004\"";
        let up_to = "expected a number of units, or \"inf\" for the last tier";
        let (price, tiers) = ("/meters/0/price", "/meters/1/price/tiers");
        for (place, field, value, told) in [
            ("", "default", json!("x"), "unknown field `default`"),
            ("/meters/0", "action", json!([]), "unknown field `action`"),
            (
                price,
                "unit_amount",
                json!(2),
                "unknown field `unit_amount`",
            ),
            (price, "unit_amount_decimal", json!(0.5), decimal),
            (
                price,
                "tiers_mode",
                json!("stairs"),
                "unknown variant `stairs`",
            ),
            (
                &format!("{tiers}/0"),
                "flat_amount",
                json!(2),
                "unknown field `flat_amount`",
            ),
            (&format!("{tiers}/1"), "up_to", json!("infinite"), up_to),
            (&format!("{tiers}/1"), "up_to", json!(-1), up_to),
        ] {
            let refusal = refusal(place, field, value);
            assert!(refusal.starts_with("catalog.json: "), "{refusal}");
            assert!(refusal.contains(told), "{refusal}");
            assert!(refusal.contains(" at line 1 column "), "{refusal}");
        }
        assert!(parse("").unwrap_err().contains("EOF"));
    }
}
