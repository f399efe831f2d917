//! Durable sessions: links are cut a thousand times, and nothing is lost, doubled or reordered.

mod ahead;
mod aware;
mod legs;
mod upgrades;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longhaul_client::machine::Reconnect;
use longhaul_client::{Event, Message, Options, Session, connect};
use tungstenite::{accept_hdr, handshake::server};

use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::App;
use crate::support::cutter::Cutter;
use crate::support::gateway::Gateway;
use crate::support::process::Signal;
use crate::support::raw::Raw;
use crate::support::{Random, frames, s, wait_until};

const MS: Duration = Duration::from_millis(1);

fn config(replica: SocketAddr, more: &str) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[upstreams]]\nname = \"app\"\n\
         replicas = [\"{replica}\"]\n[durable]\n{more}\n"
    )
}

/// A client that tries again at once and finds dead links soon.
fn options(address: SocketAddr) -> Options {
    let mut options = Options::new(&format!("ws://{address}/ws")).unwrap();
    options.policy.reconnect = Reconnect {
        first: 50 * MS,
        settled: s(30),
        steps: vec![20 * MS, 50 * MS, 100 * MS, 200 * MS],
        tries_max: None,
    };
    options
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Awaits the next event, for as long as a story may take.
async fn next(session: &mut Session) -> Event {
    tokio::time::timeout(s(90), session.next()).await.expect("in time").expect("until it is closed")
}

async fn text(session: &mut Session) -> String {
    loop {
        match next(session).await {
            Event::Message(Message::Text(text)) => return text,
            Event::Opened { .. } | Event::Interrupted | Event::Resumed => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A replica that sends its own numbered messages, and checks those it gets: `up 0`, `up 1`, … It answers
/// what it got with `got N` once it has closed.
struct Counting {
    address: SocketAddr,
    received: Arc<AtomicUsize>,
    wrong: Arc<AtomicUsize>,
}

impl Counting {
    fn start(messages: usize) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (received, wrong) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (received.clone(), wrong.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (received, wrong) = counters.clone();
                std::thread::spawn(move || talk(stream, messages, &received, &wrong));
            }
        });
        Self { address, received, wrong }
    }
}

/// Tungstenite has one hand only: it reads with a deadline, and writes in between.
fn talk(
    stream: std::net::TcpStream,
    messages: usize,
    received: &AtomicUsize,
    wrong: &AtomicUsize,
) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    let mut socket = tungstenite::accept(stream).ok()?;
    socket.get_ref().set_read_timeout(Some(2 * MS)).unwrap();
    let (mut sent, mut expected) = (0, 0);
    loop {
        for _ in 0..32 {
            if sent < messages {
                socket.send(format!("down {sent} {}", "x".repeat(sent % 300)).into()).ok()?;
                sent += 1;
            }
        }
        for _ in 0..64 {
            match socket.read() {
                Ok(message) if message.is_text() => {
                    let is_next =
                        message.to_text().unwrap().starts_with(&format!("up {expected} "));
                    wrong.fetch_add(usize::from(!is_next), Ordering::Relaxed);
                    received.fetch_add(1, Ordering::Relaxed);
                    expected += 1;
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if is_patience(&error) => break,
                Err(_) => return None,
            }
        }
    }
}

fn is_patience(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// One client that sends its numbers, checks the replica's, and closes when both are through.
async fn converse(address: SocketAddr, messages: usize) -> usize {
    let mut session = connect(options(address));
    let (mut sent, mut expected, mut resumed) = (0, 0, 0);
    let deadline = Instant::now() + s(150);
    while sent < messages || expected < messages {
        assert!(Instant::now() < deadline, "sent {sent}, received {expected}, resumed {resumed}");
        // However fast the machine is, a conversation outlives several links.
        tokio::time::sleep(10 * MS).await;
        for _ in 0..32.min(messages - sent) {
            let up = format!("up {sent} {}", "y".repeat(sent % 300));
            session.send(Message::Text(up)).await.unwrap();
            sent += 1;
        }
        while let Ok(event) = tokio::time::timeout(5 * MS, session.next()).await {
            match event {
                Some(Event::Message(Message::Text(text))) => {
                    assert!(text.starts_with(&format!("down {expected} ")), "{expected}: {text}");
                    expected += 1;
                }
                Some(Event::Resumed) => resumed += 1,
                Some(Event::Opened { .. } | Event::Interrupted) => {}
                other => panic!("{other:?}"),
            }
            if sent < messages && expected % 32 == 0 || expected == messages {
                break;
            }
        }
    }
    session.close(4321, "all said").await.unwrap();
    loop {
        match next(&mut session).await {
            Event::Closed { code, was_clean, .. } => {
                assert_eq!((code, was_clean), (4321, true));
                return resumed;
            }
            Event::Resumed => resumed += 1,
            _ => {}
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_reordered_while_every_link_is_cut() {
    const CLIENTS: usize = 20;
    const MESSAGES: usize = 2_500;
    let replica = Counting::start(MESSAGES);
    let gateway = Gateway::with_config(&config(replica.address, "heartbeat = \"500ms\""));
    let seed = Random::new().next();
    let resumed = runtime().block_on(async {
        let cutter = Cutter::before(gateway.listeners[0], (30 * MS, 250 * MS), seed).await;
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| tokio::spawn(converse(cutter.address, MESSAGES))).collect();
        let mut resumed = 0;
        for client in clients {
            resumed += client.await.unwrap();
        }
        println!("{} cuts, {resumed} resumed", cutter.cuts());
        cutter.calm();
        assert!(cutter.cuts() > CLIENTS, "{} cuts are no trouble", cutter.cuts());
        resumed
    });
    assert!(resumed > CLIENTS, "{resumed} links resumed");
    wait_until("the replica has every message", s(20), || {
        replica.received.load(Ordering::Relaxed) == CLIENTS * MESSAGES
    });
    assert_eq!(replica.wrong.load(Ordering::Relaxed), 0);
}

#[test]
fn one_url_serves_plain_clients_and_durable_ones_with_their_own_subprotocol() {
    let address = choosing_replica();
    let gateway = Gateway::with_config(&config(address, ""));
    runtime().block_on(async {
        let asked = options(gateway.listeners[0]).protocol("chat.v2").unwrap();
        let mut session = connect(asked);
        let opened = next(&mut session).await;
        assert_eq!(opened, Event::Opened { protocol: Some("chat.v2".to_owned()) });
        assert_eq!(text(&mut session).await, "offered: chat.v2");
    });
    let fields = "Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n";
    let (mut plain, answer) = frames::try_open(gateway.listeners[0], "/ws", fields).unwrap();
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("chat.v1")));
    assert_eq!(frames::read(&mut plain).unwrap().payload, b"offered: chat.v1, chat.v2");
}

/// Takes the first subprotocol it is offered, and says which there were.
// The library's own type for a refusal, which none is.
#[allow(clippy::result_large_err)]
fn choosing_replica() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut offered = String::new();
                let socket =
                    accept_hdr(stream, |asked: &server::Request, mut answer: server::Response| {
                        let list = asked.headers().get("sec-websocket-protocol").unwrap();
                        offered = list.to_str().unwrap().to_owned();
                        let first = offered.split(',').next().unwrap().parse().unwrap();
                        answer.headers_mut().insert("sec-websocket-protocol", first);
                        Ok(answer)
                    });
                let mut socket = socket.ok()?;
                socket.send(format!("offered: {offered}").into()).ok()?;
                while socket.read().is_ok() {}
                Some(())
            });
        }
    });
    address
}

