//! Starts the simulator and says where.

use std::io::Write;
use std::net::SocketAddr;

use clap::Parser;
use tokio::net::TcpListener;

/// Anthropic's Messages API without a model, on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 12112)]
    port: u16,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], arguments.port))).await?;
    let address = listener.local_addr()?;
    writeln!(
        std::io::stdout(),
        "anthropic-simulator listens on http://{address}"
    )?;
    anthropic_simulator::serve(listener, interrupted()).await
}

/// Returns on Ctrl-C. Without a signal handler there is nothing to wait for,
/// and the process simply runs until it is killed.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
