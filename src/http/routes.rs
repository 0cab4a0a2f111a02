//! What is served besides MCP: whether we are there, and ready.

use super::body::Body;
use super::status;
use crate::broker::Broker;
use crate::keys;
use crate::store::Store;
use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The routes of this stage. They need no key, so they tell nothing that a
/// stranger may not know.
pub(super) fn router(
    broker: &Arc<Broker>,
    store: &Arc<Store>,
    ending: &CancellationToken,
) -> Router {
    let is_ready = {
        let (store, ending) = (Arc::clone(store), ending.clone());
        move || {
            !ending.is_cancelled() && store.read(|tx| keys::list(tx).map(|_readable| ())).is_ok()
        }
    };
    let (ready, broker) = (Arc::new(is_ready), Arc::clone(broker));
    let health = {
        let ready = Arc::clone(&ready);
        move || async move { health(&broker, ready()) }
    };
    let readyz = move || async move {
        match ready() {
            true => (StatusCode::OK, "ready\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        }
    };
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
}

fn health(broker: &Broker, ready: bool) -> (StatusCode, Json<Value>) {
    let (mut up, mut down) = (0, 0);
    for (_name, state) in broker.servers() {
        match state.is_ready() {
            true => up += 1,
            false => down += 1,
        }
    }
    let (status, word) = match ready {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let health = json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "servers": {"ready": up, "not_ready": down},
    });
    (status, Json(health))
}

/// Answers by a route, or says that there is none.
pub(super) async fn answer(routes: &Router, request: Request<Incoming>) -> Response<Body> {
    let routed = TowerToHyperService::new(routes.clone()).call(request);
    match routed.await {
        Ok(response) if response.status() == StatusCode::NOT_FOUND => status::not_found(),
        Ok(response) => response.map(Body::Routed),
        Err(never) => match never {},
    }
}
