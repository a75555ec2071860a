//! Stands between the functions and one of their services, and breaks what it
//! passes on, as the seed says.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::answers::refusal;
use crate::fault::{Class, Fault, Faults};
use crate::wire::{Message, read_message};

/// How much longer a slow request takes: far below the callers' limits.
const SLOW: Duration = Duration::from_millis(15);

/// A late request arrives behind up to so many others.
const LATE_REQUESTS_MAX: u64 = 200;

/// How often the port is asked for after an outage, and how long between.
const BIND_ATTEMPTS_MAX: u32 = 100;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// What lies behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    DynamoDb,
    Stripe,
}

impl Service {
    /// What a request is for: faults are counted off among its like.
    fn purpose(self, request: &Message) -> (Class, String) {
        match self {
            Self::DynamoDb => {
                let operation = request.header("x-amz-target").unwrap_or_default();
                let class = if operation.ends_with("TransactWriteItems") {
                    Class::DynamoDbTransaction
                } else {
                    Class::DynamoDb
                };
                (class, operation.to_owned())
            }
            Self::Stripe => {
                let (method, path) = request.target();
                let class = match path {
                    "/v2/billing/meter_event_stream" | "/v1/billing/meter_events" => {
                        Class::StripeStream
                    }
                    _ => Class::Stripe,
                };
                // The resource without its id.
                let resource: Vec<&str> = path.split('/').take(4).collect();
                (class, format!("{method} {}", resource.join("/")))
            }
        }
    }
}

/// The requests that have come through all proxies; at one of them the
/// functions' process is to be killed.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    requests: AtomicU64,
    kill_at: AtomicU64,
    kill: Notify,
}

impl Traffic {
    /// Waits until `requests` more have come.
    pub(crate) async fn after(&self, requests: u64) {
        let killed = self.kill.notified();
        let at = self.requests.load(Ordering::SeqCst) + requests.max(1);
        self.kill_at.store(at, Ordering::SeqCst);
        killed.await;
    }

    fn count(&self) -> u64 {
        let count = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        if count == self.kill_at.load(Ordering::SeqCst) {
            self.kill.notify_waiters();
        }
        count
    }
}

enum Command {
    /// Nobody listens, and every connection breaks.
    Close,
    /// Somebody listens again.
    Open,
}

/// A proxy. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct Proxy {
    url: String,
    shared: Arc<Shared>,
    commands: mpsc::Sender<(Command, oneshot::Sender<io::Result<()>>)>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    service: Service,
    address: SocketAddr,
    upstream: SocketAddr,
    faults: Faults,
    traffic: Arc<Traffic>,
    late: Mutex<Vec<Held>>,
}

/// A request that arrives later.
#[derive(Debug)]
struct Held {
    due_at: u64,
    request: Message,
}

