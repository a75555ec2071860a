//! Anthropic's API without a key or a model, started when it is first asked for.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An Anthropic that may be running.
#[derive(Debug, Default)]
pub(crate) struct Anthropic {
    running: OnceCell<Running>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Running {
    url: String,
    serving: JoinHandle<io::Result<()>>,
}

impl Anthropic {
    pub(crate) async fn url(&self) -> io::Result<String> {
        let running = self.running.get_or_try_init(|| async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let url = format!("http://{}", listener.local_addr()?);
            let stopped = self.stop.clone().cancelled_owned();
            let serving = tokio::spawn(anthropic_simulator::serve(listener, stopped));
            Ok::<_, io::Error>(Running { url, serving })
        });
        Ok(running.await?.url.clone())
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Some(running) = self.running.into_inner()
            && !matches!(running.serving.await, Ok(Ok(())))
        {
            tracing::error!("the Anthropic simulator failed");
        }
    }
}
