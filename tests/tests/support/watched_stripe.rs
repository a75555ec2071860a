//! A Stripe simulator as a process of its own, behind an address that writes
//! down what is asked and lets nobody to the simulator's own controls.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::program;
use super::watched::Watched;

pub(crate) struct WatchedStripe {
    simulator: Child,
    simulator_url: String,
    key: String,
    http: reqwest::Client,
    watched: Watched,
    pub(crate) url: String,
}

impl WatchedStripe {
    /// One that takes `key`.
    pub(crate) async fn start(key: &str) -> Self {
        let mut simulator = Command::new(program("stripe-simulator"))
            .args(["--port", "0", "--secret-key", key])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(simulator.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let simulator_url = line.split_whitespace().last().unwrap().to_owned();
        let watched = Watched::start(&simulator_url);
        Self {
            simulator,
            simulator_url,
            key: key.to_owned(),
            http: reqwest::Client::new(),
            url: watched.url.clone(),
            watched,
        }
    }

    /// Method and path of all that was asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.watched.asked()
    }

    /// Returns once `request` (method and path) was asked.
    pub(crate) async fn is_asked(&self, request: &str) {
        self.watched.is_asked(request).await;
    }

    /// What the simulator answers to the test itself.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.simulator_url);
        let request = self.http.get(url).bearer_auth(&self.key);
        request.send().await.unwrap().json().await.unwrap()
    }
}

impl Drop for WatchedStripe {
    fn drop(&mut self) {
        let _ = self.simulator.kill();
        let _ = self.simulator.wait();
    }
}
