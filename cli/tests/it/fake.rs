//! A manager or executor that gives prepared answers and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use contract::{Code, Problem};
use tokio::sync::Semaphore;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method, path and query: `GET /v1/status`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// 200 with JSON.
    Json(String),
    /// 200 with JSON and more headers.
    With(Vec<(&'static str, &'static str)>, String),
    /// A problem with the status of its code.
    Problem(Problem),
    /// Any status and words.
    Words(u16, &'static str),
    /// JSON, but only once somebody has asked for the executors twice: so the first answer to that was taken in.
    AfterLooks(String),
    /// Nothing, ever.
    Silence,
}

impl Reply {
    pub(crate) fn json(body: &impl serde::Serialize) -> Self {
        Self::Json(serde_json::to_string(body).unwrap())
    }

    pub(crate) fn problem(code: Code, detail: &str) -> Self {
        Self::Problem(Problem::new(code, detail))
    }
}

struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    executors: Mutex<Option<String>>,
    asked: Mutex<Vec<Asked>>,
    looks: Semaphore,
}

/// The program, on its own thread and port, until dropped.
pub(crate) struct Fake {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

impl Fake {
    /// Gives `replies` in order. `GET /v1/executors` is answered beside that order once [`Fake::executors`] was called.
    pub(crate) fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        let shared = Arc::new(Shared {
            replies: Mutex::new(replies.into_iter().collect()),
            executors: Mutex::new(None),
            asked: Mutex::new(Vec::new()),
            looks: Semaphore::new(0),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, shared, _runtime: runtime }
    }

    /// With a list of executors to look at.
    pub(crate) fn executors(self, list: &contract::api::ExecutorList) -> Self {
        *self.shared.executors.lock().unwrap() = Some(serde_json::to_string(list).unwrap());
        self
    }

    /// Everything it was asked so far, looks at the executors left out.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The only thing it was asked.
    #[track_caller]
    pub(crate) fn asked_once(&self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:#?}");
        asked.remove(0)
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let line = format!("{method} {uri}");
    let canned = shared.executors.lock().unwrap().clone();
    if let (Some(list), "GET /v1/executors") = (canned, line.as_str()) {
        shared.looks.add_permits(1);
        return json(list);
    }
    shared.asked.lock().unwrap().push(Asked { line, headers, body });
    let reply = shared.replies.lock().unwrap().pop_front();
    match reply.unwrap_or(Reply::Words(500, "the test prepared no answer to this")) {
        Reply::Json(body) => json(body),
        Reply::With(headers, body) => (axum::response::AppendHeaders(headers), json(body)).into_response(),
        Reply::Problem(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap();
            let body = serde_json::to_string(&problem).unwrap();
            (status, [("content-type", contract::problem::MEDIA_TYPE)], body).into_response()
        }
        Reply::Words(status, words) => (StatusCode::from_u16(status).unwrap(), words).into_response(),
        Reply::AfterLooks(body) => {
            match tokio::time::timeout(Duration::from_secs(20), shared.looks.acquire_many(2)).await {
                Ok(_) => json(body),
                Err(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "nobody looked at the executors twice in 20 s").into_response()
                }
            }
        }
        Reply::Silence => std::future::pending().await,
    }
}

fn json(body: String) -> Response {
    ([("content-type", "application/json")], body).into_response()
}
