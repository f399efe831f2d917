//! What an operator reads, and what nobody may read.

use serde_json::Value;

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::raw;
use crate::support::{frames, s, wait_until};

/// The log lines with this message, as objects.
pub(crate) fn lines(gateway: &Gateway, message: &str) -> Vec<Value> {
    let parsed = gateway.process.lines().into_iter().filter_map(|l| serde_json::from_str(&l).ok());
    parsed.filter(|line: &Value| field(line, "message") == message).collect()
}

/// A field of a line, wherever the format puts it.
pub(crate) fn field(line: &Value, name: &str) -> Value {
    let inner = line.get("fields").and_then(|fields| fields.get(name));
    line.get(name).or(inner).cloned().unwrap_or(Value::Null)
}

#[test]
fn one_line_at_the_open_and_one_at_the_close() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    let mut client = frames::open(gateway.address(), "/echo");
    for text in ["one", "three"] {
        frames::echo(&mut client, text);
    }
    client.send(frames::close_from_client(3001, "enough"));
    assert_eq!(frames::close_code(&mut client).unwrap(), 3001);
    drop(client);
    wait_until("the close is logged", s(5), || !lines(&gateway, "websocket closed").is_empty());

    let opened = lines(&gateway, "websocket opened");
    let closed = lines(&gateway, "websocket closed");
    assert_eq!((opened.len(), closed.len()), (1, 1), "{:#?}", gateway.process.lines());
    assert_eq!(field(&opened[0], "id"), field(&closed[0], "id"));
    for line in [&opened[0], &closed[0]] {
        assert_eq!(field(line, "replica"), app.address.to_string());
    }
    for (name, value) in [
        ("closed_by", Value::from("client")),
        ("cause", Value::from("client_closed")),
        ("code", Value::from(3001)),
        ("messages_up", Value::from(2)),
        ("messages_down", Value::from(2)),
    ] {
        assert_eq!(field(&closed[0], name), value, "{name} in {}", closed[0]);
    }
    for name in ["bytes_up", "bytes_down", "duration_s"] {
        assert!(field(&closed[0], name).is_number(), "{name} in {}", closed[0]);
    }
}

#[test]
fn the_close_line_blames_the_right_side() {
    let mut app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    let mut by_replica = frames::open(gateway.address(), "/close?code=4001");
    by_replica.send(frames::from_client(frames::TEXT, b"now"));
    assert_eq!(frames::close_code(&mut by_replica).unwrap(), 4001);
    let gone = frames::open(gateway.address(), "/echo");
    drop(gone);
    wait_until("two are closed", s(15), || lines(&gateway, "websocket closed").len() == 2);
    let mut lost = frames::open(gateway.address(), "/echo");
    frames::echo(&mut lost, "still here");
    app.process.kill();
    assert_eq!(frames::close_code(&mut lost).unwrap(), 1012);
    drop(lost);
    wait_until("three are closed", s(15), || lines(&gateway, "websocket closed").len() == 3);
    let mut causes: Vec<(Value, Value)> = lines(&gateway, "websocket closed")
        .iter()
        .map(|line| (field(line, "cause"), field(line, "closed_by")))
        .collect();
    causes.sort_by_key(|(cause, _)| cause.to_string());
    let pair = |cause: &str, by: &str| (Value::from(cause), Value::from(by));
    assert_eq!(
        causes,
        [
            pair("client_gone", "client"),
            pair("replica_closed", "replica"),
            pair("replica_gone", "replica")
        ]
    );
}

/// At the most talkative level, over everything a request can carry a secret in.
#[test]
fn secrets_never_appear() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::with_flags(&[app.address], &["--log-level", "trace"]);
    let names =
        ["token", "access_token", "jwt", "api_key", "password", "ticket", "signature", "code"];
    let query: String = names.iter().map(|name| format!("{name}=s3cr3t-{name}&")).collect();
    let fields = "Cookie: session=s3cr3t-cookie\r\nAuthorization: Bearer s3cr3t-bearer\r\n\
                  X-Api-Key: s3cr3t-key\r\nSec-WebSocket-Protocol: chat.v2, s3cr3t-protocol\r\n";
    let target = format!("/echo?{query}room=lobby");
    let (mut client, response) = frames::try_open(gateway.address(), &target, fields).unwrap();
    assert_eq!(response.status, 101, "{}", response.head);
    frames::echo(&mut client, "s3cr3t-payload");
    client.send(frames::close_from_client(1000, ""));
    frames::close_code(&mut client).unwrap();
    drop(client);
    raw::request(gateway.address(), &target, fields);
    // A request that fails is logged in more words.
    drop(app);
    raw::request(gateway.address(), &target, fields);
    wait_until("the close is logged", s(5), || !lines(&gateway, "websocket closed").is_empty());
    let all = gateway.process.lines().join("\n");
    assert!(all.contains("room=lobby"), "the target is logged at all: {all}");
    assert!(!all.contains("s3cr3t"), "{all}");
}

#[test]
fn a_line_cannot_be_forged() {
    let app = App::start("echo_ws.mjs", "one");
    for format in ["json", "human"] {
        let flags = ["--log-format", format, "--log-level", "debug"];
        let gateway = Gateway::with_flags(&[app.address], &flags);
        let target = "/echo?room=%0a%0dforged%1b[31m\u{9b}31m";
        let fields = "User-Agent: a\tb\u{9b}31m\r\n";
        let _ = frames::try_open(gateway.address(), target, fields);
        raw::request(gateway.address(), "/echo", fields);
        for line in gateway.process.lines() {
            assert!(!line.starts_with("forged"), "{line}");
            assert!(line.chars().all(|c| !c.is_control() || c == '\t'), "{line:?}");
        }
    }
}
