//! Lines of invoices, as Stripe answers them where no item of the subscription
//! stands behind them.

use crate::support::{Answer, Scripted};
use serde_json::json;

#[tokio::test]
async fn a_line_of_an_invoice_item_names_its_subscription_and_its_price() {
    // In flexible billing mode, the usage of an item that was removed.
    let lines = json!({
        "object": "list", "url": "/v1/invoices/in_1/lines", "has_more": false,
        "data": [{
            "id": "il_1", "object": "line_item", "amount": 28, "currency": "usd",
            "description": "700 × Tokens", "discountable": true, "invoice": "in_1",
            "quantity": 700, "period": { "start": 10, "end": 15 }, "subscription": "sub_1",
            "parent": { "type": "invoice_item_details", "subscription_item_details": null,
                "invoice_item_details": {
                    "invoice_item": "ii_1", "proration": true, "subscription": "sub_1",
                    "proration_details": { "credited_items": null } } },
            "pricing": { "type": "price_details", "unit_amount_decimal": "0.04",
                "price_details": { "price": "price_1", "product": "prod_1" } },
        }, {
            "id": "il_2", "object": "line_item", "amount": 500, "currency": "usd",
            "description": "By hand", "quantity": 1, "period": { "start": 12, "end": 12 },
            "parent": { "type": "invoice_item_details", "subscription_item_details": null,
                "invoice_item_details": {
                    "invoice_item": "ii_2", "proration": false, "subscription": null,
                    "proration_details": null } },
            "pricing": null,
        }],
    });
    let stripe = Scripted::with([Answer::ok(&lines)]).await;
    let lines = stripe.client().list_invoice_lines("in_1").await.unwrap();
    let [usage, by_hand] = lines.data.as_slice() else {
        panic!("{} lines", lines.data.len());
    };
    assert_eq!(usage.subscription.as_deref(), Some("sub_1"));
    assert_eq!(usage.subscription_item, None);
    assert_eq!(usage.price.as_deref(), Some("price_1"));
    assert_eq!((usage.amount, usage.quantity), (28, Some(700)));
    assert_eq!((usage.period.start, usage.period.end), (10, 15));
    assert_eq!((&by_hand.subscription, &by_hand.price), (&None, &None));
}
