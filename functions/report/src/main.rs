//! The report function in Lambda.

use report::{DashboardLinks, FrameAncestors, State};
use web::{MainError, Metrics, Settings, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await?;
    let ((ledger, stripe), (link_secret, former)) = tokio::try_join!(
        settings.ledger_and_stripe(),
        settings.secret_and_former("DASHBOARD_LINK_SECRET"),
    )?;
    let state = State::new(
        ledger,
        stripe,
        DashboardLinks::rotated(
            link_secret,
            former.as_ref(),
            settings.variable("PUBLIC_URL"),
        )?,
        settings.clock(),
    );
    let frame_ancestors = settings.variable("DASHBOARD_FRAME_ANCESTORS");
    let frame_ancestors = FrameAncestors::parse(&frame_ancestors.unwrap_or_default())?;
    let state = state
        .with_key_rate(settings.key_rate_limit()?)
        .with_frame_ancestors(frame_ancestors)
        .with_metrics(Metrics::from_environment());
    lambda_http::run(web::service(report::router(state))).await
}
