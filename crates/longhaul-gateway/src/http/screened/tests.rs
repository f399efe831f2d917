//! A real hyper server on real sockets, spoken to in raw bytes.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

/// Longer than anything here takes, shorter than a human waits.
const SOON: Duration = Duration::from_secs(10);
/// More bytes than the kernel keeps for a client that does not read.
const LARGE: usize = 32 * 1024 * 1024;
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// What the service saw, in order.
type Seen = mpsc::UnboundedReceiver<String>;

struct Server {
    address: SocketAddr,
    seen: Seen,
}

impl Server {
    async fn start(timeouts: Timeouts) -> Self {
        Self::start_behind(timeouts, "").await
    }

    /// Serves one connection after another; `prefix` is what detection took from each.
    async fn start_behind(timeouts: Timeouts, prefix: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (limits, prefix) = (Limits::default(), BytesMut::from(prefix));
                let (stream, screen) = Screened::new(socket, prefix, &limits, &timeouts);
                let tell = tell.clone();
                tokio::spawn(async move {
                    let service =
                        service_fn(|request| answer(request, screen.clone(), tell.clone()));
                    // How it ends shows on the client's side.
                    let _ended = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        Self { address, seen }
    }

    async fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).await.unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    /// All that the server answers to these bytes until it closes.
    #[track_caller]
    fn exchange(&self, bytes: impl AsRef<[u8]>) -> impl Future<Output = String> {
        let bytes = bytes.as_ref().to_vec();
        async move {
            let mut client = self.connect().await;
            client.write_all(&bytes).await.unwrap();
            rest(&mut client).await
        }
    }

    async fn next_seen(&mut self) -> String {
        tokio::time::timeout(SOON, self.seen.recv()).await.unwrap().unwrap()
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(
    mut request: Request<Incoming>,
    screen: ScreenHandle,
    tell: mpsc::UnboundedSender<String>,
) -> Result<Answer, Infallible> {
    let exchange = screen.begin_exchange();
    if let Some(refusal) = screen.take_refusal(&request) {
        tell.send(format!("refused {:?}", refusal.violation)).unwrap();
        let text = if refusal.wants_body { refusal.violation.to_string() } else { String::new() };
        return Ok(Response::builder()
            .status(refusal.violation.status())
            .header(header::CONNECTION, "close")
            .body(Full::new(text.into()).boxed())
            .unwrap());
    }
    let path = request.uri().path().to_owned();
    tell.send(format!("{} {path}", request.method())).unwrap();
    match path.as_str() {
        "/slow" => tokio::time::sleep(Duration::from_millis(600)).await,
        "/never" => {
            let _gone = Gone(tell.clone());
            std::future::pending::<()>().await;
        }
        "/endless" => {
            let frames =
                std::iter::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[0; 65_536]))));
            let body = StreamBody::new(futures_util::stream::iter(frames));
            return Ok(Response::new(BodyExt::boxed(Kept { body, _kept: (exchange, Gone(tell)) })));
        }
        "/large" => return Ok(Response::new(Full::new(vec![b'x'; LARGE].into()).boxed())),
        "/ws" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(echo_held_bytes(upgrade));
            return Ok(Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(header::UPGRADE, "websocket")
                .header(header::CONNECTION, "upgrade")
                .body(Full::default().boxed())
                .unwrap());
        }
        _ => {}
    }
    let (status, text) = match request.into_body().collect().await {
        Ok(body) => (StatusCode::OK, body.to_bytes()),
        Err(error) => {
            tell.send(format!("body {:?}", violation_of(&error))).unwrap();
            (StatusCode::BAD_REQUEST, Bytes::new())
        }
    };
    let body = Kept { body: Full::new(text), _kept: exchange };
    Ok(Response::builder().status(status).body(BodyExt::boxed(body)).unwrap())
}

async fn echo_held_bytes(upgrade: hyper::upgrade::OnUpgrade) {
    let parts = upgrade.await.unwrap().downcast::<TokioIo<Screened<TcpStream>>>().unwrap();
    assert!(parts.read_buf.is_empty(), "hyper was shown bytes behind the upgrade");
    let (mut socket, held) = parts.io.into_inner().into_parts();
    socket.write_all(&held).await.unwrap();
    let (mut read, mut write) = socket.split();
    tokio::io::copy(&mut read, &mut write).await.unwrap();
}

