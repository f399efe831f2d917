//! The PROXY protocol with the programs that speak it: HAProxy and nginx in front and behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::pair::Pair;
use crate::support::proxies::{self, curl_from};
use crate::support::raw::Raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s, wait_until};

const HELLO: &[u8] = include_bytes!("../../../../fuzz/seeds/client_hello/openssl-tls13");

/// Takes headers from these networks, and serves HTTP behind them.
fn gateway(from: &str, backend: SocketAddr) -> Gateway {
    Gateway::with_config_unready(&format!(
        "[timeouts]\nhead = \"300ms\"\n\
         [[listeners]]\nname = \"lb\"\naddress = \"127.0.0.1:0\"\n\
         proxy_protocol = \"required\"\nproxy_protocol_from = \"{from}\"\n\
         [[upstreams]]\nname = \"web\"\nreplicas = [\"{backend}\"]\n"
    ))
}

/// Says to the client what the gateway said about it.
fn mirror() -> Recorder {
    Recorder::start(|seen| {
        let of = |name: &str| seen.headers(name).join(",");
        Answer::text(&format!("{} {}", of("x-forwarded-for"), of("x-forwarded-port")))
    })
}

/// The log line that says why a connection was refused.
#[track_caller]
fn refusal(gateway: &Gateway, reason: &str) {
    wait_until(reason, s(10), || {
        let lines = gateway.process.lines();
        lines.iter().any(|line| line.contains("connection refused") && line.contains(reason))
    });
}

#[test]
fn clients_behind_haproxy_keep_their_address() {
    let web = App::start("echo_ws.mjs", "web");
    let mirror = mirror();
    for (send, backend) in [("send-proxy", mirror.address), ("send-proxy-v2", mirror.address)] {
        let gateway = gateway("loopback", backend);
        let front = proxies::haproxy(
            "tcp",
            &format!("listen l\n bind {{bind}}\n server g {} {send}", gateway.address()),
        );
        let expected = format!("127.0.0.9 {}", front.address.port());
        assert_eq!(curl_from("127.0.0.9", front.address), expected);
    }
    let gateway = gateway("127.0.0.1", web.address);
    let front = proxies::haproxy(
        "tcp",
        &format!("listen l\n bind {{bind}}\n server g {} send-proxy-v2 check", gateway.address()),
    );
    frames::echo(&mut frames::open(front.address, "/echo"), "hello");
}

#[test]
fn clients_behind_nginx_keep_their_address() {
    let mirror = mirror();
    let gateway = gateway("loopback", mirror.address);
    let front = proxies::nginx(&format!(
        "stream {{ server {{ listen {{bind}}; proxy_pass {}; proxy_protocol on; }} }}",
        gateway.address()
    ));
    let expected = format!("127.0.0.9 {}", front.address.port());
    assert_eq!(curl_from("127.0.0.9", front.address), expected);
}

/// The header comes before TLS, which a TCP load balancer does not look into.
#[test]
fn the_client_is_known_inside_of_tls_that_ends_here() {
    let mirror = mirror();
    let pair = Pair::make("chat.example");
    let gateway = Gateway::with_config_unready(&format!(
        "[[certificates]]\ncertificate = {:?}\nkey = {:?}\n\
         [[listeners]]\nname = \"lb\"\naddress = \"127.0.0.1:0\"\n\
         proxy_protocol = \"required\"\nproxy_protocol_from = \"loopback\"\n\
         [listeners.tls]\nmode = \"on\"\n\
         [[upstreams]]\nname = \"web\"\nreplicas = [\"{}\"]\n",
        pair.certificate, pair.key, mirror.address
    ));
    let front = proxies::haproxy(
        "tcp",
        &format!("listen l\n bind {{bind}}\n server g {} send-proxy-v2", gateway.address()),
    );
    let port = front.address.port();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--interface", "127.0.0.9"]);
    curl.args(["--connect-to", &format!("chat.example:443:{}", front.address), "--cacert"]);
    let output = curl.arg(&pair.certificate).arg("https://chat.example/").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, format!("127.0.0.9 {port}"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn who_may_not_send_a_header_is_refused_unheard() {
    let mirror = mirror();
    let gateway = gateway("10.0.0.0/8", mirror.address);
    for first in ["PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ""] {
        let mut client = Raw::connect(gateway.address());
        client.send_anyway(first);
        client.assert_closed();
    }
    refusal(&gateway, "proxy_protocol_from");
    assert!(mirror.seen().is_empty());
}

#[test]
fn who_must_send_a_header_is_refused_without() {
    let mirror = mirror();
    let gateway = gateway("loopback", mirror.address);
    let cases: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "does not begin with a PROXY protocol header"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "malformed"),
        (b"PROXY ", "within 300ms"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "too long"),
    ];
    for (bytes, reason) in cases {
        let mut client = Raw::connect(gateway.address());
        client.send_anyway(bytes);
        client.assert_closed();
        refusal(&gateway, reason);
    }
    assert!(mirror.seen().is_empty());
    // A load balancer that only looks whether the port is open is no story for the log.
    drop(Raw::connect(gateway.address()));
    let mut client = Raw::connect(gateway.address());
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 1 8443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "192.0.2.7 8443");
}

