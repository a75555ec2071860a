//! The arguments that say what usage costs.

use billing::{PriceTerms, Round, TierTerms, TiersMode, TransformQuantity};
use clap::Args;

/// What a unit costs where nothing is said: $0.02.
const UNIT_AMOUNT_DECIMAL: &str = "2";

#[derive(Args)]
pub(crate) struct PriceArguments {
    /// Three lower-case letters.
    #[arg(long, default_value = "usd")]
    currency: String,
    /// The price of a unit in minor units, with up to 12 decimals: 2, the
    /// default, is $0.02.
    #[arg(long, value_name = "DECIMAL")]
    unit_amount_decimal: Option<String>,
    /// Make it the price of so many units, and count a begun package or not:
    /// 1000:up or 1000:down.
    #[arg(long, value_name = "UNITS:ROUND", value_parser = transform_quantity)]
    transform_quantity: Option<TransformQuantity>,
    /// Price in tiers: graduated (a unit costs what its own tier says) or volume
    /// (all units cost what the last one's tier says).
    #[arg(long, value_name = "MODE", value_parser = tiers_mode)]
    tiers_mode: Option<TiersMode>,
    /// A tier, lowest first: its last unit (inf for the last tier), the price of
    /// a unit in it, and what is owed once it is reached. 1000:2 and inf:1.5:500
    /// are two; inf::500 has a flat amount alone.
    #[arg(long = "tier", value_name = "UP_TO:UNIT[:FLAT]", value_parser = tier)]
    tiers: Vec<TierTerms>,
}

impl PriceArguments {
    /// The same in Stripe's words.
    pub(crate) fn terms(self) -> PriceTerms {
        let is_tiered = self.tiers_mode.is_some() || !self.tiers.is_empty();
        let unit_amount = self.unit_amount_decimal;
        PriceTerms {
            currency: self.currency,
            unit_amount_decimal: unit_amount
                .or_else(|| (!is_tiered).then(|| UNIT_AMOUNT_DECIMAL.to_owned())),
            transform_quantity: self.transform_quantity,
            tiers_mode: self.tiers_mode,
            tiers: self.tiers,
        }
    }
}

fn tiers_mode(text: &str) -> Result<TiersMode, String> {
    text.parse()
        .map_err(|error: billing::InvalidPrice| error.to_string())
}

fn transform_quantity(text: &str) -> Result<TransformQuantity, String> {
    let (divide_by, round) = text
        .split_once(':')
        .ok_or("say how many units, and up or down: 1000:up")?;
    let divide_by = divide_by
        .parse()
        .map_err(|_| format!("{divide_by:?} is no number of units"))?;
    let round: Round = round
        .parse()
        .map_err(|error: billing::InvalidPrice| error.to_string())?;
    Ok(TransformQuantity { divide_by, round })
}

fn tier(text: &str) -> Result<TierTerms, String> {
    let mut parts = text.split(':');
    let up_to = match parts.next().unwrap_or_default() {
        "inf" => None,
        units => Some(
            units
                .parse()
                .map_err(|_| format!("{units:?} is neither a number of units nor inf"))?,
        ),
    };
    let mut amount = || parts.next().filter(|part| !part.is_empty());
    let (unit, flat) = (amount(), amount());
    let tier = TierTerms {
        up_to,
        unit_amount_decimal: unit.map(str::to_owned),
        flat_amount_decimal: flat.map(str::to_owned),
    };
    if parts.next().is_some() {
        return Err("a tier is UP_TO:UNIT or UP_TO:UNIT:FLAT".to_owned());
    }
    if unit.is_none() && flat.is_none() {
        return Err("a tier has a price of a unit, a flat amount, or both: 1000:2".to_owned());
    }
    Ok(tier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use billing::Price;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        price: PriceArguments,
    }

    fn told(arguments: &str) -> String {
        let arguments = std::iter::once("meterline").chain(arguments.split_whitespace());
        let program = match Program::try_parse_from(arguments) {
            Ok(program) => program,
            Err(error) => return error.to_string(),
        };
        match Price::try_from(program.price.terms()) {
            Ok(price) => price.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_kind_of_price_can_be_said() {
        for (arguments, price) in [
            ("", "0.02 usd a unit"),
            ("--currency jpy --unit-amount-decimal 0.5", "0.5 jpy a unit"),
            (
                "--unit-amount-decimal 300 --transform-quantity 1000:down",
                "3.00 usd for 1000 units, full ones only",
            ),
            (
                "--tiers-mode graduated --tier 1000:2 --tier 2000::10 --tier inf:1.5:500",
                "graduated tiers in usd: up to 1000 0.02 a unit, up to 2000 0 a unit and 0.10, \
                 beyond 0.015 a unit and 5.00",
            ),
        ] {
            assert_eq!(told(arguments), price, "{arguments}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused_by_its_reason() {
        for (arguments, reason) in [
            ("--tier inf:2", "a tiers_mode is missing"),
            ("--tiers-mode graduated", "there are none"),
            (
                "--tiers-mode stairs --tier inf:2",
                "graduated or volume, not \"stairs\"",
            ),
            ("--tiers-mode volume --tier 10:2", "up_to must be inf there"),
            (
                "--tiers-mode volume --tier 10:2 --tier 9:1 --tier inf:0",
                "tier 2 ends",
            ),
            (
                "--tiers-mode volume --tier inf:2 --unit-amount-decimal 1",
                "not both",
            ),
            (
                "--tiers-mode volume --tier inf:2 --transform-quantity 9:up",
                "not with tiers",
            ),
            ("--tier 10", "a price of a unit, a flat amount, or both"),
            ("--tier ten:2", "neither a number of units nor inf"),
            ("--tier 10:2:3:4", "UP_TO:UNIT:FLAT"),
            ("--transform-quantity 1000", "1000:up"),
            ("--transform-quantity many:up", "no number of units"),
            ("--transform-quantity 1000:half", "not \"half\""),
            ("--transform-quantity 0:up", "1 or more"),
            ("--unit-amount-decimal 1,5", "not \"1,5\""),
            ("--currency dollars", "three-letter"),
        ] {
            let told = told(arguments);
            assert!(told.contains(reason), "{arguments}: {told}");
        }
    }
}