/// A connection to the service.
struct Upstream {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Proxy {
    /// Stands before `upstream`.
    pub(crate) async fn start(
        service: Service,
        upstream: SocketAddr,
        faults: Faults,
        traffic: Arc<Traffic>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            service,
            address,
            upstream,
            faults,
            traffic,
            late: Mutex::default(),
        });
        let (commands, received) = mpsc::channel(1);
        Ok(Self {
            url: format!("http://{address}"),
            task: tokio::spawn(serve(Arc::clone(&shared), listener, received)),
            shared,
            commands,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on connections are refused; those that stand break.
    pub(crate) async fn close(&self) -> io::Result<()> {
        self.shared.faults.count(Fault::Refused);
        self.command(Command::Close).await
    }

    /// Listens again.
    pub(crate) async fn open(&self) -> io::Result<()> {
        self.command(Command::Open).await
    }

    async fn command(&self, command: Command) -> io::Result<()> {
        let (done, is_done) = oneshot::channel();
        let sent = self.commands.send((command, done)).await;
        sent.map_err(io::Error::other)?;
        is_done.await.map_err(io::Error::other)?
    }

    /// Lets everything arrive that is late: no request is older than a step of
    /// the clock.
    pub(crate) async fn flush(&self) {
        self.shared.release(u64::MAX).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut commands: mpsc::Receiver<(Command, oneshot::Sender<io::Result<()>>)>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some((Command::Close, done)) => {
                    listener = None;
                    connections.shutdown().await;
                    // Whoever asked may be gone.
                    let _ = done.send(Ok(()));
                }
                Some((Command::Open, done)) => {
                    let bound = bind(shared.address).await;
                    let _ = done.send(bound.map(|bound| listener = Some(bound)));
                }
            },
            accepted = accept(listener.as_ref()) => {
                if let Ok(client) = accepted {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move { shared.connection(client).await });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(address).await {
            Err(_) if attempts < BIND_ATTEMPTS_MAX => {
                attempts += 1;
                tokio::time::sleep(BIND_PAUSE).await;
            }
            bound => return bound,
        }
    }
}

impl Shared {
    /// Serves one client until either side ends it.
    async fn connection(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let (mut buffer, mut upstream) = (Vec::new(), None);
        while let Some(request) = read_message(&mut client, &mut buffer).await? {
            let count = self.traffic.count();
            self.release(count).await;
            let (class, purpose) = self.service.purpose(&request);
            match self.faults.decide(class, &purpose) {
                None => self.pass_on(&mut client, &mut upstream, &request).await?,
                Some((fault, detail)) => {
                    let is_over = self
                        .strike(&mut client, &mut upstream, request, (fault, detail))
                        .await?;
                    if is_over {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn pass_on(
        &self,
        client: &mut TcpStream,
        upstream: &mut Option<Upstream>,
        request: &Message,
    ) -> io::Result<()> {
        let answer = self.exchange(upstream, request).await?;
        client.write_all(&answer.bytes).await
    }

    /// Does `fault` to `request`. Whether the connection is over.
    async fn strike(
        &self,
        client: &mut TcpStream,
        upstream: &mut Option<Upstream>,
        request: Message,
        (fault, detail): (Fault, u64),
    ) -> io::Result<bool> {
        let is_done = matches!(
            fault,
            Fault::TimedOutAfterCommit
                | Fault::AnswerLost
                | Fault::ResetMidAnswer
                | Fault::InternalErrorAfterCommit
        );
        let answer = if is_done {
            Some(self.exchange(upstream, &request).await?)
        } else {
            None
        };
        match fault {
            Fault::TimedOut | Fault::TimedOutAfterCommit => hang(client).await?,
            Fault::Late => {
                hang(client).await?;
                self.hold(request, detail);
            }
            Fault::AnswerLost => {}
            Fault::Reset => client.set_zero_linger()?,
            Fault::ResetMidAnswer => {
                let bytes = answer.map(|answer| answer.bytes).unwrap_or_default();
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                client.write_all(half).await?;
                client.set_zero_linger()?;
            }
            Fault::Slow => {
                tokio::time::sleep(SLOW).await;
                self.pass_on(client, upstream, &request).await?;
                return Ok(false);
            }
            _ => {
                if let Some(refusal) = refusal(self.service, fault, &request, detail) {
                    client.write_all(&refusal).await?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Passes `request` on, and takes the answer in.
    async fn exchange(
        &self,
        upstream: &mut Option<Upstream>,
        request: &Message,
    ) -> io::Result<Message> {
        let mut connected = match upstream.take() {
            Some(connected) => connected,
            None => Upstream::connect(self.upstream).await?,
        };
        connected.stream.write_all(&request.bytes).await?;
        let Upstream { stream, buffer } = &mut connected;
        let answer = read_message(stream, buffer).await?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        *upstream = Some(connected);
        Ok(answer)
    }

    fn hold(&self, request: Message, detail: u64) {
        let requests = self.traffic.requests.load(Ordering::SeqCst);
        let due_at = requests + 1 + detail % LATE_REQUESTS_MAX;
        let held = Held { due_at, request };
        self.late().push(held);
    }

    /// Lets what is late arrive, up to what is due at request `count`.
    async fn release(&self, count: u64) {
        let due: Vec<Held> = self
            .late()
            .extract_if(.., |held| held.due_at <= count)
            .collect();
        for held in due {
            // Nobody waits for the answer.
            let _ = self.exchange(&mut None, &held.request).await;
        }
    }

    fn late(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers nothing, until the client gives up.
async fn hang(client: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 512];
    loop {
        match client.read(&mut ignored).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

impl Upstream {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"POST /v2/billing/meter_event_stream HTTP/1.1\r\n\
        Content-Length: 2\r\n\r\n{}";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    /// A service that counts what it has done.
    async fn a_service() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, done) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&done);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut buffer = Vec::new();
                    while let Ok(Some(_)) = read_message(&mut stream, &mut buffer).await {
                        count.fetch_add(1, Ordering::SeqCst);
                        stream.write_all(ANSWER).await.unwrap();
                    }
                });
            }
        });
        (address, done)
    }

    /// What a caller sees who waits no longer than it takes to see something:
    /// the status, or none, and how often the work was done by then.
    async fn struck_by(fault: Fault) -> (Option<String>, u64, Proxy, Arc<AtomicU64>) {
        let (upstream, done) = a_service().await;
        let faults = Faults::forcing(fault);
        let proxy = Proxy::start(Service::Stripe, upstream, faults, Arc::default());
        let proxy = proxy.await.unwrap();
        let mut stream = TcpStream::connect(proxy.shared.address).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut buffer = Vec::new();
        let answer = match fault {
            // Nothing comes: the caller gives up.
            Fault::Late => None,
            _ => read_message(&mut stream, &mut buffer).await.ok().flatten(),
        };
        drop(stream);
        let status = answer.map(|answer| answer.target().1.to_owned());
        let times = done.load(Ordering::SeqCst);
        (status, times, proxy, done)
    }

    #[tokio::test]
    async fn each_fault_is_what_it_is_called() {
        for (fault, status, times) in [
            (Fault::AnswerLost, None, 1),
            (Fault::Reset, None, 0),
            (Fault::ResetMidAnswer, None, 1),
            (Fault::TooManyRequests, Some("429"), 0),
            (Fault::TooManyRequestsRetryAfter, Some("429"), 0),
            (Fault::InternalError, Some("500"), 0),
            (Fault::InternalErrorAfterCommit, Some("500"), 1),
            (Fault::Unavailable, Some("503"), 0),
            (Fault::BadRequest, Some("400"), 0),
            (Fault::SessionExpired, Some("401"), 0),
            (Fault::Slow, Some("200"), 1),
        ] {
            let (seen, done, ..) = struck_by(fault).await;
            assert_eq!((seen.as_deref(), done), (status, times), "{fault}");
        }
    }

    #[tokio::test]
    async fn what_is_late_arrives_after_its_caller_gave_up() {
        let (_, times, proxy, done) = struck_by(Fault::Late).await;
        assert_eq!(times, 0);
        while proxy.shared.late().is_empty() {
            tokio::task::yield_now().await;
        }
        proxy.flush().await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn while_nobody_listens_connections_are_refused() {
        let (upstream, _) = a_service().await;
        let proxy = Proxy::start(Service::Stripe, upstream, Faults::new(1), Arc::default());
        let proxy = proxy.await.unwrap();
        let address = proxy.shared.address;
        proxy.close().await.unwrap();
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        proxy.open().await.unwrap();
        TcpStream::connect(address).await.unwrap();
    }
}
