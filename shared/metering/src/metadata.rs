//! What Meterline writes into the metadata of its objects in Stripe, so that
//! they are found again, and told apart from the account's other ones.

/// On customers and subscriptions: the onboarding that made them. An object
/// with this key is Meterline's.
pub const METADATA_ONBOARDING: &str = "meterline_onboarding";

/// On customers and subscriptions: the operator's own id of the customer.
pub const METADATA_EXTERNAL_ID: &str = "meterline_external_id";

/// On customers: the payment method as the onboarding was given it. Stripe may
/// keep it under another id, as it does with its test cards.
pub const METADATA_PAYMENT_METHOD: &str = "meterline_payment_method";

/// On customer balance transactions: the identifier of the voided event that
/// they are the credit for.
pub const METADATA_VOID: &str = "meterline_void";