#[test]
fn a_proxy_that_speaks_for_itself_keeps_its_own_address() {
    let mirror = mirror();
    let gateway = gateway("loopback", mirror.address);
    let port = gateway.address().port();
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = Raw::connect(gateway.address());
        // A byte at a time: headers are not bound to packets.
        for byte in header {
            client.send([*byte]);
        }
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), format!("127.0.0.1 {port}"));
    }
}

/// An upstream that is told who the client is; probed, so that probes must be understood as well.
fn told(version: &str, replica: SocketAddr, rest: &str) -> Gateway {
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"http=127.0.0.1:0\", \"tcp=127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"web\"\nreplicas = [\"{replica}\"]\n\
         send_proxy_protocol = \"{version}\"\n{rest}\n\
         [[routes]]\nupstream = \"web\"\nlisteners = \"http\"\n\
         [[tcp]]\nlistener = \"tcp\"\nupstream = \"web\"\n"
    ))
}

#[test]
fn replicas_learn_the_client_over_http_and_tcp() {
    const PROBE: &str = "[upstreams.probe]\nkind = \"http\"\ninterval = \"100ms\"\n";
    let haproxy = proxies::haproxy(
        "http",
        "frontend f\n bind {bind} accept-proxy\n http-request return status 200 \
         content-type text/plain lf-string \"%[src] %[dst_port]\"",
    );
    let nginx = proxies::nginx(
        "http { server { listen {bind} proxy_protocol; \
         location / { return 200 \"$proxy_protocol_addr $proxy_protocol_server_port\"; } } }",
    );
    for (version, receiver) in [("v1", &haproxy), ("v2", &haproxy), ("v1", &nginx), ("v2", &nginx)]
    {
        let gateway = told(version, receiver.address, PROBE);
        for listener in &gateway.listeners {
            let answer = curl_from("127.0.0.9", *listener);
            assert_eq!(answer, format!("127.0.0.9 {}", listener.port()), "{version}");
        }
        let lines = gateway.process.lines();
        assert!(!lines.iter().any(|line| line.contains("replica is down")), "{lines:#?}");
    }
    let lines = nginx.lines();
    assert!(!lines.iter().any(|line| line.contains("broken header")), "{lines:#?}");
}

/// A connection that was announced for one client must not carry the next one's requests.
#[test]
fn each_client_has_connections_of_its_own() {
    let nginx = proxies::nginx(
        "http { server { listen {bind} proxy_protocol; \
         location / { return 200 \"$proxy_protocol_addr:$proxy_protocol_port\"; } } }",
    );
    let gateway = told("v2", nginx.address, "");
    for _ in 0..3 {
        let mut client = Raw::connect(gateway.address());
        let own = client.stream.local_addr().unwrap().to_string();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.response().text(), own);
        }
    }
}

#[test]
fn websockets_are_announced_too() {
    let web = App::start("echo_ws.mjs", "web");
    let front = proxies::haproxy(
        "tcp",
        &format!("listen l\n bind {{bind}} accept-proxy\n server s {}", web.address),
    );
    let gateway = told("v1", front.address, "");
    frames::echo(&mut frames::open(gateway.address(), "/echo"), "hello");
}

/// One header comes in as text, the other goes out as a block, and TLS passes between them.
#[test]
fn the_header_is_translated_and_what_is_behind_it_untouched() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let replica = listener.local_addr().unwrap();
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = sender.send(bytes);
        }
    });
    let gateway = Gateway::with_config_unready(&format!(
        "[[listeners]]\nname = \"lb\"\naddress = \"127.0.0.1:0\"\n\
         proxy_protocol = \"required\"\nproxy_protocol_from = \"loopback\"\n\
         [[upstreams]]\nname = \"tls\"\nreplicas = [\"{replica}\"]\nsend_proxy_protocol = \"v2\"\n\
         [[tcp]]\nlistener = \"lb\"\nupstream = \"tls\"\nsni = \"chat.example\"\n"
    ));
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    let sent = [b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", HELLO, b"more"].concat();
    client.write_all(&sent).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb";
    let expected = [&block[..], HELLO, b"more"].concat();
    let arrived = received.recv_timeout(s(15)).unwrap();
    assert_eq!(arrived.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let logged =
        |line: &String| line.contains("tcp connection closed") && line.contains("192.0.2.7");
    wait_until("the client is logged", s(10), || gateway.process.lines().iter().any(logged));
}
