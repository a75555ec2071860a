//! The operator's receiver of webhooks: it takes everything, and keeps it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, routing::post};
use serde_json::Value;
use tokio::net::TcpListener;

/// A receiver by its address.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/operator/hooks", post(take))
            .with_state(Arc::clone(&bodies));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, bodies }
    }

    pub(crate) fn bodies(&self) -> Vec<Value> {
        let bodies = self.bodies.lock();
        bodies.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(bodies): State<Arc<Mutex<Vec<Value>>>>, Json(body): Json<Value>) -> StatusCode {
    let mut bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner);
    bodies.push(body);
    StatusCode::NO_CONTENT
}