/// A body that keeps something alive until hyper is done with it.
struct Kept<B, K> {
    body: B,
    _kept: K,
}

impl<B: hyper::body::Body + Unpin, K: Unpin> hyper::body::Body for Kept<B, K> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

/// Tells when it is dropped.
struct Gone(mpsc::UnboundedSender<String>);

impl Drop for Gone {
    fn drop(&mut self) {
        // The test may be over.
        let _told = self.0.send("gone".into());
    }
}

fn patient() -> Timeouts {
    Timeouts { head: SOON, keep_alive: SOON, body_stall: SOON, ..Timeouts::default() }
}

/// What the server sends until it closes; fails when it resets the connection.
async fn rest(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(SOON, client.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        tokio::time::timeout(SOON, client.read_exact(&mut byte)).await.unwrap().unwrap();
        text.push(char::from(byte[0]));
    }
    text
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

#[tokio::test]
async fn bad_requests_are_answered_and_end_the_connection() {
    let mut server = Server::start(patient()).await;
    let host = "Host: a\r\n";
    for (bytes, status) in [
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n{host}\r\n"
            ),
            "400",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
            ),
            "400",
        ),
        (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n"), "501"),
        (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n"), "400"),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
            "400",
        ),
        (format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "400"),
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), "400"),
        (format!("GET / HTTP/1.1\n{host}\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{host}A: b\r\n c\r\n\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{host}A : b\r\n\r\n"), "400"),
        ("GET /\r\n".into(), "400"),
        (format!("GET / HTTP/2.0\r\n{host}\r\n"), "505"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".into(), "405"),
        // The very bytes of the stand-in: refused like any other TRACE.
        (String::from_utf8(STAND_IN.to_vec()).unwrap(), "405"),
        (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(17_000)), "414"),
        (format!("GET / HTTP/1.1\r\n{host}A: {}\r\n\r\n", "a".repeat(17_000)), "431"),
        (UPGRADE.replace("13", "8"), "426"),
        (UPGRADE.replace("GET", "POST"), "400"),
        ("\x16\x03\x01".into(), "400"),
    ] {
        let answers = server.exchange(&bytes).await;
        assert_eq!(statuses(&answers), [status], "{bytes}");
        let seen = server.next_seen().await;
        assert!(seen.starts_with("refused "), "the service saw {seen:?} of {bytes}");
    }
    assert!(server.seen.is_empty(), "one request each");
}

