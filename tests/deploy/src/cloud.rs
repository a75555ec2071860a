//! AWS on this machine: ministack, in a process group of its own, and the two
//! programs that speak to it as they speak to AWS.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use stack::story::Api;
use tokio::process::Child;

use crate::command::{Run, isolated};
use crate::failure::Failure;
use crate::patience;

/// Its environment: scripts/tools.sh makes it.
const BIN: &str = "target/ministack/bin";
/// Sam's: likewise.
const TOOLS_BIN: &str = ".venv/bin";
pub(crate) const REGION: &str = "us-east-1";
/// The keys that [`Connection::embedded`](stack::connection::Connection::embedded)
/// signs with, too.
const OPERATORS_KEY: &str = "local";
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// AWS, as long as it is not dropped.
pub(crate) struct Cloud {
    url: String,
    process: Child,
    group: Option<u32>,
    log: PathBuf,
}

impl Cloud {
    /// Starts it on a free port, with all that it writes in `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let port = free_port().map_err(Failure::io("no free port"))?;
        let url = format!("http://127.0.0.1:{port}");
        let temporary = folder.join("tmp");
        std::fs::create_dir_all(&temporary).map_err(Failure::io("no folder for ministack"))?;
        let log = folder.join("ministack.log");
        let create = || File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = create().map_err(Failure::io("no log for ministack"))?;
        let program = Path::new(BIN).join("ministack");
        let process = isolated(&program)
            .env("GATEWAY_PORT", port.to_string())
            // What its functions call.
            .env("AWS_ENDPOINT_URL", &url)
            // Each function may do what its role allows, and the operator everything.
            .env("AUTH", "true")
            .env("AWS_ACCESS_KEY_ID", OPERATORS_KEY)
            .env("TMPDIR", &temporary)
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|source| Failure::NoProgram { program, source })?;
        let group = process.id();
        let cloud = Self {
            url,
            process,
            group,
            log,
        };
        cloud.is_up().await?;
        Ok(cloud)
    }

    async fn is_up(&self) -> Result<(), Failure> {
        let api = Api::new(&self.url, OPERATORS_KEY.into())?;
        patience::until("ministack", STARTS_WITHIN, async || {
            let health = api.get("/_ministack/health").await;
            Ok(health.is_ok_and(|health| health.status == 200))
        })
        .await
    }

    /// Where all of it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it says of itself.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// What an AWS SDK needs in its environment to find it.
    pub(crate) fn variables(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", OPERATORS_KEY),
            ("AWS_SECRET_ACCESS_KEY", OPERATORS_KEY),
        ]
    }

    /// `aws` with these arguments: its answer, null where it has none.
    pub(crate) async fn aws(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let name = format!("aws {}", arguments[..arguments.len().min(2)].join(" "));
        let printed = Run::new(&Path::new(BIN).join("aws"))
            .named(&name)
            .args(arguments)
            .args(["--output", "json"])
            .env(self.variables())
            .output()
            .await?;
        if printed.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&printed).map_err(|_| Failure::Unexpected(format!("what {name} says")))
    }

    /// `sam` with these arguments.
    pub(crate) async fn sam(&self, arguments: &[String]) -> Result<(), Failure> {
        Run::new(&Path::new(TOOLS_BIN).join("sam"))
            .named("sam deploy")
            .args(arguments)
            .env(self.variables())
            .env([("SAM_CLI_TELEMETRY", "0")])
            .output()
            .await
            .map(|_| ())
    }

    /// Ends it and the functions that it runs.
    pub(crate) async fn stop(mut self) {
        self.signal("-TERM");
        // Its own end is all there is to wait for; the group gets the rest.
        let ended = tokio::time::timeout(Duration::from_secs(10), self.process.wait()).await;
        if ended.is_err() {
            self.signal("-KILL");
        }
    }

    fn signal(&self, signal: &str) {
        if let Some(group) = self.group {
            // The functions are of its group.
            let _ = std::process::Command::new("kill")
                .args([signal, "--", &format!("-{group}")])
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.signal("-KILL");
    }
}

/// Whoever is given a port must be quick to take it: nothing keeps it free.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
