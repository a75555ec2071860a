//! From records to the changes of one transaction.

use ledger::{Advance, Poison};

use crate::record::{Change, Image, SequenceNumber, StreamRecord};

/// The most that one record changes: two totals, two entries of the outbox.
const CHANGES_OF_A_RECORD_MAX: usize = 4;

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
    /// The longest run at the front of `records` that fits into one
    /// transaction; none where there are no records.
    pub fn next(records: &'a [StreamRecord]) -> Option<Self> {
        let mut records = records.iter();
        let first = records.next()?;
        let mut chunk = Self {
            advance: Advance::default(),
            last: &first.sequence_number,
            records: 0,
            poison: Vec::new(),
        };
        chunk.take(first);
        for record in records {
            if !chunk.advance.has_room_for(CHANGES_OF_A_RECORD_MAX) {
                break;
            }
            chunk.take(record);
        }
        Some(chunk)
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
        let (left, entered) = (old.and_then(Image::outbox_key), new.map(Image::outbox_key));
        let entered = entered.flatten();
        if left == entered {
            return;
        }
        if let Some(key) = left {
            self.advance.take_out_of_outbox(key);
        }
        if let (Some(key), Some(new)) = (entered, new) {
            self.advance.put_into_outbox(key, new.identifier.clone());
        }
    }
}
