//! Which calls are under way, so that a client can wait for their end.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// The calls of a client and its clones.
#[derive(Debug)]
pub(crate) struct Calls(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    /// Calls that were let in, with the actions that they run.
    let_in: usize,
    /// The numbers of those whose event is on its way: a flush waits for them, and not
    /// for actions, one of which may be the flush's caller.
    sending: BTreeSet<u64>,
    /// The number of the next of these.
    next_sending: u64,
    is_closed: bool,
}

/// A call that was let in: a client that closes waits for it.
pub(crate) struct LetIn<'a>(&'a Calls);

/// An event on its way, perhaps longer than the call that sent it.
pub(crate) struct Sending {
    calls: Arc<Calls>,
    number: u64,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Lets a call in; none once the client is closed.
    pub(crate) fn let_in(&self) -> Option<LetIn<'_>> {
        let is_open = self.0.send_if_modified(|state| {
            state.let_in += usize::from(!state.is_closed);
            !state.is_closed
        });
        is_open.then(|| LetIn(self))
    }

    pub(crate) fn sending(self: &Arc<Self>) -> Sending {
        let mut number = 0;
        self.0.send_modify(|state| {
            number = state.next_sending;
            state.next_sending += 1;
            state.sending.insert(number);
        });
        let calls = Arc::clone(self);
        Sending { calls, number }
    }

    /// Lets no further call in.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.is_closed = true);
    }

    /// Until no event is on its way that is so now. Those that come later are not waited
    /// for: there may always be one.
    pub(crate) async fn are_answered(&self) {
        let later = self.0.borrow().next_sending;
        let is_later = |number: &u64| *number >= later;
        self.become_so(|state| state.sending.first().is_none_or(is_later))
            .await;
    }

    /// Until no call is under way, and no event of one that was given up.
    pub(crate) async fn have_ended(&self) {
        self.become_so(|state| state.let_in == 0 && state.sending.is_empty())
            .await;
    }

    async fn become_so(&self, is_so: impl FnMut(&State) -> bool) {
        // The sender is this one's own, so there is no error.
        let _ = self.0.subscribe().wait_for(is_so).await;
    }
}

impl Drop for LetIn<'_> {
    fn drop(&mut self) {
        let Self(Calls(state)) = self;
        state.send_modify(|state| state.let_in = state.let_in.saturating_sub(1));
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Calls(state) = &*self.calls;
        state.send_modify(|state| {
            state.sending.remove(&self.number);
        });
    }
}
