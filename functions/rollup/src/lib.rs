//! The rollup: reads the audit log's stream and keeps the totals and the
//! outbox, both in step with the shard's checkpoint.
//!
//! | module | does |
//! | --- | --- |
//! | [`record`] | reads stream records |
//! | [`chunk`] | turns a run of records into one transaction's changes |
//! | [`rollup`] | applies them, past lost answers and overlapping batches |
//! | [`limits`] | looks at the limits of whose usage grew |
//! | [`event`] | the same as a Lambda event source mapping calls it |

pub mod chunk;
pub mod event;
pub mod limits;
pub mod record;
pub mod rollup;

pub use event::{Answer, Handler, HandlerError, StreamEvent};
pub use limits::LimitLooks;
pub use record::{Change, Image, InvalidSequenceNumber, SequenceNumber, StreamRecord};
pub use rollup::{Applied, Rollup, RollupError};
