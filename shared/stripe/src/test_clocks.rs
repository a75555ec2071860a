//! Test clocks: customers who live in a time of their own (Stripe API
//! reference: Test Clocks).

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::request::{Request, segment};

const PATH: &str = "/v1/test_helpers/test_clocks";

/// A time that stands until it is advanced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TestClock {
    /// `clock_…`.
    pub id: String,
    /// What its customers take for now, in unix seconds.
    pub frozen_time: i64,
    /// `ready`, `advancing` or `internal_failure`.
    pub status: String,
    /// What it was called.
    pub name: Option<String>,
}

impl TestClock {
    /// Whether what an advance set going is done.
    pub fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

impl Client {
    /// A new clock that stands at `frozen_time` (unix seconds).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_test_clock(
        &self,
        frozen_time: i64,
        name: &str,
        options: &RequestOptions,
    ) -> Result<TestClock, Error> {
        let form = Form::new()
            .with("frozen_time", frozen_time)
            .with("name", name);
        self.call(Request::post(PATH, form), options).await
    }

    /// The clock `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_test_clock(&self, id: &str) -> Result<TestClock, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// Sets the clock on its way to `frozen_time` (unix seconds). It has
    /// arrived when [`TestClock::is_ready`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn advance_test_clock(
        &self,
        id: &str,
        frozen_time: i64,
        options: &RequestOptions,
    ) -> Result<TestClock, Error> {
        let path = format!("{PATH}/{}/advance", segment(id)?);
        let form = Form::new().with("frozen_time", frozen_time);
        self.call(Request::post(path, form), options).await
    }
}
