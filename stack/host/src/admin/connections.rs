//! What both kinds of node answer about their connections:
//!
//! ```text
//! GET  /v1/connections?from=PLACE&limit=N        some of them, and where the next page begins
//! POST /v1/connections/ID/move?to=NAME           202: passed on; 400, 404, 409, 422, 503: why not
//! GET  /v1/moves?after=NUMBER&limit=N            the latest moves
//! ```

use super::{Unavailable, ask};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Connections in one answer, if nothing else is asked for.
pub const PAGE_DEFAULT: usize = 100;

/// What the admin listener asks of a node about connections. Each call may block for a short time.
pub trait ConnectionSource: Send + Sync + 'static {
    /// At most `limit` connections, from place `from` of the node's table on.
    ///
    /// # Errors
    /// The node did not answer.
    fn connections(&self, from: usize, limit: usize) -> Result<Value, Unavailable>;

    /// At most `limit` of the latest moves, those with numbers above `after`.
    ///
    /// # Errors
    /// The node did not answer.
    fn moves(&self, after: u64, limit: usize) -> Result<NumberedMoves, Unavailable>;

    /// Moves connection `id` to the node called `to`.
    ///
    /// # Errors
    /// The node did not answer; inside, why it will not.
    fn move_connection(&self, id: u64, to: String) -> Result<Result<Value, Refused>, Unavailable>;
}

/// Some of a node's latest moves.
#[derive(Clone, PartialEq, Debug)]
pub struct NumberedMoves {
    /// With their numbers, oldest first.
    pub list: Vec<(u64, Value)>,
    /// The number of the newest that there is.
    pub last: u64,
}

/// Why a wish is not followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The HTTP status that says so.
    pub status: u16,
    /// The same in words.
    pub reason: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, format!("{}\n", self.reason)).into_response()
    }
}

/// The routes, to be merged into the listener's.
pub fn router<S: ConnectionSource>(source: Arc<S>) -> Router {
    Router::new()
        .route("/v1/connections", get(list::<S>))
        .route("/v1/connections/{id}/move", post(move_connection::<S>))
        .route("/v1/moves", get(moves::<S>))
        .with_state(source)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    from: usize,
    #[serde(default = "page_default")]
    limit: usize,
}

const fn page_default() -> usize {
    PAGE_DEFAULT
}

async fn list<S: ConnectionSource>(
    State(source): State<Arc<S>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Response> {
    let Query(Wanted { from, limit }) = wanted.map_err(|error| bad_request(&error.body_text()))?;
    if limit == 0 {
        return Err(bad_request("limit: at least 1"));
    }
    ask(move || source.connections(from, limit)).await.map(Json).map_err(IntoResponse::into_response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    after: u64,
    #[serde(default = "page_default")]
    limit: usize,
}

async fn moves<S: ConnectionSource>(
    State(source): State<Arc<S>>,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Value>, Response> {
    let Query(Since { after, limit }) = since.map_err(|error| bad_request(&error.body_text()))?;
    let found = ask(move || source.moves(after, limit)).await.map_err(IntoResponse::into_response)?;
    let list: Vec<_> = found.list.into_iter().map(|(_, event)| event).collect();
    Ok(Json(json!({"moves": list, "last": found.last})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    to: String,
}

async fn move_connection<S: ConnectionSource>(
    State(source): State<Arc<S>>,
    Path(id): Path<String>,
    destination: Result<Query<Destination>, QueryRejection>,
) -> Response {
    let to = match destination {
        Ok(Query(Destination { to })) => to,
        Err(error) => return bad_request(&error.body_text()),
    };
    // An id as it is written everywhere: 16 hexadecimal digits. Anything else is nobody's.
    let is_id = id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    let Some(id) = u64::from_str_radix(&id, 16).ok().filter(|_| is_id) else {
        return (StatusCode::NOT_FOUND, "a connection's id has 16 hexadecimal digits\n").into_response();
    };
    match ask(move || source.move_connection(id, to)).await {
        Ok(Ok(taken)) => (StatusCode::ACCEPTED, Json(taken)).into_response(),
        Ok(Err(refused)) => refused.into_response(),
        Err(unavailable) => unavailable.into_response(),
    }
}

fn bad_request(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::AdminServer;
    use super::super::tests::fetch;
    use super::*;

    struct Fake;

    impl ConnectionSource for Fake {
        fn connections(&self, from: usize, limit: usize) -> Result<Value, Unavailable> {
            if from == 13 { Err(Unavailable("no answer".to_owned())) } else { Ok(json!([from, limit])) }
        }

        fn moves(&self, after: u64, limit: usize) -> Result<NumberedMoves, Unavailable> {
            Ok(NumberedMoves { list: vec![(after + 1, json!({"limit": limit}))], last: 77 })
        }

        fn move_connection(&self, id: u64, to: String) -> Result<Result<Value, Refused>, Unavailable> {
            Ok(match to.as_str() {
                "nobody" => Err(Refused { status: 422, reason: "no such back-end".to_owned() }),
                _ => Ok(json!({"id": id, "to": to})),
            })
        }
    }

    #[test]
    fn pages_and_wishes_and_what_is_wrong_with_them() {
        let server = AdminServer::start("127.0.0.1:0".parse().unwrap(), router(Arc::new(Fake))).unwrap();
        let table = [
            ("GET /v1/connections", 200, "[0,100]"),
            ("GET /v1/connections?from=7&limit=3", 200, "[7,3]"),
            ("GET /v1/connections?from=13", 503, "no answer"),
            ("GET /v1/connections?limit=0", 400, "at least 1"),
            ("GET /v1/connections?limit=x", 400, "limit: invalid digit"),
            ("GET /v1/connections?form=1", 400, "unknown field `form`"),
            ("GET /v1/moves", 200, "{\"last\":77,\"moves\":[{\"limit\":100}]}"),
            ("GET /v1/moves?after=5&limit=2", 200, "[{\"limit\":2}]"),
            ("GET /v1/moves?after=-1", 400, "after: invalid digit"),
            ("POST /v1/connections/0100000000000010/move?to=be2", 202, "{\"id\":72057594037927952,\"to\":\"be2\"}"),
            ("POST /v1/connections/0100000000000010/move?to=nobody", 422, "no such back-end"),
            ("POST /v1/connections/0100000000000010/move", 400, "missing field `to`"),
            ("POST /v1/connections/0100000000000010/move?to=be2&now=1", 400, "unknown field `now`"),
            ("POST /v1/connections/10/move?to=be2", 404, "16 hexadecimal digits"),
            ("POST /v1/connections/+100000000000010/move?to=be2", 404, "16 hexadecimal digits"),
            ("GET /v1/connections/0100000000000010/move?to=be2", 405, ""),
            ("POST /v1/connections", 405, ""),
        ];
        for (line, status, part) in table {
            let (head, body) = fetch(&server, line);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}");
            assert!(body.contains(part), "{line}: {body}");
        }
    }
}
