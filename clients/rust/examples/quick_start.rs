//! The quick start of the repository's README, which a test holds it against.
use meterline_client::{Emit, Meterline, Usage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = Usage::new(std::env::var("CUSTOMER_ID")?, "document_processed").job("job-7");
    let work = async || Ok::<_, std::io::Error>("a summary"); // Nothing is billed if it fails.
    let done = Meterline::from_env()?.metered(usage, work).await?;
    println!("{} {}", done.output, done.recorded.status);
    Ok(())
}
