//! Anthropic's API without a key or a model, started when it is first asked for.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

/// An Anthropic that may be running. Dropped, it stops.
#[derive(Debug, Default)]
pub struct Anthropic {
    running: OnceCell<Running>,
}

#[derive(Debug)]
struct Running {
    url: String,
    _stop: DropGuard,
}

impl Anthropic {
    /// Its address; it starts at the first call.
    ///
    /// # Errors
    /// Where there is no port to listen on.
    pub async fn url(&self) -> io::Result<String> {
        let running = self.running.get_or_try_init(|| async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let url = format!("http://{}", listener.local_addr()?);
            let stop = CancellationToken::new();
            let stopped = stop.clone().cancelled_owned();
            tokio::spawn(async move {
                if let Err(error) = anthropic_simulator::serve(listener, stopped).await {
                    tracing::error!(%error, "the Anthropic simulator failed");
                }
            });
            Ok::<_, io::Error>(Running {
                url,
                _stop: stop.drop_guard(),
            })
        });
        Ok(running.await?.url.clone())
    }
}
