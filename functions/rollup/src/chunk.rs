//! From records to the changes of one transaction.

use ledger::{Advance, Poison};

use crate::record::{Change, Image, SequenceNumber, StreamRecord};

/// A run of records that fits into one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// What they change.
    pub advance: Advance,
    /// The last of them: the next checkpoint.
    pub last: &'a SequenceNumber,
    /// How many they are, the unreadable ones included.
    pub records: usize,
    /// The unreadable ones among them.
    pub poison: Vec<(&'a SequenceNumber, &'a Poison)>,
}

impl<'a> Chunk<'a> {
    /// The longest run at the front of `records` whose changes fit into one
    /// transaction; none where there are no records.
    ///
    /// What does not fit half-way may fit at the end: an event that is carried
    /// over moves from one cell of the totals to another, and leaves the first
    /// as it was.
    pub fn next(records: &'a [StreamRecord]) -> Option<Self> {
        let mut chunk = Self::empty(records.first()?);
        let mut longest = 1;
        for (index, record) in records.iter().enumerate() {
            chunk.take(record);
            if chunk.advance.fits() {
                longest = index + 1;
            }
        }
        if longest == records.len() {
            return Some(chunk);
        }
        let mut chunk = Self::empty(records.first()?);
        for record in records.iter().take(longest) {
            chunk.take(record);
        }
        Some(chunk)
    }

    fn empty(first: &'a StreamRecord) -> Self {
        Self {
            advance: Advance::default(),
            last: &first.sequence_number,
            records: 0,
            poison: Vec::new(),
        }
    }

    fn take(&mut self, record: &'a StreamRecord) {
        match &record.change {
            Change::Row { old, new } => self.count(old.as_deref(), new.as_deref()),
            Change::Unreadable(poison) => {
                let sequence_number = &record.sequence_number;
                self.advance
                    .set_aside(sequence_number.as_str(), poison.clone());
                self.poison.push((sequence_number, poison));
            }
        }
        self.last = &record.sequence_number;
        self.records += 1;
    }

    fn count(&mut self, old: Option<&Image>, new: Option<&Image>) {
        if let Some(old) = old {
            let total = self.advance.total(old.total_key());
            total.leave(old.status, old.quantity);
        }
        if let Some(new) = new {
            let total = self.advance.total(new.total_key());
            total.enter(new.status, new.quantity);
        }
        // Both in the transaction that counts the usage: a unit is never in neither.
        if let Some((key, units)) = old.and_then(Image::settled) {
            self.advance.total(key).unsettle(units);
        }
        if let Some((key, units)) = new.and_then(Image::settled) {
            self.advance.total(key).settle(units);
        }
        let left = old.and_then(|old| Some((&old.identifier, old.pending()?)));
        let entered = new.and_then(|new| Some((&new.identifier, new.pending()?)));
        if left == entered {
            return;
        }
        if let Some((identifier, _)) = left {
            self.advance.take_out_of_outbox(identifier);
        }
        if let Some((identifier, pending_since)) = entered {
            self.advance
                .put_into_outbox(identifier.clone(), pending_since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_dynamo::Item;
    use serde_json::json;

    fn image(event: usize, status: &str) -> Option<Item> {
        let image = json!({
            "identifier": { "S": format!("{event:064x}") },
            "customer_id": { "S": "cus_1" },
            "meter_event_name": { "S": "agent_operations" },
            "action_type": { "S": "document_processed" },
            "quantity": { "N": "1" },
            "status": { "S": status },
            "occurred_at": { "N": "1769864400001" },
            "billed_at": { "N": "1769864400001" },
            "period_start": { "N": "1769860800000" },
            "pending_since": { "N": "1769864400002" },
        });
        Some(serde_json::from_value(image).unwrap())
    }

    /// `events` that are all recorded first; then the first `settled` of them
    /// are delivered.
    fn records(events: usize, settled: usize) -> Vec<StreamRecord> {
        let recorded = (0..events).map(|event| (None, image(event, "pending")));
        let delivered =
            (0..settled).map(|event| (image(event, "pending"), image(event, "delivered")));
        recorded
            .chain(delivered)
            .enumerate()
            .map(|(n, (old, new))| StreamRecord::read(&(n + 1).to_string(), old, new).unwrap())
            .collect()
    }

    fn image_of(record: &StreamRecord) -> Image {
        let Change::Row { new: Some(new), .. } = &record.change else {
            panic!("the record has a new image");
        };
        (**new).clone()
    }

    fn in_cells_of_their_own(mut records: Vec<StreamRecord>) -> Vec<StreamRecord> {
        for (n, record) in records.iter_mut().enumerate() {
            if let Change::Row { new: Some(new), .. } = &mut record.change {
                new.customer_id = billing::CustomerId::parse(&format!("cus_{n}")).unwrap();
            }
        }
        records
    }

    /// The record of a row that goes.
    fn gone(image: Image, records_before: usize) -> StreamRecord {
        StreamRecord {
            sequence_number: SequenceNumber::parse(&(records_before + 1).to_string()).unwrap(),
            change: Change::Row {
                old: Some(Box::new(image)),
                new: None,
            },
        }
    }

    #[test]
    fn events_that_are_settled_in_the_same_batch_are_one_transaction_however_many_were_under_way() {
        let records = records(150, 150);
        let chunk = Chunk::next(&records).unwrap();
        assert_eq!(chunk.records, 300);
        let mut only_totals = Advance::default();
        let Change::Row { new: Some(new), .. } = &records[299].change else {
            panic!("the last record has an image");
        };
        for _ in 0..150 {
            let total = only_totals.total(new.total_key());
            total.enter(new.status, new.quantity);
        }
        assert_eq!(chunk.advance, only_totals);
    }

    #[test]
    fn what_is_pending_at_the_end_is_one_change_however_much_it_is() {
        let records = records(150, 60);
        let chunk = Chunk::next(&records).unwrap();
        assert_eq!(chunk.records, 210);
        let mut due = Advance::default();
        for record in &records {
            let Change::Row {
                old,
                new: Some(new),
            } = &record.change
            else {
                panic!("every record has a new image");
            };
            if let Some(old) = old {
                due.total(old.total_key()).leave(old.status, old.quantity);
            }
            due.total(new.total_key()).enter(new.status, new.quantity);
        }
        for record in &records[60..150] {
            let image: Image = image_of(record);
            due.put_into_outbox(image.identifier, image.pending_since);
        }
        assert_eq!(chunk.advance, due);
    }

    #[test]
    fn a_chunk_ends_where_its_changes_last_fit() {
        // A cell for each event, and one entry of the outbox, fill a transaction.
        let of_many_customers = |events| in_cells_of_their_own(records(events, 0));
        assert_eq!(Chunk::next(&of_many_customers(98)).unwrap().records, 98);
        assert_eq!(Chunk::next(&of_many_customers(150)).unwrap().records, 98);
        // A cell that is left as it was is no change.
        let mut emptied = of_many_customers(99);
        for record in emptied.clone() {
            let image = image_of(&record);
            emptied.push(gone(image, emptied.len()));
        }
        assert_eq!(Chunk::next(&emptied).unwrap().records, 198);
        assert_eq!(Chunk::next(&[]), None);
    }
}
