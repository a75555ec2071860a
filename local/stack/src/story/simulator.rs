//! The controls of the Stripe simulator, which are not Stripe's.

use serde_json::Value;

use super::{Answer, Api, Stage, StoryError};

impl Stage<'_> {
    /// A call to the simulator's controls, with the secret key.
    pub(crate) async fn stripe_control(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Answer, StoryError> {
        let key = self.place.stripe_secret_key.clone();
        let controls = Api::new(&self.place.stripe_url, key)?;
        match method {
            "POST" => controls.post(path, body).await,
            method => controls.call(method, path).await,
        }
    }

    /// Rolls up what the audit log's stream holds by now.
    pub(crate) async fn rolled_up(&self) -> Result<(), StoryError> {
        if let Some(pump) = &self.place.pump {
            while pump.pump().await? > 0 {}
        }
        Ok(())
    }
}