#[tokio::test]
async fn requests_before_a_bad_one_are_answered_first() {
    let server = Server::start(patient()).await;
    let answers = server
        .exchange(
            "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
             GET /c HTTP/1.1\r\nHost : a\r\n\r\n",
        )
        .await;
    assert_eq!(statuses(&answers), ["200", "200", "400"]);
    assert!(answers.contains("hello"));
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another_in_any_pieces() {
    let server = Server::start(patient()).await;
    let mut client = server.connect().await;
    let upload = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nT: v\r\n\r\n";
    for byte in upload.bytes() {
        client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = read_until(&mut client, "wikipedia").await;
    assert_eq!(statuses(&answer), ["200"]);
    client.write_all(b"\r\nGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&rest(&mut client).await), ["200"]);
}

#[tokio::test]
async fn a_client_may_wait_for_100_continue() {
    let server = Server::start(patient()).await;
    let mut client = server.connect().await;
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    assert!(read_until(&mut client, "hello").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_bad_body_is_an_error_to_whoever_reads_it() {
    let mut server = Server::start(patient()).await;
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answers = server.exchange(format!("{head}3\r\nabc\r\n0x3\r\nabc\r\n0\r\n\r\n")).await;
    assert_eq!(statuses(&answers), ["400"]);
    assert_eq!(server.next_seen().await, "POST /a");
    assert_eq!(server.next_seen().await, "body Some(ChunkSize)");
}

#[tokio::test]
async fn bytes_behind_an_upgrade_reach_the_tunnel_and_not_the_parser() {
    let mut server = Server::start(patient()).await;
    let mut client = server.connect().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(format!("{UPGRADE}{smuggled}").as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "\r\n\r\n").await;
    assert_eq!(statuses(&answer), ["101"]);
    assert_eq!(read_until(&mut client, smuggled).await, smuggled);
    client.write_all(b"more").await.unwrap();
    assert_eq!(read_until(&mut client, "more").await, "more");
    assert_eq!(server.next_seen().await, "GET /ws");
    assert!(server.seen.is_empty());
}

#[tokio::test]
async fn bytes_behind_a_refused_upgrade_are_nobodys() {
    let mut server = Server::start(patient()).await;
    let refused = UPGRADE.replace("/ws", "/elsewhere");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    // The answer does not say `close`, yet nothing follows it.
    let answers = server.exchange(format!("{refused}{smuggled}")).await;
    assert_eq!(statuses(&answers), ["200"]);
    assert_eq!(server.next_seen().await, "GET /elsewhere");
    assert!(server.seen.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_before_its_upgrade_is_answered_is_noticed() {
    let mut server = Server::start(patient()).await;
    let mut client = server.connect().await;
    let upgrade = UPGRADE.replace("/ws", "/never");
    client.write_all(format!("{upgrade}early bytes").as_bytes()).await.unwrap();
    assert_eq!(server.next_seen().await, "GET /never");
    drop(client);
    assert_eq!(server.next_seen().await, "gone");
}

#[tokio::test]
async fn a_client_that_has_ended_still_gets_its_answer() {
    let mut server = Server::start(patient()).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(statuses(&rest(&mut client).await), ["200"]);

    let mut client = server.connect().await;
    client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert!(rest(&mut client).await.len() > LARGE);

    let mut client = server.connect().await;
    client.write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(server.next_seen().await, "GET /slow");
    assert_eq!(server.next_seen().await, "GET /large");
    assert_eq!(server.next_seen().await, "GET /never");
    assert_eq!(
        server.next_seen().await,
        "gone",
        "not answered while the client could wait for ever"
    );
}

#[tokio::test]
async fn a_slow_head_is_answered_408_and_silence_with_nothing() {
    let hurried = Timeouts { head: Duration::from_millis(100), ..patient() };
    let server = Server::start(hurried).await;
    assert_eq!(statuses(&server.exchange("GET / HT").await), ["408"]);
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(statuses(&server.exchange(format!("{head}GET")).await), ["200", "408"]);
    assert_eq!(server.exchange("").await, "");
    assert_eq!(server.exchange("\r\n").await, "");
}

#[tokio::test]
async fn only_an_idle_connection_is_closed_for_being_idle() {
    let hurried = Timeouts { keep_alive: Duration::from_millis(150), ..patient() };
    let server = Server::start(hurried).await;
    let answers = server.exchange("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(statuses(&answers), ["200"], "answered after four times the idle time, then closed");
}

#[tokio::test]
async fn a_stalled_upload_ends() {
    let hurried = Timeouts { body_stall: Duration::from_millis(100), ..patient() };
    let mut server = Server::start(hurried).await;
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel";
    assert_eq!(statuses(&server.exchange(head).await), ["400"]);
    assert_eq!(server.next_seen().await, "POST /a");
    assert_eq!(server.next_seen().await, "body Some(BodyTimeout)");
}

#[tokio::test]
async fn a_client_that_stops_reading_ends() {
    let hurried = Timeouts { body_stall: Duration::from_millis(200), ..patient() };
    let mut server = Server::start(hurried).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(server.next_seen().await, "GET /endless");
    assert_eq!(server.next_seen().await, "gone");
}

#[tokio::test]
async fn what_detection_read_comes_first() {
    let mut server = Server::start_behind(patient(), "GET /pre").await;
    let answers = server.exchange("fix HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(statuses(&answers), ["200"]);
    assert_eq!(server.next_seen().await, "GET /prefix");
}

#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_is_still_sending() {
    let server = Server::start(patient()).await;
    for _ in 0..20 {
        let upload = "a".repeat(200_000);
        let answers = server.exchange(format!("POST / HTTP/1.1\r\n\r\n{upload}")).await;
        assert_eq!(statuses(&answers), ["400"]);
    }
}
