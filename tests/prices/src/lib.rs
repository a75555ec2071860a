//! Random prices and usage, billed twice: by the crate `billing`, which tells
//! customers what they will pay, and by Stripe as it is simulated, whose pricing
//! shares no code with it. The figures of the invoice, before and after its
//! period ends, must be the same to the last minor unit: of one price, and of
//! several that a subscription has an item for each of.

mod account;
mod customer;
mod pair;

pub use account::{Account, Failure};
pub use customer::Customer;
pub use pair::Pair;

/// A customer that two figures were found for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What makes the customer again.
    pub seed: u64,
    /// The prices and the units, for people.
    pub what: String,
    /// Which of Stripe's figures it is.
    pub figure: &'static str,
    /// What `billing` computes, in minor units, and how many units it is for.
    pub ours: (i64, u64),
    /// What Stripe bills, and for how many units.
    pub stripes: (i64, u64),
}

/// Bills `customers` in one new account. The differences, and how many figures
/// were compared.
///
/// # Errors
/// A [`Failure`] where the account could not be billed at all.
pub async fn compare(customers: &[Customer]) -> Result<(usize, Vec<Difference>), Failure> {
    let account = Account::open().await?;
    let billed = account.bill(customers).await?;
    account.close().await;
    let mut differences = Vec::new();
    let mut compared = 0;
    for (customer, billed) in customers.iter().zip(billed) {
        for (figure, stripes) in [("preview", billed.preview), ("invoice", billed.invoice)] {
            compared += 1;
            let ours = (billed.cost, customer.units());
            if stripes != ours {
                differences.push(Difference {
                    seed: customer.seed,
                    what: customer.to_string(),
                    figure,
                    ours,
                    stripes,
                });
            }
        }
    }
    Ok((compared, differences))
}
