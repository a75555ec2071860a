//! The report function in Lambda.

use report::{DashboardLinks, State};
use web::{MainError, Settings, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await?;
    let ((ledger, stripe), link_secret) = tokio::try_join!(
        settings.ledger_and_stripe(),
        settings.secret("DASHBOARD_LINK_SECRET"),
    )?;
    let state = State::new(
        ledger,
        stripe,
        DashboardLinks::new(&link_secret, settings.variable("PUBLIC_URL"))?,
        settings.clock(),
    );
    let state = state.with_key_rate(settings.key_rate_limit()?);
    lambda_http::run(web::service(report::router(state))).await
}
