//! What DynamoDB charges: the calls that count are asked to say what they
//! consumed (Amazon DynamoDB API reference: `ReturnConsumedCapacity`). They are
//! all writes, and the reads of redelivery and of dashboards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemInput, DeleteItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItemsInput, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};

/// Units by operation and table, in tenths.
type Counted = BTreeMap<(&'static str, String), u64>;

/// Counts the units of a client that it intercepts. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capacity(Arc<Mutex<Counted>>);

impl Capacity {
    /// What was counted since the last time, in tenths of a unit.
    pub(crate) fn take(&self) -> Counted {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, operation: &'static str, consumed: Option<&ConsumedCapacity>) {
        let Some(consumed) = consumed else {
            return;
        };
        let table = consumed.table_name().unwrap_or_default().to_owned();
        let tenths = tenths(consumed.capacity_units().unwrap_or_default());
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.entry((operation, table)).or_default() += tenths;
    }
}

#[allow(
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the SDK tells capacity as a float; units are no money"
)]
fn tenths(units: f64) -> u64 {
    (units * 10.0).round() as u64
}

impl Intercept for Capacity {
    fn name(&self) -> &'static str {
        "Capacity"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let asked = Some(ReturnConsumedCapacity::Total);
        let input = context.input_mut();
        if let Some(put) = input.downcast_mut::<PutItemInput>() {
            put.return_consumed_capacity = asked;
        } else if let Some(update) = input.downcast_mut::<UpdateItemInput>() {
            update.return_consumed_capacity = asked;
        } else if let Some(transaction) = input.downcast_mut::<TransactWriteItemsInput>() {
            transaction.return_consumed_capacity = asked;
        } else if let Some(delete) = input.downcast_mut::<DeleteItemInput>() {
            delete.return_consumed_capacity = asked;
        } else if let Some(query) = input.downcast_mut::<QueryInput>() {
            query.return_consumed_capacity = asked;
        } else if let Some(get) = input.downcast_mut::<GetItemInput>() {
            get.return_consumed_capacity = asked;
        } else if let Some(batch) = input.downcast_mut::<BatchGetItemInput>() {
            batch.return_consumed_capacity = asked;
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else {
            // A refused call; none is, where this counts.
            return Ok(());
        };
        if let Some(put) = output.downcast_ref::<PutItemOutput>() {
            self.add("put", put.consumed_capacity());
        } else if let Some(update) = output.downcast_ref::<UpdateItemOutput>() {
            self.add("update", update.consumed_capacity());
        } else if let Some(transaction) = output.downcast_ref::<TransactWriteItemsOutput>() {
            for consumed in transaction.consumed_capacity() {
                self.add("transaction", Some(consumed));
            }
        } else if let Some(delete) = output.downcast_ref::<DeleteItemOutput>() {
            self.add("delete", delete.consumed_capacity());
        } else if let Some(query) = output.downcast_ref::<QueryOutput>() {
            self.add("query", query.consumed_capacity());
        } else if let Some(get) = output.downcast_ref::<GetItemOutput>() {
            self.add("get", get.consumed_capacity());
        } else if let Some(batch) = output.downcast_ref::<BatchGetItemOutput>() {
            for consumed in batch.consumed_capacity() {
                self.add("batch get", Some(consumed));
            }
        }
        Ok(())
    }
}
