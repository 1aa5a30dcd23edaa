//! What a front-end answers about its back-ends being drained:
//!
//! ```text
//! POST /v1/backends/NAME/drain       200: it is given nothing new, and what it has goes elsewhere; 404, 409, 503: why not
//! POST /v1/backends/NAME/undrain     200: it serves as before
//! ```
//! What is so already stays so: both may be said again.

use super::connections::Refused;
use super::{Unavailable, ask};
use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use std::sync::Arc;

/// What the admin listener asks of a front-end about its back-ends. Each call may block for a short time.
pub trait DrainSource: Send + Sync + 'static {
    /// Has the back-end called `node` drain, or serve as before.
    ///
    /// # Errors
    /// The node did not answer; inside, why it will not.
    fn drain(&self, node: String, is_draining: bool) -> Result<Result<Value, Refused>, Unavailable>;
}

/// The routes, to be merged into the listener's.
pub fn router<S: DrainSource>(source: Arc<S>) -> Router {
    Router::new()
        .route("/v1/backends/{name}/drain", post(drain::<S>))
        .route("/v1/backends/{name}/undrain", post(undrain::<S>))
        .with_state(source)
}

async fn drain<S: DrainSource>(State(source): State<Arc<S>>, Path(name): Path<String>) -> Response {
    set(source, name, true).await
}

async fn undrain<S: DrainSource>(State(source): State<Arc<S>>, Path(name): Path<String>) -> Response {
    set(source, name, false).await
}

async fn set<S: DrainSource>(source: Arc<S>, name: String, is_draining: bool) -> Response {
    let node = name.clone();
    match ask(move || source.drain(node, is_draining)).await {
        Ok(Ok(taken)) => {
            tracing::info!(backend = name, is_draining, "drain");
            Json(taken).into_response()
        }
        Ok(Err(refused)) => refused.into_response(),
        Err(unavailable) => unavailable.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::AdminServer;
    use super::super::tests::fetch;
    use super::*;
    use serde_json::json;

    struct Fake;

    impl DrainSource for Fake {
        fn drain(&self, node: String, is_draining: bool) -> Result<Result<Value, Refused>, Unavailable> {
            match node.as_str() {
                "silent" => Err(Unavailable("no answer".to_owned())),
                "nobody" => Ok(Err(Refused { status: 404, reason: "no such back-end".to_owned() })),
                _ => Ok(Ok(json!({"name": node, "draining": is_draining}))),
            }
        }
    }

    #[test]
    fn people_drain_back_ends_and_take_it_back() {
        let server = AdminServer::start("127.0.0.1:0".parse().unwrap(), router(Arc::new(Fake))).unwrap();
        let table = [
            ("POST /v1/backends/be1/drain", 200, "{\"draining\":true,\"name\":\"be1\"}"),
            ("POST /v1/backends/be1/undrain", 200, "{\"draining\":false,\"name\":\"be1\"}"),
            ("POST /v1/backends/nobody/drain", 404, "no such back-end"),
            ("POST /v1/backends/silent/undrain", 503, "no answer"),
            ("GET /v1/backends/be1/drain", 405, ""),
            ("POST /v1/backends/be1/stop", 404, ""),
        ];
        for (line, status, part) in table {
            let (head, body) = fetch(&server, line);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}");
            assert!(body.contains(part), "{line}: {body}");
        }
    }
}
