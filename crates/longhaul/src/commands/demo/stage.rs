//! What the demo adds to the page of the messaging service: a picture of the path, and buttons that cut, kill and
//! upgrade. The replicas serve the page; what the buttons ask comes here, through the gateway.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::warn;

use super::gateway::Operator;
use super::replicas::Cluster;
use super::tunnel::{self, Tunnel};

const HEAD: &str = include_str!("assets/head.html");
const PATH: &str = include_str!("assets/path.html");
const ASIDE: &str = include_str!("assets/aside.html");
const STYLE: &str = include_str!("assets/demo.css");
const SCRIPT: &str = include_str!("assets/demo.js");

/// Connections at once; they are the gateway's.
const CONNECTIONS_MAX: usize = 100;
/// Longer than the gateway keeps an idle connection, so that it is the gateway that closes it.
const HEAD_MAX: Duration = Duration::from_secs(75);
/// Out of descriptors is the usual cause, and it passes only when others close some.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

type Answer = Response<Full<Bytes>>;

/// Everything that buttons can do something to.
#[derive(Debug)]
pub(super) struct Stage {
    cluster: Arc<Cluster>,
    tunnel: Arc<Tunnel>,
    operator: Operator,
    upgrades: Mutex<Upgrades>,
}

/// How the gateway was upgraded.
#[derive(Debug, Default, Serialize)]
struct Upgrades {
    count: u32,
    is_under_way: bool,
    /// What was said of the last one.
    last: String,
}

/// The page of the messaging service, with the demo in it.
pub(super) fn page() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        messaging::PAGE
            .replace("<title>Messaging</title>", "<title>Longhaul demo</title>")
            .replace("<!-- title -->Messaging", "Longhaul <span>demo</span>")
            .replace("<!-- more of a head -->", HEAD.trim_end())
            .replace("<!-- more of a page -->", PATH.trim())
            .replace("<!-- more of an aside -->", ASIDE.trim())
    });
    &PAGE
}

/// Answers until the demo ends.
pub(super) async fn run(listener: TcpListener, stage: Arc<Stage>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let stage = Arc::clone(&stage);
                let service = service_fn(move |request| {
                    let answer = stage.answer(request);
                    async { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_MAX)
                    .serve_connection(TokioIo::new(stream), service);
                // Ends with the connection; a gateway that goes away is no news.
                tokio::spawn(async move {
                    let _ = connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "demo: the stage cannot accept");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

impl Stage {
    pub(super) fn new(cluster: Arc<Cluster>, tunnel: Arc<Tunnel>, operator: Operator) -> Self {
        Self { cluster, tunnel, operator, upgrades: Mutex::default() }
    }

    fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        // Other pages may send requests here, too; they are not to kill anything.
        if request.method() != Method::GET && !messaging::is_same_origin(request.headers()) {
            return text(StatusCode::FORBIDDEN, "this comes from another page");
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/demo/demo.css") => asset("text/css; charset=utf-8", STYLE),
            (&Method::GET, "/demo/demo.js") => asset("text/javascript; charset=utf-8", SCRIPT),
            (&Method::GET, "/demo/state") => self.state(),
            (&Method::POST, "/demo/cut") => self.cut(request.uri().query()),
            (&Method::POST, "/demo/kill") => self.kill(request.uri().query()),
            (&Method::POST, "/demo/upgrade") => self.upgrade(),
            _ => text(StatusCode::NOT_FOUND, "there is nothing here; the chat is at /"),
        }
    }

    fn state(&self) -> Answer {
        let state = json!({
            "gateway": self.operator.pid(),
            "replicas": self.cluster.summary(),
            "upgrades": *self.upgrades(),
        });
        asset("application/json", state.to_string())
    }

    /// Begins an upgrade; what comes of it is in the state. Nothing could wait for it through the gateway, which
    /// ends its requests for it.
    fn upgrade(self: &Arc<Self>) -> Answer {
        if std::mem::replace(&mut self.upgrades().is_under_way, true) {
            return text(StatusCode::CONFLICT, "an upgrade is under way");
        }
        let stage = Arc::clone(self);
        // Ends within the operator's patience.
        tokio::spawn(async move {
            let outcome = stage.operator.upgrade().await;
            let mut upgrades = stage.upgrades();
            upgrades.is_under_way = false;
            match outcome {
                Ok(said) => (upgrades.count, upgrades.last) = (upgrades.count + 1, said),
                Err(reason) => upgrades.last = format!("failed: {reason}"),
            }
        });
        text(StatusCode::ACCEPTED, "it begins")
    }

    fn upgrades(&self) -> MutexGuard<'_, Upgrades> {
        self.upgrades.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `POST /demo/cut?tab=NAME`.
    fn cut(&self, query: Option<&str>) -> Answer {
        match query.and_then(tunnel::tab_of) {
            Some(tab) => text(StatusCode::OK, self.tunnel.cut(&tab).to_string()),
            None => text(StatusCode::BAD_REQUEST, "say which tab, by ?tab=NAME"),
        }
    }

    /// `POST /demo/kill?replica=NAME`.
    fn kill(&self, query: Option<&str>) -> Answer {
        let named = query.and_then(|query| query.strip_prefix("replica="));
        match named.map(|name| self.cluster.kill(name)) {
            Some(true) => text(StatusCode::OK, "killed"),
            Some(false) => text(StatusCode::CONFLICT, "no replica of this name is running"),
            None => text(StatusCode::BAD_REQUEST, "say which replica, by ?replica=NAME"),
        }
    }
}

fn asset(kind: &'static str, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(content.into()));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn text(status: StatusCode, reason: impl Into<Bytes>) -> Answer {
    let mut answer = asset("text/plain; charset=utf-8", reason);
    *answer.status_mut() = status;
    answer
}
