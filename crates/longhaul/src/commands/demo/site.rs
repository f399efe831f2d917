//! What a replica answers: the page, its WebSocket, and the switches that stop and start replicas and cut
//! links.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use longhaul_proto::websocket::handshake::{HandshakeFault, accept_key, validate_request};
use tokio_util::sync::CancellationToken;

use super::chat;
use super::replica::Cluster;
use super::tunnel;

const PAGE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/chat.css");
const SCRIPT: &str = include_str!("assets/chat.js");

/// The page loads from and talks to nobody but the address it came from.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Answer = Response<Full<Bytes>>;

/// Answers one request as the replica `index`, which ends with `stop`.
pub(super) async fn answer(
    request: Request<Incoming>,
    cluster: Arc<Cluster>,
    index: usize,
    stop: CancellationToken,
) -> Answer {
    // Other pages may send requests here, too; they are not to stop replicas or join the chat.
    if request.method() != Method::GET && !is_same_origin(request.headers()) {
        return text(StatusCode::FORBIDDEN, "this comes from another page");
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => asset("text/html; charset=utf-8", PAGE),
        (&Method::GET | &Method::HEAD, "/chat.css") => asset("text/css; charset=utf-8", STYLE),
        (&Method::GET | &Method::HEAD, "/chat.js") => {
            asset("text/javascript; charset=utf-8", SCRIPT)
        }
        (&Method::GET, "/chat") => join(request, cluster, index, stop),
        (&Method::GET | &Method::HEAD, "/replicas") => replicas(&cluster),
        (&Method::POST, "/tunnel/cut") => cut(request.uri().query(), &cluster),
        (&Method::POST, path) => switch(path, &cluster).await,
        _ => text(StatusCode::NOT_FOUND, "there is nothing here; the chat is at /"),
    }
}

fn asset(kind: &'static str, content: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(content.as_bytes())));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

fn replicas(cluster: &Cluster) -> Answer {
    let json = serde_json::to_vec(&cluster.summary()).expect("names and numbers always serialise");
    let mut answer = Response::new(Full::new(json.into()));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// `POST /tunnel/cut?tab=NAME`.
fn cut(query: Option<&str>, cluster: &Cluster) -> Answer {
    let tab = query.and_then(tunnel::tab_of);
    match tab.map(|tab| cluster.tunnel().cut(&tab)) {
        Some(count) => text(StatusCode::OK, count.to_string()),
        None => text(StatusCode::BAD_REQUEST, "say which tab, by ?tab=NAME"),
    }
}

/// `POST /replicas/NAME/stop` and `POST /replicas/NAME/start`.
async fn switch(path: &str, cluster: &Arc<Cluster>) -> Answer {
    let named = path.strip_prefix("/replicas/").and_then(|rest| rest.split_once('/'));
    let Some((name, verb)) = named else {
        return text(StatusCode::NOT_FOUND, "there is nothing to POST to here");
    };
    let Some(index) = cluster.find(name) else {
        return text(StatusCode::NOT_FOUND, "no replica has this name");
    };
    match verb {
        "stop" if !cluster.stop(index).await => {
            return text(StatusCode::CONFLICT, "the last replica stays: it serves the switches");
        }
        "stop" => {}
        "start" => {
            if let Err(error) = cluster.restart(index).await {
                let reason = format!("cannot start {name} again: {error}");
                return text(StatusCode::CONFLICT, reason);
            }
        }
        _ => return text(StatusCode::NOT_FOUND, "a replica can be told to stop or to start"),
    }
    replicas(cluster)
}

fn join(
    mut request: Request<Incoming>,
    cluster: Arc<Cluster>,
    index: usize,
    stop: CancellationToken,
) -> Answer {
    if !is_same_origin(request.headers()) {
        return text(StatusCode::FORBIDDEN, "the page that asks is not this chat's own");
    }
    let accept = match accept(&request) {
        Ok(accept) => accept,
        Err(fault) => return text(StatusCode::BAD_REQUEST, fault.to_string()),
    };
    let upgraded = hyper::upgrade::on(&mut request);
    // Ends with the visitor or with the replica, whose `stop` drops the socket midway.
    tokio::spawn(async move {
        let conversation = async {
            if let Ok(socket) = upgraded.await {
                chat::talk(TokioIo::new(socket), cluster.visit(index)).await;
            }
        };
        stop.run_until_cancelled(conversation).await;
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

/// The `Sec-WebSocket-Accept` for a sound handshake.
fn accept(request: &Request<Incoming>) -> Result<HeaderValue, HandshakeFault> {
    let fields = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let fields = fields.collect::<Vec<_>>();
    let offer = validate_request(request.method().as_str().as_bytes(), fields.into_iter())?;
    Ok(HeaderValue::try_from(accept_key(offer.key)).expect("base64 is ASCII"))
}

/// Whether a page of this very host asks, or no page at all: browsers name the origin of a page
/// with each POST and each WebSocket.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => {
            let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
            let origin = origin.as_bytes();
            let origin_host =
                origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
            host.is_some() && origin_host == host
        }
        _ => false,
    }
}

fn text(status: StatusCode, reason: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(reason.into()));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, origins: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(is_same_origin(&headers), expected, "{host} {origins:?}");
    }

    #[test]
    fn only_pages_of_the_same_host_may_join() {
        check("127.0.0.1:8080", &[], true);
        check("127.0.0.1:8080", &["http://127.0.0.1:8080"], true);
        check("chat.example", &["https://chat.example"], true);
        check("127.0.0.1:8080", &["http://127.0.0.1:9999"], false);
        check("127.0.0.1:8080", &["http://evil.example"], false);
        check("127.0.0.1:8080", &["null"], false);
        check("127.0.0.1:8080", &["http://127.0.0.1:8080", "http://127.0.0.1:8080"], false);
    }
}
