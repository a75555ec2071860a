//! What the operator is told, as the local topic keeps it.

use std::fs;

use serde_json::Value;

use super::customer::Customer;
use super::{Stage, StoryError};

impl Stage<'_> {
    /// The notification of `kind` about `customer`, once it is there.
    pub(crate) async fn told(&self, customer: &Customer, kind: &str) -> Result<Value, StoryError> {
        let file = &self.place.notifications_file;
        self.patience()
            .until("what the operator is told", async || {
                let told = fs::read_to_string(file)?;
                let messages = told.lines().map(serde_json::from_str);
                let found = messages.flatten().find(|message: &Value| {
                    message["kind"] == kind
                        && message["customer"]["customer_id"] == customer.customer_id.as_str()
                });
                Ok(found)
            })
            .await
    }
}
