//! Settings of a client.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::runtime::Handle;

use crate::buffer::Buffer;
use crate::client::Meterline;
use crate::delivery::Delivery;
use crate::error::SettingsError;
use crate::headers::OwnHeaders;
use crate::http::{Api, BATCH_EVENTS_MAX};
use crate::spool::Spool;

/// The time for retries of one call, unless said otherwise.
const RETRY_BUDGET: Duration = Duration::from_secs(30);
/// Meterline answers in milliseconds. After this long an answer counts as lost,
/// which costs nothing: the same event id can be sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How events wait for one another, to go in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferSettings {
    /// A request goes out with so many events at most: 1 to 100.
    pub events_max: usize,
    /// No event waits longer than this for others.
    pub wait: Duration,
}

impl Default for BufferSettings {
    /// 100 events or 20 milliseconds.
    fn default() -> Self {
        Self {
            events_max: BATCH_EVENTS_MAX,
            wait: Duration::from_millis(20),
        }
    }
}

impl BufferSettings {
    /// The same with requests of so many events at most.
    #[must_use]
    pub const fn events_max(self, events_max: usize) -> Self {
        Self { events_max, ..self }
    }

    /// The same with no event waiting longer than `wait`.
    #[must_use]
    pub const fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

/// Makes a [`Meterline`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    url: String,
    api_key: SecretString,
    retry_budget: Duration,
    request_timeout: Duration,
    own_roots: Vec<Vec<u8>>,
    own_headers: OwnHeaders,
    buffer: Option<BufferSettings>,
    spool: Option<PathBuf>,
}

impl Builder {
    pub(crate) fn new(url: String, api_key: SecretString) -> Self {
        Self {
            url,
            api_key,
            retry_budget: RETRY_BUDGET,
            request_timeout: REQUEST_TIMEOUT,
            own_roots: Vec::new(),
            own_headers: OwnHeaders::default(),
            buffer: None,
            spool: None,
        }
    }

    /// How long a call goes on trying before it says that it does not know: 30
    /// seconds, unless said otherwise.
    pub fn retry_budget(self, retry_budget: Duration) -> Self {
        Self {
            retry_budget,
            ..self
        }
    }

    /// After how long an answer counts as lost: 10
    /// seconds, unless said otherwise.
    pub fn request_timeout(self, request_timeout: Duration) -> Self {
        Self {
            request_timeout,
            ..self
        }
    }

    /// Trusts the certificates of `pem`, one at least, besides the authorities of
    /// Mozilla: for a Meterline, or a proxy, under an authority of one's own. May be
    /// called several times; a text that cannot be used is an error of
    /// [`build`](Self::build).
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.own_roots.push(pem.into());
        self
    }

    /// Gives each request the headers that `headers` returns, which is asked in the span of the
    /// call: `traceparent`, so that a trace goes on in Meterline. Events that wait in a buffer
    /// or a spool are sent in no call's span. A name or value that cannot be a header is left
    /// out, and so is what the client says itself, such as `Authorization`.
    pub fn request_headers(
        self,
        headers: impl Fn() -> HashMap<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            own_headers: OwnHeaders::new(headers),
            ..self
        }
    }

    /// Sends events together. Each call is still answered only once its own
    /// event is recorded.
    pub fn buffer(self, buffer: BufferSettings) -> Self {
        Self {
            buffer: Some(buffer),
            ..self
        }
    }

    /// Keeps events in this folder until they are recorded, and takes them for
    /// durable there: for agents that must go on while Meterline is unreachable.
    /// Several processes may share it.
    pub fn spool(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            spool: Some(folder.into()),
            ..self
        }
    }

    /// The client. With a spool, events that an earlier process left there are
    /// sent from now on.
    ///
    /// # Errors
    /// A [`SettingsError`]; nothing was sent.
    pub fn build(self) -> Result<Meterline, SettingsError> {
        let Self {
            url,
            api_key,
            request_timeout,
            own_roots,
            ..
        } = &self;
        let api = Api::new(url, api_key, *request_timeout, own_roots)?
            .with_headers(self.own_headers.clone());
        let has_tasks = self.buffer.is_some() || self.spool.is_some();
        if has_tasks && Handle::try_current().is_err() {
            return Err(SettingsError::NoRuntime);
        }
        let buffer = match self.buffer {
            Some(BufferSettings { events_max, .. }) if !is_batch(events_max) => {
                return Err(SettingsError::InvalidBuffer { events_max });
            }
            buffer => buffer.map(|buffer| Buffer::start(api.clone(), buffer)),
        };
        let budget = self.retry_budget;
        let spool = self.spool;
        let spool = spool.map(|folder| Spool::open(folder, api.clone(), budget));
        let spool = spool.transpose()?;
        Ok(Meterline::new(Arc::new(Delivery {
            api,
            buffer,
            spool,
            retry_budget: self.retry_budget,
        })))
    }
}

fn is_batch(events: usize) -> bool {
    (1..=BATCH_EVENTS_MAX).contains(&events)
}
