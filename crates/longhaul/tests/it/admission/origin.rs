//! Pages of other origins: kept out of WebSockets, let into answers where the operator says so.

use crate::support::apps::App;
use crate::support::frames;
use crate::support::gateway::Gateway;
use crate::support::raw::Raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{s, wait_until};

/// The status that an upgrade with these fields is answered with.
#[track_caller]
fn upgrade(gateway: &Gateway, fields: &str) -> u16 {
    let (_, answer) = frames::try_open(gateway.address(), "/echo", fields).unwrap();
    if answer.status != 101 {
        assert_eq!(answer.header("longhaul-cause"), Some("origin_forbidden"), "{}", answer.head);
    }
    answer.status
}

#[test]
fn only_pages_of_the_same_origin_open_websockets_unless_told_otherwise() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    assert_eq!(upgrade(&gateway, ""), 101, "programs send no Origin");
    assert_eq!(upgrade(&gateway, "Origin: http://test\r\n"), 101, "the handshake's Host is test");
    assert_eq!(upgrade(&gateway, "Origin: https://test\r\n"), 101, "TLS may end in front");
    for foreign in ["https://evil.example", "http://test:8080", "http://test.evil", "null", "x"] {
        assert_eq!(upgrade(&gateway, &format!("Origin: {foreign}\r\n")), 403, "{foreign}");
    }
    let two = "Origin: http://test\r\nOrigin: http://test\r\n";
    assert_eq!(upgrade(&gateway, two), 403, "two origins are none");
    // What a stranger says about its proxy does not count.
    let forged = "Origin: https://evil.example\r\nX-Forwarded-Host: evil.example\r\n";
    assert_eq!(upgrade(&gateway, forged), 403);
    wait_until("the log names the setting", s(30), || {
        let lines = gateway.process.lines();
        lines.iter().any(|line| {
            line.contains("https://evil.example") && line.contains("`origins` under [admission]")
        })
    });
}

#[test]
fn listed_origins_and_those_behind_a_trusted_proxy_are_let_in() {
    let app = App::start("echo_ws.mjs", "one");
    let flags = ["--allow-origin", "https://*.app.example,same", "--trusted-proxy", "loopback"];
    let gateway = Gateway::with_flags(&[app.address], &flags);
    assert_eq!(upgrade(&gateway, "Origin: https://a.app.example\r\n"), 101);
    assert_eq!(upgrade(&gateway, "Origin: https://app.example\r\n"), 403);
    let proxied = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.example\r\n";
    assert_eq!(upgrade(&gateway, &format!("Origin: https://chat.example\r\n{proxied}")), 101);
    assert_eq!(upgrade(&gateway, &format!("Origin: http://chat.example\r\n{proxied}")), 403);
}

#[test]
fn an_ordinary_request_is_no_matter_of_origins() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    let fields = "Origin: https://evil.example\r\n";
    let answer = crate::support::raw::request(gateway.address(), "/", fields);
    assert_eq!((answer.status, answer.header("longhaul-cause")), (200, None));
}

const SHARED: &str = r#"
[server]
listen = "127.0.0.1:0"
[cors]
origins = ["https://app.example"]
methods = ["DELETE"]
credentials = true
[[upstreams]]
name = "app"
replicas = ["REPLICA"]
"#;

#[test]
fn preflights_are_answered_at_the_gateway_and_answers_carry_its_policy() {
    let recorder = Recorder::start(|_| {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\r\nok";
        Answer::Bytes(head.into())
    });
    let text = SHARED.replace("REPLICA", &recorder.address.to_string());
    let gateway = Gateway::with_config(&text);
    let ask = |method: &str, fields: &str| {
        let mut client = Raw::connect(gateway.address());
        let head = format!("{method} /api HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        client.send(format!("{head}{fields}\r\n"));
        client.response()
    };
    let wish = "Access-Control-Request-Method: DELETE\r\n";
    let answer = ask("OPTIONS", &format!("Origin: https://app.example\r\n{wish}"));
    assert_eq!(answer.status, 204, "{}", answer.head);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, POST, DELETE"));
    let foreign = ask("OPTIONS", &format!("Origin: https://evil.example\r\n{wish}"));
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (403, None));
    assert!(recorder.seen().is_empty(), "no preflight reaches a replica");

    let answer = ask("GET", "Origin: https://app.example\r\n");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    let foreign = ask("GET", "Origin: https://evil.example\r\n");
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (200, None));
    assert_eq!(foreign.header("vary"), Some("origin"));
    // An OPTIONS request that is no preflight is the application's.
    assert_eq!(ask("OPTIONS", "Origin: https://app.example\r\n").text(), "ok");
    assert_eq!(recorder.faults(), Vec::<String>::new());
}
