//! Spending limits: what a period has used, what is left of its limit, and how a
//! limit is set and watched.
//!
//! | module | does |
//! | --- | --- |
//! | [`spending`] | units and cost of a period, by meter |
//! | [`standing`] | a limit against what is used of it |
//! | [`view`] | a limit as it is shown |
//! | [`setting`] | sets a customer's limit, and takes it away |
//! | [`watch`] | sees thresholds crossed, and tells the operator |
//! | [`reserving`] | holds units of a limit before an agent acts |
//! | [`duties`] | what the minute run does for limits |

pub mod duties;
mod news;
pub mod reserving;
pub mod setting;
pub mod spending;
pub mod standing;
pub mod view;
pub mod watch;

pub use duties::{Duties, DutiesReport};
pub use reserving::{Outcome, ReservingError, Wanted, release, reserve};
pub use setting::{LimitError, set_limit};
pub use spending::{MixedCurrencies, Spending, cost_of_period, sum_of_items};
pub use standing::{Left, Standing};
pub use view::LimitView;
pub use watch::{LimitWatcher, Looked, Occasion, WatchError};