/// A durable link by hand, to say what no client of ours would.
fn durable_link(gateway: &Gateway) -> Raw {
    let fields = "Sec-WebSocket-Protocol: longhaul.v1\r\n";
    let (link, answer) = frames::try_open(gateway.listeners[0], "/ws", fields).unwrap();
    assert_eq!(
        (answer.status, answer.header("sec-websocket-protocol")),
        (101, Some("longhaul.v1"))
    );
    link
}

fn say(link: &mut Raw, item: &str) {
    link.send(frames::from_client(frames::TEXT, item.as_bytes()));
}

/// The next item that is not a heartbeat.
fn hear(link: &mut Raw) -> String {
    loop {
        let frame = frames::read(link).expect("an item comes");
        if frame.opcode == frames::CLOSE {
            return format!("close {}", frame.close_code());
        }
        let item = String::from_utf8(frame.payload).unwrap();
        if frame.opcode == frames::TEXT && !item.starts_with('p') {
            return item;
        }
    }
}

fn field<'a>(json: &'a serde_json::Value, name: &str) -> &'a str {
    json[name].as_str().unwrap()
}

const HELLO: &str = r#"{"t":"hello","v":1,"sdk":"by hand","win":[4194304,4096]}"#;

#[test]
fn a_session_by_hand_goes_as_the_protocol_says() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::with_config(&config(app.address, ""));
    let mut link = durable_link(&gateway);
    say(&mut link, HELLO);
    let welcome: serde_json::Value = serde_json::from_str(&hear(&mut link)).unwrap();
    assert_eq!((field(&welcome, "t"), welcome["link"].as_u64()), ("welcome", Some(1)));
    say(&mut link, "a0");
    say(&mut link, "m1;hello");
    let mut heard = [hear(&mut link), hear(&mut link)];
    heard.sort();
    assert_eq!(heard, ["a1", "m1;hello"]);

    // Another link takes over; what was not acknowledged comes again, and the old one is closed.
    let mut second = durable_link(&gateway);
    let token = field(&welcome, "token");
    let resume = |token: &str, number: u64, recv: u64| {
        format!(
            r#"{{"t":"resume","v":1,"token":"{token}","link":{number},"recv":{recv},"lo":2,"hi":1}}"#
        )
    };
    say(&mut second, &resume(token, 2, 0));
    let resumed: serde_json::Value = serde_json::from_str(&hear(&mut second)).unwrap();
    assert_eq!((field(&resumed, "t"), resumed["recv"].as_u64()), ("resumed", Some(1)));
    assert_eq!([hear(&mut second), hear(&mut second)], ["a1", "m1;hello"]);
    say(&mut second, "a1");
    assert_eq!(hear(&mut link), "close 4901");

    // A late resume, a token that nobody sealed, and a gap.
    let mut late = durable_link(&gateway);
    say(&mut late, &resume(field(&resumed, "token"), 2, 1));
    assert_eq!(hear(&mut late), "close 4901");
    let mut stranger = durable_link(&gateway);
    say(&mut stranger, &resume("AQAA", 3, 1));
    assert_eq!(hear(&mut stranger), r#"{"t":"reset","code":4905,"recv":null}"#);
    say(&mut stranger, HELLO);
    assert!(hear(&mut stranger).starts_with(r#"{"t":"welcome""#), "a new session on the same link");
    say(&mut second, "m3;too far");
    assert_eq!(hear(&mut second), "close 4902");
    let mut after = durable_link(&gateway);
    say(&mut after, &resume(field(&resumed, "token"), 3, 1));
    assert!(hear(&mut after).starts_with(r#"{"t":"reset","code":4905,"recv":1"#));
}

#[test]
fn a_close_reaches_the_other_side_with_its_code_both_ways() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::with_config(&config(app.address, ""));
    runtime().block_on(async {
        let mut session = connect(options(gateway.listeners[0]));
        session.send(Message::Text("hi".to_owned())).await.unwrap();
        assert_eq!(text(&mut session).await, "hi");
        session.close(4001, "enough").await.unwrap();
        let closed = Event::Closed { code: 4001, reason: "enough".to_owned(), was_clean: true };
        assert_eq!(next(&mut session).await, closed);
    });
    wait_until("the replica saw the close", s(20), || {
        app.process.lines().iter().any(|line| line == "closed 4001 enough")
    });
}

#[test]
fn a_client_that_stays_away_is_given_up_and_its_replica_told() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::with_config(&config(app.address, "grace = \"1s\""));
    let mut link = durable_link(&gateway);
    say(&mut link, HELLO);
    let welcome: serde_json::Value = serde_json::from_str(&hear(&mut link)).unwrap();
    say(&mut link, "a0");
    say(&mut link, "m1;x");
    hear(&mut link);
    drop(link);
    wait_until("the replica saw the close", s(30), || {
        app.process.lines().iter().any(|line| line.starts_with("closed 1001"))
    });
    let mut late = durable_link(&gateway);
    let token = field(&welcome, "token");
    say(
        &mut late,
        &format!(r#"{{"t":"resume","v":1,"token":"{token}","link":2,"recv":0,"lo":1,"hi":1}}"#),
    );
    assert_eq!(hear(&mut late), r#"{"t":"reset","code":4905,"recv":1}"#);
}

#[test]
fn a_link_is_replaced_before_it_is_too_old_and_nobody_notices() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::with_config(&config(app.address, "link_lifetime = \"2s\""));
    runtime().block_on(async {
        let mut session = connect(options(gateway.listeners[0]));
        let started = Instant::now();
        let mut count = 0;
        // Two lifetimes and some: the link was replaced twice by then.
        while started.elapsed() < s(5) {
            session.send(Message::Text(count.to_string())).await.unwrap();
            loop {
                match next(&mut session).await {
                    Event::Message(Message::Text(text)) => {
                        break assert_eq!(text, count.to_string());
                    }
                    Event::Opened { .. } => {}
                    // Make before break: the application hears of no interruption.
                    other => panic!("{other:?}"),
                }
            }
            count += 1;
            tokio::time::sleep(20 * MS).await;
        }
        session.close(1000, "").await.unwrap();
        assert!(matches!(next(&mut session).await, Event::Closed { code: 1000, .. }));
    });
    let mut line = String::new();
    wait_until("the session is closed", s(30), || {
        let lines = gateway.process.lines();
        line = lines.into_iter().find(|line| line.contains("session closed")).unwrap_or_default();
        !line.is_empty()
    });
    assert!(["\"links\":3", "\"links\":4"].iter().any(|links| line.contains(links)), "{line}");
}

/// Says something and waits for its echo; anything that an application could notice fails the story.
async fn echo_unnoticed(session: &mut Session, words: &str) {
    session.send(Message::Text(words.to_owned())).await.unwrap();
    loop {
        match next(session).await {
            Event::Message(Message::Text(text)) => return assert_eq!(text, words),
            Event::Opened { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_operator_moves_clients_and_a_drain_ends_their_sessions_in_words() {
    let app = App::start("echo_ws.mjs", "one");
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n",
        app.address
    ));
    let admin = Admin::of(&mut gateway);
    let runtime = runtime();
    let mut session = runtime.block_on(async {
        let mut session = connect(options(gateway.listeners[0]));
        echo_unnoticed(&mut session, "before").await;
        session
    });
    let sessions = || admin.json("/api/v1/sessions");
    assert_eq!(
        (sessions()["open"].as_u64(), sessions()["resumed_total"].as_u64()),
        (Some(1), Some(0))
    );
    let refused = admin.change("POST", "/api/v1/sessions/migrate", r#"{"spread_s": -1}"#);
    assert_eq!(refused.status, 400);
    let asked = admin.change("POST", "/api/v1/sessions/migrate", r#"{"spread_s": 0}"#);
    assert_eq!((asked.status, asked.text().as_str()), (202, r#"{"asked":1}"#));
    wait_until("the client has moved", s(30), || sessions()["resumed_total"] == 1);
    runtime.block_on(echo_unnoticed(&mut session, "after"));
    assert_eq!(admin.metric("longhaul_session_links_total{outcome=\"resumed\"}"), 1.0);

    gateway.process.signal(Signal::TERM);
    let closed = runtime.block_on(next(&mut session));
    assert!(matches!(closed, Event::Closed { code: 1012, was_clean: true, .. }), "{closed:?}");
    assert!(gateway.process.end(s(40)).success());
}

/// The last acknowledgement and the end come in one read: what the session held then is taken off the
/// node's books once, not twice and not never.
#[test]
fn a_session_that_ends_between_two_looks_leaves_nothing_on_the_books() {
    let app = App::start("echo_ws.mjs", "one");
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n",
        app.address
    ));
    let admin = Admin::of(&mut gateway);
    let held = || admin.metric("longhaul_session_held_bytes");
    for last_words in [&["a1", "m9;too far"][..], &["m2;more", "m9;too far"]] {
        let mut link = durable_link(&gateway);
        say(&mut link, HELLO);
        assert!(hear(&mut link).starts_with(r#"{"t":"welcome""#));
        say(&mut link, "a0");
        say(&mut link, "m1;hello");
        while hear(&mut link) != "m1;hello" {}
        wait_until("the echo is on the books", s(30), || held() == 5.0);
        let frames =
            last_words.iter().flat_map(|item| frames::from_client(frames::TEXT, item.as_bytes()));
        link.send(frames.collect::<Vec<u8>>());
        while hear(&mut link) != "close 4902" {}
        wait_until("the session is off the books", s(30), || {
            admin.json("/api/v1/sessions")["open"] == 0
        });
        assert_eq!(held(), 0.0, "{last_words:?}");
    }
    assert!(!gateway.process.lines().iter().any(|line| line.contains("panic")));
}

#[test]
fn a_refused_login_and_a_missing_replica_are_told_in_codes() {
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in refusing.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::with_config(&config(address, ""));
    let mut link = durable_link(&gateway);
    say(&mut link, HELLO);
    assert_eq!(hear(&mut link), "close 4903");

    let gone = crate::support::apps::free_address();
    let gateway = Gateway::with_config(&config(gone, ""));
    let mut link = durable_link(&gateway);
    say(&mut link, HELLO);
    assert!(hear(&mut link).starts_with(r#"{"t":"goaway""#));
    assert_eq!(hear(&mut link), "close 4909");
}
