//! The admin listener: `/metrics`, `/healthz`, `/v1/status` and what a node adds, on a loopback address, on a thread of its own.
//!
//! The thread runs a current-thread tokio runtime. Handlers that ask the poll loop wait for its answer on a blocking thread, so
//! that a slow loop never stops the listener. There is no password: whoever reaches a loopback address of
//! the machine may ask. So that a web page in somebody's browser may not, only requests that name a loopback host are answered.

pub mod connections;
pub mod draining;
pub(crate) mod secrets;

use crate::metrics::{CONTENT_TYPE, Metrics};
use axum::Json;
pub use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::oneshot;

/// Requests that wait for the poll loop at the same time; more wait for their turn.
pub const CONCURRENT_QUESTIONS_MAX: usize = 4;

/// How long the listener waits for running handlers when it stops.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// What the admin listener asks of a running node. Each call may block for a short time.
pub trait AdminSource: Send + Sync + 'static {
    /// Adds the node's numbers.
    ///
    /// # Errors
    /// The node did not answer.
    fn metrics(&self, metrics: &mut Metrics) -> Result<(), Unavailable>;

    /// What the node is and does now.
    ///
    /// # Errors
    /// The node did not answer.
    fn status(&self) -> Result<serde_json::Value, Unavailable>;

    /// Whether the node answers and is not stopping.
    ///
    /// # Errors
    /// It does not or is.
    fn health(&self) -> Result<(), Unavailable>;
}

/// The node did not answer; the text says why.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

/// The routes that every node has. A node's own, such as `POST /v1/...`, are merged into it.
pub fn router<S: AdminSource>(source: Arc<S>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<S>))
        .route("/healthz", get(health::<S>))
        .route("/v1/status", get(status::<S>))
        .with_state(source)
}

async fn metrics<S: AdminSource>(State(source): State<Arc<S>>) -> Result<Response, Unavailable> {
    let text = ask(move || {
        let mut metrics = Metrics::default();
        source.metrics(&mut metrics).map(|()| metrics.to_text())
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

async fn health<S: AdminSource>(State(source): State<Arc<S>>) -> Result<&'static str, Unavailable> {
    ask(move || source.health()).await.map(|()| "ok\n")
}

async fn status<S: AdminSource>(State(source): State<Arc<S>>) -> Result<Json<serde_json::Value>, Unavailable> {
    ask(move || source.status()).await.map(Json)
}

/// Runs `question`, which may block, where it blocks nobody else. For handlers that ask the poll loop.
///
/// # Errors
/// What `question` returns; also when it panicked.
pub async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Unavailable> {
    let answer = tokio::task::spawn_blocking(question).await;
    answer.unwrap_or_else(|error| Err(Unavailable(format!("the question failed: {error}"))))
}

/// Refuses requests that do not name a loopback host, as a web page's script would after its name was pointed at 127.0.0.1.
async fn only_loopback_hosts(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_loopback_host) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "the Host field must name a loopback address\n").into_response()
    }
}

