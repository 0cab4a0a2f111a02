//! What is served besides MCP: whether we are there, and ready.

use super::body::Body;
use super::status;
use crate::broker::Broker;
use crate::counted::Counted;
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

/// Who is ready, and would not be ready for a full disk.
const NO_RESERVE: &str = "ready, but something else is in the place of the reserve of the store: nothing is reserved for a full disk\n";

/// The routes of this stage. They need no key, so they tell nothing that a
/// stranger may not know.
pub(super) fn router(
    broker: &Arc<Broker>,
    store: &Arc<Store>,
    ending: &CancellationToken,
) -> Router {
    let serves = {
        let (store, ending) = (Arc::clone(store), ending.clone());
        Arc::new(move || serves(&store, &ending))
    };
    let health = {
        let (broker, serves) = (Arc::clone(broker), Arc::clone(&serves));
        move || async move { health(&broker, serves().is_ok()) }
    };
    let readyz = {
        let (broker, store) = (Arc::clone(broker), Arc::clone(store));
        move || async move {
            match serves().and_then(|()| has_tried(&broker)) {
                Ok(()) if store.in_place_of_reserve().is_some() => {
                    (StatusCode::OK, NO_RESERVE.to_owned())
                }
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(why) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not ready: {why}\n"),
                ),
            }
        }
    };
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
}

/// Whether requests can be served, or why not.
fn serves(store: &Store, ending: &CancellationToken) -> Result<(), String> {
    if ending.is_cancelled() {
        return Err("the broker is stopping".to_owned());
    }
    if store.is_full() {
        return Err("the disk that holds the store is full".to_owned());
    }
    if store.cannot_be_written() {
        return Err("the store cannot be written".to_owned());
    }
    let read = store.read(|tx| keys::list(tx).map(|_readable| ()));
    read.map_err(|_error| "the store cannot be read".to_owned())
}

/// Whether each server answered or failed once. One that never answers has failed when
/// the time for its start is up. Which they are is not for strangers.
fn has_tried(broker: &Broker) -> Result<(), String> {
    match broker.untried() {
        0 => Ok(()),
        left => Err(format!(
            "waiting for the first answer of {}",
            Counted(left, "server")
        )),
    }
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
    let path = request.uri().path();
    let is_api = path == "/api" || path.starts_with("/api/");
    let routed = TowerToHyperService::new(routes.clone()).call(request);
    match routed.await {
        Ok(response) if is_api && response.status() == StatusCode::NOT_FOUND => status::no_path(
            "there is nothing here: there are `/api/escalations`, `/api/sessions/SESSION/events` and, with all of it, `/api/openapi.json`",
        ),
        Ok(response) if response.status() == StatusCode::NOT_FOUND => status::not_found(),
        Ok(response) => response.map(Body::Routed),
        Err(never) => match never {},
    }
}
