//! Starts the simulator and says where.

use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use stripe_simulator::{Background, Config, DEFAULT_SECRET_KEY, Data, Listen, Simulator};
use tracing_subscriber::EnvFilter;

/// Stripe over real HTTP, on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 12111)]
    port: u16,
    /// The file that keeps the state; without it the state is gone with the process.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The only API key that is accepted.
    #[arg(long, default_value = DEFAULT_SECRET_KEY)]
    secret_key: String,
    /// Do nothing until `POST /_simulator/settle`.
    #[arg(long)]
    manual: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::start(Config {
        listen: Listen::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port))),
        data: arguments.data.map_or(Data::Memory, Data::File),
        secret_key: arguments.secret_key,
        background: if arguments.manual {
            Background::Manual
        } else {
            Background::Automatic
        },
        ..Config::default()
    })
    .await?;
    writeln!(
        std::io::stdout(),
        "stripe-simulator listens on {}",
        simulator.url()
    )?;
    tokio::signal::ctrl_c().await?;
    simulator.stop().await;
    Ok(())
}
