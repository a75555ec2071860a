//! One at a time, for each customer and meter: who comes while another is
//! under way waits for its turn, first come, first served.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Line, OwnedMutexGuard};

/// A customer and the name of a meter's events.
type Key = (String, String);

/// The lines in which senders stand. A line goes away with the last one in it.
#[derive(Default)]
pub(crate) struct Turns {
    lines: Mutex<HashMap<Key, Arc<Line<()>>>>,
}

/// Held while it is one's turn. The fields are dropped in this order.
pub(crate) struct Turn<'a> {
    _held: OwnedMutexGuard<()>,
    _place: Place<'a>,
}

/// A place in a line; given up by dropping it, also before it was one's turn.
struct Place<'a> {
    turns: &'a Turns,
    key: Key,
    line: Arc<Line<()>>,
}

impl Turns {
    /// Waits for the turn to send an event of the customer's under this name.
    pub(crate) async fn wait(&self, customer_id: &str, event_name: &str) -> Turn<'_> {
        let key = (customer_id.to_owned(), event_name.to_owned());
        let line = Arc::clone(self.lines().entry(key.clone()).or_default());
        let place = Place {
            turns: self,
            key,
            line: Arc::clone(&line),
        };
        Turn {
            _held: line.lock_owned().await,
            _place: place,
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Key, Arc<Line<()>>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        // The map's and this place's own: nobody else stands in the line, and
        // nobody comes while the map is locked.
        if Arc::strong_count(&self.line) <= 2 {
            lines.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_line_is_served_in_order_and_others_are_not_held_up() {
        let turns = Turns::default();
        let first = turns.wait("cus_1", "pages").await;
        let mut second = pin!(turns.wait("cus_1", "pages"));
        let mut third = pin!(turns.wait("cus_1", "pages"));
        assert!(poll(&mut second).is_pending());
        assert!(poll(&mut third).is_pending());
        turns.wait("cus_2", "pages").await;
        turns.wait("cus_1", "words").await;
        drop(first);
        assert!(poll(&mut third).is_pending());
        let Poll::Ready(second) = poll(&mut second) else {
            unreachable!("it was the second one's turn");
        };
        drop(second);
        assert!(poll(&mut third).is_ready());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_those_who_have_gone() {
        let turns = Turns::default();
        let first = turns.wait("cus_1", "pages").await;
        {
            let mut impatient = pin!(turns.wait("cus_1", "pages"));
            assert!(poll(&mut impatient).is_pending());
        }
        assert_eq!(turns.lines().len(), 1);
        drop(first);
        assert_eq!(turns.lines().len(), 0);
    }
}