/// Whether a Host field's value, with or without port, is `localhost` or a loopback address.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The running listener. Dropping it stops it.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Listens on `listen` and serves `router` from a thread of its own.
    ///
    /// # Errors
    /// The address is not a loopback one or cannot be listened on, or no thread could be started.
    pub fn start(listen: SocketAddr, router: Router) -> io::Result<Self> {
        if !listen.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{listen} is not a loopback address")));
        }
        let socket = TcpListener::bind(listen)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(CONCURRENT_QUESTIONS_MAX)
            .thread_name("baton-admin-ask")
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let router = router.layer(from_fn(only_loopback_hosts));
        let thread = thread::Builder::new().name("baton-admin".to_owned()).spawn(move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(socket)?;
                tokio::select! {
                    served = axum::serve(listener, router) => served,
                    _ = stopped => Ok(()),
                }
            });
            if let Err(error) = served {
                tracing::error!(%error, "the admin listener ended");
            }
            runtime.shutdown_timeout(STOP_TIMEOUT);
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; tells the port if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the thread has already ended.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct FakeNode {
        silent: AtomicBool,
    }

    impl FakeNode {
        fn answer<T>(&self, value: T) -> Result<T, Unavailable> {
            if self.silent.load(Ordering::Relaxed) { Err(Unavailable("no answer".to_owned())) } else { Ok(value) }
        }
    }

    impl AdminSource for FakeNode {
        fn metrics(&self, metrics: &mut Metrics) -> Result<(), Unavailable> {
            metrics.counter("baton_fake_total", "Fakes", 42);
            self.answer(())
        }

        fn status(&self) -> Result<serde_json::Value, Unavailable> {
            self.answer(serde_json::json!({"name": "fake"}))
        }

        fn health(&self) -> Result<(), Unavailable> {
            self.answer(())
        }
    }

    fn start(node: &Arc<FakeNode>) -> AdminServer {
        let own = Router::new().route("/v1/own", axum::routing::post(|| async { "own\n" }));
        AdminServer::start("127.0.0.1:0".parse().unwrap(), router(Arc::clone(node)).merge(own)).unwrap()
    }

    /// Status line and headers, and body, of a request on a new connection.
    fn fetch_as(server: &AdminServer, host: &str, line: &str) -> (String, String) {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    pub(super) fn fetch(server: &AdminServer, line: &str) -> (String, String) {
        fetch_as(server, "127.0.0.1:9901", line)
    }

    #[test]
    fn metrics_health_and_status_over_a_real_socket() {
        let node = Arc::new(FakeNode::default());
        let server = start(&node);
        let (head, body) = fetch(&server, "GET /metrics");
        assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains(CONTENT_TYPE), "{head}");
        assert_eq!(body, "# HELP baton_fake Fakes\n# TYPE baton_fake counter\nbaton_fake_total 42\n# EOF\n");
        assert_eq!(fetch(&server, "GET /healthz").1, "ok\n");
        let (head, body) = fetch(&server, "GET /v1/status");
        assert!(head.contains("application/json"), "{head}");
        assert_eq!(body, "{\"name\":\"fake\"}");
        assert_eq!(fetch(&server, "POST /v1/own").1, "own\n");
        assert!(fetch(&server, "GET /none").0.starts_with("HTTP/1.1 404"));
        assert!(fetch(&server, "POST /metrics").0.starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn a_silent_node_is_503_and_the_listener_lives_on() {
        let node = Arc::new(FakeNode::default());
        let server = start(&node);
        node.silent.store(true, Ordering::Relaxed);
        for line in ["GET /metrics", "GET /healthz", "GET /v1/status"] {
            let (head, body) = fetch(&server, line);
            assert!(head.starts_with("HTTP/1.1 503"), "{line}: {head}");
            assert_eq!(body, "no answer\n");
        }
        node.silent.store(false, Ordering::Relaxed);
        assert!(fetch(&server, "GET /healthz").0.starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn a_foreign_host_is_refused() {
        let node = Arc::new(FakeNode::default());
        let server = start(&node);
        for (host, right) in [
            ("127.0.0.1:9901", true),
            ("127.0.0.1", true),
            ("127.8.8.8:1", true),
            ("localhost:9901", true),
            ("LOCALHOST", true),
            ("[::1]:9901", true),
            ("[::1]", true),
            ("evil.example", false),
            ("evil.example:9901", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1:9901", false),
            ("127.0.0.1:x", false),
            ("", false),
        ] {
            let (head, _) = fetch_as(&server, host, "GET /metrics");
            assert_eq!(head.starts_with("HTTP/1.1 200"), right, "{host:?}: {head}");
            assert_eq!(head.starts_with("HTTP/1.1 403"), !right, "{host:?}: {head}");
        }
    }

    #[test]
    fn it_stops_and_gives_the_port_back() {
        let node = Arc::new(FakeNode::default());
        let server = start(&node);
        let address = server.address();
        let idle = TcpStream::connect(address).unwrap();
        drop(server);
        drop(idle);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn it_listens_on_loopback_only() {
        let error = AdminServer::start("0.0.0.0:0".parse().unwrap(), Router::new()).unwrap_err();
        assert_eq!(error.to_string(), "0.0.0.0:0 is not a loopback address");
    }
}
