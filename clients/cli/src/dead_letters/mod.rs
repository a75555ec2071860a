//! What Lambda gave up: invocations of redelivery and of the webhook's sweep, and
//! batches of the rollup. Each is a message in a queue, and stands for work that
//! something else does again; here it is seen to, and the message deleted.
//!
//! | module | does |
//! | --- | --- |
//! | [`letter`] | reads a message |
//! | [`queue`] | receives, gives back and deletes messages |
//! | `settle` | does again what they stand for |

pub mod letter;
pub mod queue;
mod settle;

pub use letter::{DeadLetter, Source};
pub use queue::{QueueError, Queues};
pub use settle::{Settled, Settler, SettlingError};
