//! Which calls are under way, so that a client can wait for their end.

use std::sync::Arc;

use tokio::sync::watch;

/// The calls of a client and its clones.
#[derive(Debug)]
pub(crate) struct Calls(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    /// Calls that were let in, with the actions that they run.
    let_in: usize,
    /// Those whose event is on its way: a flush waits for them, and not for
    /// actions, one of which may be the flush's caller.
    sending: usize,
    is_closed: bool,
}

/// A call that was let in: a client that closes waits for it.
pub(crate) struct LetIn<'a>(&'a Calls);

/// An event on its way, perhaps longer than the call that sent it.
pub(crate) struct Sending(Arc<Calls>);

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
        self.0.send_modify(|state| state.sending += 1);
        Sending(Arc::clone(self))
    }

    /// Lets no further call in.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.is_closed = true);
    }

    /// Until no event is on its way.
    pub(crate) async fn are_answered(&self) {
        self.become_so(|state| state.sending == 0).await;
    }

    /// Until no call is under way, and no event of one that was given up.
    pub(crate) async fn have_ended(&self) {
        self.become_so(|state| state.let_in == 0 && state.sending == 0)
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
        let Calls(state) = &*self.0;
        state.send_modify(|state| state.sending = state.sending.saturating_sub(1));
    }
}
