//! The report function in Lambda.

use report::{DashboardLinks, State};
use web::{MainError, Settings, telemetry};

#[tokio::main]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await;
    let link_secret = settings.secret("DASHBOARD_LINK_SECRET").await?;
    let state = State::new(
        settings.ledger(),
        settings.stripe().await?,
        DashboardLinks::new(&link_secret, settings.variable("PUBLIC_URL"))?,
        settings.clock(),
    );
    lambda_http::run(web::service(report::router(state))).await
}
