//! `POST /v1/secrets/reload`: the secret files are read again, as SIGHUP does. Connections and sessions go on.

use super::Unavailable;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;

/// Reads the secret files and has the node take them over. May block for a short time. When it fails, the node has its secrets as before.
pub(crate) trait Reload: Fn() -> anyhow::Result<()> + Send + Sync {}

impl<F: Fn() -> anyhow::Result<()> + Send + Sync> Reload for F {}

/// The route, to be merged into the listener's.
pub(crate) fn router(reload: Arc<dyn Reload>) -> Router {
    Router::new().route("/v1/secrets/reload", post(answer)).with_state(reload)
}

async fn answer(State(reload): State<Arc<dyn Reload>>) -> Response {
    match super::ask(move || Ok(reload())).await {
        Ok(Ok(())) => "the secrets were read again\n".into_response(),
        Ok(Err(error)) => match error.downcast::<Unavailable>() {
            Ok(unavailable) => unavailable.into_response(),
            Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}\n")).into_response(),
        },
        Err(unavailable) => unavailable.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::AdminServer;
    use super::super::tests::fetch;
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn each_failure_has_its_status() {
        let calls = AtomicU32::new(0);
        let reload = move || match calls.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            1 => anyhow::bail!("the secret file x is short"),
            _ => Err(Unavailable("no answer".to_owned()).into()),
        };
        let server = AdminServer::start("127.0.0.1:0".parse().unwrap(), router(Arc::new(reload))).unwrap();
        assert!(fetch(&server, "GET /v1/secrets/reload").0.starts_with("HTTP/1.1 405"), "reading reloads nothing");
        for (status, body) in
            [(200, "the secrets were read again\n"), (422, "the secret file x is short\n"), (503, "no answer\n")]
        {
            let (head, said) = fetch(&server, "POST /v1/secrets/reload");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert_eq!(said, body);
        }
    }
}
