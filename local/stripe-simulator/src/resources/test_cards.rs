//! Stripe's test cards, and what their banks do (Stripe's documentation: Testing).

use serde_json::Value;

use crate::api::json::{is_true, text};

/// What the bank of a card does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bank {
    Pays,
    /// Pays, and the cardholder disputes it.
    Disputes(Claim),
    /// Can be attached, then every charge fails.
    Fails,
    /// Cannot even be attached.
    Declines,
    /// Wants the owner to authenticate, until a setup or a first payment was.
    AuthenticatesUnlessSetUp,
    /// Wants the owner to authenticate each payment.
    AuthenticatesAlways,
    /// Wants an owner who is there to authenticate, and pays while the owner is away.
    AuthenticatesOnSession,
    /// Wants the owner to authenticate each payment, then finds no funds.
    AuthenticatesThenFails,
}

/// What a cardholder says of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Fraudulent,
    NotReceived,
    /// Fraud perhaps: the bank asks before it takes anything back.
    Inquiry,
}

/// What becomes of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charging {
    Pays,
    PaysThenDisputed(Claim),
    /// Fails by a decline code.
    Fails(&'static str),
    /// The owner has to authenticate first.
    Waits,
}

/// One of Stripe's test cards.
pub(super) struct Card {
    /// After `pm_card_` and `tok_`.
    pub(super) name: &'static str,
    pub(super) number: &'static str,
    pub(super) brand: &'static str,
    bank: Bank,
}

const fn card(name: &'static str, number: &'static str, brand: &'static str, bank: Bank) -> Card {
    Card {
        name,
        number,
        brand,
        bank,
    }
}

const VISA: Card = card("visa", "4242424242424242", "visa", Bank::Pays);

const CARDS: [Card; 12] = [
    VISA,
    card("mastercard", "5555555555554444", "mastercard", Bank::Pays),
    card("amex", "378282246310005", "amex", Bank::Pays),
    card(
        "chargeCustomerFail",
        "4000000000000341",
        "visa",
        Bank::Fails,
    ),
    card("chargeDeclined", "4000000000000002", "visa", Bank::Declines),
    card(
        "authenticationRequiredOnSetup",
        "4000002500003155",
        "visa",
        Bank::AuthenticatesUnlessSetUp,
    ),
    card(
        "authenticationRequired",
        "4000002760003184",
        "visa",
        Bank::AuthenticatesAlways,
    ),
    card(
        "authenticationRequiredSetupForOffSession",
        "4000003800000446",
        "visa",
        Bank::AuthenticatesOnSession,
    ),
    card(
        "authenticationRequiredChargeDeclinedInsufficientFunds",
        "4000008260003178",
        "visa",
        Bank::AuthenticatesThenFails,
    ),
    card(
        "createDispute",
        "4000000000000259",
        "visa",
        Bank::Disputes(Claim::Fraudulent),
    ),
    card(
        "createDisputeProductNotReceived",
        "4000000000002685",
        "visa",
        Bank::Disputes(Claim::NotReceived),
    ),
    card(
        "createDisputeInquiry",
        "4000000000001976",
        "visa",
        Bank::Disputes(Claim::Inquiry),
    ),
];

impl Card {
    fn named(name: &str) -> Option<&'static Self> {
        CARDS.iter().find(|card| card.name == name)
    }

    /// The card of `pm_card_…`.
    pub(super) fn of_alias(alias: &str) -> Option<&'static Self> {
        Self::named(match alias.strip_prefix("pm_card_")? {
            "us" => "visa",
            "visa_chargeDeclined" => "chargeDeclined",
            name => name,
        })
    }

    /// The card of `tok_…`.
    pub(super) fn of_token(token: &str) -> Option<&'static Self> {
        Self::named(token.strip_prefix("tok_")?)
    }

    pub(super) fn of_number(number: &str) -> Option<&'static Self> {
        CARDS.iter().find(|card| card.number == number)
    }

    /// The card of a stored payment method.
    fn of_method(method: &Value) -> &'static Self {
        let card = text(method, "/_card").and_then(Self::named);
        card.unwrap_or(&VISA)
    }

    pub(super) fn last4(&self) -> &'static str {
        self.number.get(self.number.len() - 4..).unwrap_or_default()
    }
}

/// Whether the bank lets the card be kept for a customer.
pub(super) fn attaches(method: &Value) -> bool {
    Card::of_method(method).bank != Bank::Declines
}

/// Whether setting the card up needs its owner.
pub(super) fn authenticates_setup(method: &Value) -> bool {
    match Card::of_method(method).bank {
        Bank::AuthenticatesUnlessSetUp => !is_true(method, "/_set_up"),
        Bank::AuthenticatesAlways | Bank::AuthenticatesThenFails => true,
        _ => false,
    }
}

/// The owner has authenticated with payments to come in mind.
pub(super) fn set_up(method: &mut Value) {
    method["_set_up"] = true.into();
}

/// The owner authenticates in Checkout: a setup, and where something is due at once that payment.
pub(super) fn authenticate(method: &mut Value, is_due: bool) {
    set_up(method);
    if is_due {
        method["_authenticated"] = true.into();
    }
}

/// Whether the owner has authenticated the payment that comes. That holds once.
pub(super) fn take_authentication(method: &mut Value) -> bool {
    method["_authenticated"].take() == true
}

/// What charging the card does, its owner being away (`is_off_session`) or there.
pub(super) fn charging(method: &Value, is_off_session: bool) -> Charging {
    let waits = match Card::of_method(method).bank {
        Bank::AuthenticatesUnlessSetUp => !is_true(method, "/_set_up"),
        Bank::AuthenticatesAlways | Bank::AuthenticatesThenFails => true,
        Bank::AuthenticatesOnSession => !is_off_session,
        _ => false,
    };
    if waits {
        Charging::Waits
    } else {
        charging_authenticated(method)
    }
}

/// What charging the card does after its owner has authenticated.
pub(super) fn charging_authenticated(method: &Value) -> Charging {
    match Card::of_method(method).bank {
        Bank::Fails | Bank::Declines => Charging::Fails("generic_decline"),
        Bank::AuthenticatesThenFails => Charging::Fails("insufficient_funds"),
        Bank::Disputes(claim) => Charging::PaysThenDisputed(claim),
        _ => Charging::Pays,
    }
}
