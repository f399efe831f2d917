//! TLS on either leg: who sees which certificate, by which version, in which time; new certificates
//! under load, and replicas that must prove who they are.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::apps::App;
use crate::support::clients;
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::Signal;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::tls::{self, Authority, Files, connect, curl, exchange, openssl};
use crate::support::{s, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn replica() -> Recorder {
    Recorder::start(|_| Answer::text("fine"))
}

/// A gateway with a plain listener (its first, by which it says when it is ready) and one with TLS.
fn gateway(certificates: &[&Files], tls: &str, upstream: &str) -> Gateway {
    let certificates: String =
        certificates.iter().map(|files| format!("[[certificates]]\n{}", files.toml())).collect();
    let mode = if tls.contains("mode") { "" } else { "mode = \"on\"\n" };
    Gateway::with_config(&format!(
        "[server]\nlisten = \"plain=127.0.0.1:0\"\n\
         [tls]\nmode = \"off\"\nwatch = \"100ms\"\n\
         {certificates}\
         [[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n\
         [listeners.tls]\n{mode}{tls}\n\
         [[upstreams]]\nname = \"app\"\n{upstream}\n"
    ))
}

fn replicas(address: std::net::SocketAddr) -> String {
    format!("replicas = [\"{address}\"]")
}

#[test]
fn versions_are_agreed_on_within_the_limits_of_the_listener() {
    let (authority, app) = (Authority::new("home"), replica());
    let files = authority.issue("a", &["localhost"]);
    let liberal = gateway(&[&files], "", &replicas(app.address));
    let strict = gateway(&[&files], "min_version = \"1.3\"", &replicas(app.address));
    for (gateway, version, is_welcome) in [
        (&liberal, "-tls1_1", false),
        (&liberal, "-tls1_2", true),
        (&liberal, "-tls1_3", true),
        (&strict, "-tls1_2", false),
        (&strict, "-tls1_3", true),
    ] {
        // The lowest security level lets openssl offer 1.1 at all.
        let (_, said) = openssl(gateway.listeners[1], &[version, "-cipher", "ALL:@SECLEVEL=0"]);
        let was_welcome = said.contains("BEGIN CERTIFICATE");
        assert_eq!(was_welcome, is_welcome, "{version}: {said}");
        assert!(is_welcome || said.contains("SSL alert number"), "{version}: {said}");
    }
}

#[test]
fn a_client_sees_the_certificate_of_the_name_it_asks_for() {
    let (authority, app) = (Authority::new("home"), replica());
    let first = authority.issue("first", &["first.example"]);
    let exact = authority.issue("exact", &["chat.example"]);
    let star = authority.issue("star", &["*.apps.example"]);
    let gateway = gateway(&[&first, &exact, &star], "", &replicas(app.address));
    for (name, expected) in [
        ("chat.example", "CN = chat.example"),
        ("CHAT.example", "CN = chat.example"),
        ("other.apps.example", "CN = *.apps.example"),
        ("deep.other.apps.example", "CN = first.example"),
        ("elsewhere.test", "CN = first.example"),
    ] {
        let (_, said) = openssl(gateway.listeners[1], &["-servername", name]);
        assert!(said.contains(&format!("subject={expected}")), "{name}: {said}");
    }
    let (_, said) = openssl(gateway.listeners[1], &["-noservername"]);
    assert!(said.contains("subject=CN = first.example"), "{said}");
    let (_, said) = openssl(gateway.listeners[1], &["-alpn", "h2,http/1.1"]);
    assert!(said.contains("ALPN protocol: "), "{said}");
}

#[test]
fn clients_prove_who_they_are_where_they_must() {
    let (authority, clients, strangers) =
        (Authority::new("home"), Authority::new("clients"), Authority::new("strangers"));
    let app = replica();
    let files = authority.issue("a", &["localhost"]);
    let known = clients.issue("known", &["someone"]);
    let unknown = strangers.issue("unknown", &["someone"]);
    let ca = clients.file();
    let with = |files: &Files| {
        let path = |path: &std::path::Path| path.display().to_string();
        ["--cert".to_owned(), path(&files.certificate), "--key".to_owned(), path(&files.key)]
    };
    for mode in ["required", "optional"] {
        let tls = format!("client_certificates = \"{mode}\"\nclient_ca = \"{}\"", ca.display());
        let gateway = gateway(&[&files], &tls, &replicas(app.address));
        let ask = |arguments: &[String]| {
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            // Over HTTP/2 curl writes before it reads, and may miss the alert for the broken pipe.
            arguments.push("--http1.1");
            curl(gateway.listeners[1], &authority.file(), "/", &arguments)
        };
        let (is_content, said) = ask(&with(&known));
        assert!(is_content && said.contains("200 OK"), "{mode}: {said}");
        let (is_content, said) = ask(&with(&unknown));
        assert!(!is_content && said.contains("alert"), "{mode}: {said}");
        let (is_content, said) = ask(&[]);
        assert_eq!(is_content, mode == "optional", "{mode}: {said}");
    }
}

#[test]
fn other_authorities_for_clients_count_from_the_next_reload_on() {
    let (authority, first, second) =
        (Authority::new("home"), Authority::new("first"), Authority::new("second"));
    let app = replica();
    let files = authority.issue("a", &["localhost"]);
    let [old, new] = [&first, &second].map(|them| them.issue("client", &["someone"]));
    let ca = first.file();
    let tls = format!("client_certificates = \"required\"\nclient_ca = {ca:?}");
    let gateway = gateway(&[&files], &tls, &replicas(app.address));
    let is_let_in = |client: &Files| {
        let path = |path: &std::path::Path| path.display().to_string();
        let (certificate, key) = (path(&client.certificate), path(&client.key));
        let arguments = ["--cert", &certificate, "--key", &key, "--http1.1"];
        curl(gateway.listeners[1], &authority.file(), "/", &arguments).0
    };
    assert_eq!((is_let_in(&old), is_let_in(&new)), (true, false));
    std::fs::copy(second.file(), &ca).unwrap();
    gateway.process.signal(Signal::HUP);
    wait_until("the new authorities count", s(30), || is_let_in(&new));
    assert!(!is_let_in(&old));
}

#[test]
fn a_session_is_resumed_by_either_version() {
    let (authority, app) = (Authority::new("home"), replica());
    let files = authority.issue("a", &["localhost"]);
    let gateway = gateway(&[&files], "", &replicas(app.address));
    let saved = tempfile::NamedTempFile::new().unwrap();
    let saved = saved.path().to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        // 1.3 sends its tickets behind the handshake; a whole exchange makes sure that they came.
        let script = |session: &str| {
            format!(
                "printf '{}' | openssl s_client -connect {} -servername localhost {version} \
                 -ign_eof {session} {saved}",
                GET.replace('\r', "\\r").replace('\n', "\\n"),
                gateway.listeners[1]
            )
        };
        let run = |session: &str| {
            let output = std::process::Command::new("sh").args(["-c", &script(session)]).output();
            String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
        };
        let said = run("-sess_out");
        assert!(said.contains("New, TLS") && said.contains("fine"), "{version}: {said}");
        let said = run("-sess_in");
        assert!(said.contains("Reused, TLS") && said.contains("fine"), "{version}: {said}");
    }
}

#[test]
fn a_replica_is_told_how_the_client_came_and_cookies_stay_inside_of_tls() {
    let (authority, app) = (Authority::new("home"), replica());
    let files = authority.issue("a", &["localhost"]);
    let upstream = format!("{}\naffinity = \"cookie\"", replicas(app.address));
    let gateway = gateway(&[&files], "mode = \"auto\"", &upstream);
    let address = gateway.listeners[1];

    let mut secure = connect(address, "localhost", &authority.client()).unwrap();
    let answer = exchange(&mut secure, GET).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("; Secure"), "{answer}");
    let plain = raw::get(address, "/");
    assert_eq!(plain.status, 200);
    assert!(!plain.head.contains("; Secure"), "{}", plain.head);

    let seen = app.seen();
    let told: Vec<Vec<&str>> =
        seen.iter().rev().take(2).map(|seen| seen.headers("x-forwarded-proto")).collect();
    assert_eq!(told, [["http"], ["https"]]);
    let port = address.port().to_string();
    assert_eq!(seen.last().unwrap().headers("x-forwarded-port"), [port]);
}

#[test]
fn a_request_without_tls_is_told_that_it_needs_some() {
    let (authority, app) = (Authority::new("home"), replica());
    let files = authority.issue("a", &["localhost"]);
    let gateway = gateway(&[&files], "", &replicas(app.address));
    let requests_before = app.seen().len();
    for path in ["/", "/health/ready"] {
        let answer = raw::get(gateway.listeners[1], path);
        assert_eq!(answer.status, 400, "{}", answer.head);
        assert_eq!(answer.header("longhaul-cause"), Some("tls_required"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.text().contains("https://"), "{}", answer.text());
    }
    let mut other = Raw::connect(gateway.listeners[1]);
    other.send("EHLO mail.example\r\n");
    other.assert_closed();
    assert_eq!(app.seen().len(), requests_before);
}

#[test]
fn real_clients_are_echoed_over_tls() {
    let authority = Authority::new("home");
    let files = authority.issue("a", &["localhost"]);
    let app = App::start("echo_websockets.py", "one");
    let gateway = gateway(&[&files], "", &replicas(app.address));
    let url = format!("wss://localhost:{}", gateway.listeners[1].port());
    let ca = authority.file().display().to_string();
    let trust = [("SSL_CERT_FILE", ca.as_str()), ("NODE_EXTRA_CA_CERTS", ca.as_str())];
    for client in ["echo.py", "echo.mjs"] {
        clients::run_with(client, &[&url], &trust, s(240));
    }
    let page = format!("https://localhost:{}", gateway.listeners[1].port());
    let certificate = files.certificate.display().to_string();
    clients::run("tls_browser.mjs", &[&page, &certificate], s(90));
}

#[test]
fn raw_bytes_inside_of_tls_reach_a_raw_route() {
    let (authority, app) = (Authority::new("home"), replica());
    let files = authority.issue("a", &["localhost"]);
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let echo_address = echo.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in echo.incoming().flatten() {
            // The server speaks first, then repeats.
            stream.write_all(b"220 hello\r\n").unwrap();
            std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
        }
    });
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = \"plain=127.0.0.1:0\"\n\
         [tls]\nmode = \"off\"\n[[certificates]]\n{}\
         [[listeners]]\nname = \"mail\"\naddress = \"127.0.0.1:0\"\n[listeners.tls]\nmode = \"on\"\n\
         [[upstreams]]\nname = \"app\"\n{}\n[[routes]]\nupstream = \"app\"\nlisteners = [\"plain\"]\n\
         [[upstreams]]\nname = \"mail\"\n{}\n\
         [[tcp]]\nlistener = \"mail\"\nupstream = \"mail\"\nserver_first = true\n",
        files.toml(),
        replicas(app.address),
        replicas(echo_address),
    ));
    let mut mail = connect(gateway.listeners[1], "localhost", &authority.client()).unwrap();
    let mut greeting = [0; 11];
    mail.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
    let sent: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    let mut received = vec![0; sent.len()];
    for (piece, back) in sent.chunks(10_000).zip(received.chunks_mut(10_000)) {
        mail.write_all(piece).unwrap();
        mail.read_exact(back).unwrap();
    }
    assert!(received == sent, "bytes were changed on their way");
}

#[test]
fn a_client_that_is_slow_to_shake_hands_is_let_go() {
    let (authority, app) = (Authority::new("home"), replica());
    let files = authority.issue("a", &["localhost"]);
    let gateway = gateway(&[&files], "handshake = \"1s\"", &replicas(app.address));
    let began = Instant::now();
    let mut silent = Raw::connect(gateway.listeners[1]);
    // A record header that promises 512 bytes, and then one byte at a time.
    let mut slow = Raw::connect(gateway.listeners[1]);
    slow.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    silent.assert_closed();
    let took = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");
    slow.patience(Duration::from_millis(100));
    let mut is_open = true;
    wait_until("the slow one is let go", s(4), || {
        slow.send_anyway(b"x");
        is_open = match slow.stream.read(&mut [0; 16]) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        };
        !is_open
    });
}

/// What `/status` says of the first certificate.
fn status_of_certificate(admin: std::net::SocketAddr) -> Value {
    let mut client = Raw::connect(admin);
    client.send("GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let status: Value = serde_json::from_slice(&client.response().body).unwrap();
    status["certificates"][0].clone()
}

fn admin_of(gateway: &mut Gateway) -> std::net::SocketAddr {
    gateway.process.line("admin API on", s(10), |line| {
        let (_, rest) = line.split_once("admin API on ")?;
        rest.split(['"', ' ']).next()?.parse().ok()
    })
}

fn gateway_with_admin(files: &Files, app: &Recorder) -> (Gateway, std::net::SocketAddr) {
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"plain=127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         [tls]\nmode = \"off\"\nwatch = \"100ms\"\n[[certificates]]\n{}\
         [[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n[listeners.tls]\nmode = \"on\"\n\
         [[upstreams]]\nname = \"app\"\n{}\n",
        files.toml(),
        replicas(app.address)
    ));
    let admin = admin_of(&mut gateway);
    (gateway, admin)
}

#[test]
fn certificates_are_swapped_a_hundred_times_under_load_and_nobody_notices() {
    const SWAPS: usize = 100;
    const WATCH: Duration = Duration::from_millis(100);
    let (authority, app) = (Authority::new("home"), replica());
    let files = authority.issue("a", &["localhost"]);
    let (gateway, admin) = gateway_with_admin(&files, &app);
    let address = gateway.listeners[1];
    let client = authority.client();
    let (is_over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let shown = Mutex::new(BTreeSet::new());
    let failures = Mutex::new(Vec::new());
    let (swapped, slow_writes) = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let answered = connect(address, "localhost", &client).and_then(|mut tls| {
                        shown.lock().unwrap().insert(tls::shown(&tls));
                        exchange(&mut tls, GET)
                    });
                    match answered {
                        Ok(answer) if answer.ends_with("fine") => {
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        other => failures.lock().unwrap().push(format!("{other:?}")),
                    }
                }
            });
        }
        wait_until("there is load", s(10), || !shown.lock().unwrap().is_empty());
        let (mut swapped, mut slow_writes) = (0, 0);
        let began = Instant::now();
        for _ in 0..SWAPS {
            let known = shown.lock().unwrap().len();
            let writing = Instant::now();
            authority.issue("a", &["localhost"]);
            // On a busy machine the writer may pause between the two files for longer than the
            // watcher waits; a pair that does not fit is then refused, and should be.
            slow_writes += u64::from(writing.elapsed() >= WATCH);
            let deadline = Instant::now() + s(10);
            while shown.lock().unwrap().len() <= known && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            swapped += usize::from(shown.lock().unwrap().len() > known);
        }
        println!("swapping took {:?}", began.elapsed());
        is_over.store(true, Ordering::Relaxed);
        (swapped, slow_writes)
    });
    let failures = failures.into_inner().unwrap();
    let served = served.into_inner();
    println!("{served} connections over {swapped} swaps");
    assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), &failures[..1]);
    assert_eq!((swapped, shown.into_inner().unwrap().len()), (SWAPS, SWAPS + 1));
    assert!(served >= SWAPS, "{served}");
    let record = status_of_certificate(admin);
    assert_eq!(record["swaps"], SWAPS, "{record}");
    assert!(record["refusals"].as_u64().unwrap() <= slow_writes, "{slow_writes} slow: {record}");
}

#[test]
fn a_broken_pair_is_kept_out_and_the_old_one_goes_on() {
    let (authority, app) = (Authority::new("home"), replica());
    let files = authority.issue("a", &["localhost"]);
    let (mut gateway, admin) = gateway_with_admin(&files, &app);
    let address = gateway.listeners[1];
    let serve = || {
        let mut tls = connect(address, "localhost", &authority.client()).unwrap();
        assert!(exchange(&mut tls, GET).unwrap().ends_with("fine"));
        tls::shown(&tls)
    };
    let old = serve();
    let good_key = std::fs::read(&files.key).unwrap();
    for (number, (broken, words)) in [
        (b"not a key at all".to_vec(), "has no private key"),
        (std::fs::read(authority.issue("other", &["localhost"]).key).unwrap(), "does not belong"),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&files.key, broken).unwrap();
        wait_until("it is refused", s(10), || {
            status_of_certificate(admin)["refusals"] == number + 1
        });
        let record = status_of_certificate(admin);
        assert!(record["last_refusal"].as_str().unwrap().contains(words), "{record}");
        gateway.process.line("the refusal is logged as an error", s(5), |line| {
            let is_loud = line.contains("ERROR") && line.contains("the old one stays in use");
            (is_loud && line.contains(words)).then_some(())
        });
        assert_eq!(serve(), old);
    }
    std::fs::write(&files.key, good_key).unwrap();
    authority.issue("a", &["localhost"]);
    wait_until("a good pair takes its place", s(10), || serve() != old);
    let record = status_of_certificate(admin);
    assert_eq!(record["last_refusal"], Value::Null, "{record}");
}

/// A replica behind TLS, as its own program.
fn tls_app(files: &Files) -> App {
    let path = |path: &std::path::Path| path.display().to_string();
    let (certificate, key) = (path(&files.certificate), path(&files.key));
    App::start_with("echo_websockets.py", &[("TLS_CERT", &certificate), ("TLS_KEY", &key)])
}

#[test]
fn a_replica_behind_tls_that_proves_who_it_is_is_served() {
    let authority = Authority::new("backends");
    let app = tls_app(&authority.issue("app", &["localhost"]));
    let upstream = format!(
        "replicas = [\"https://localhost:{}\"]\n[upstreams.tls]\nca = \"{}\"\n\
         [upstreams.probe]\nkind = \"websocket\"\npath = \"/echo\"\ninterval = \"1s\"\n",
        app.address.port(),
        authority.file().display()
    );
    let files = authority.issue("a", &["localhost"]);
    let gateway = gateway(&[&files], "", &upstream);
    // Both legs: plain to the gateway and TLS behind it, and TLS on both.
    clients::run("echo.py", &[&gateway.ws()], s(240));
    let ca = authority.file().display().to_string();
    let url = format!("wss://localhost:{}", gateway.listeners[1].port());
    clients::run_with("echo.py", &[&url], &[("SSL_CERT_FILE", &ca)], s(240));
}

#[test]
fn a_replica_that_cannot_prove_who_it_is_is_not_spoken_to() {
    let (authority, strangers) = (Authority::new("backends"), Authority::new("strangers"));
    let app = tls_app(&authority.issue("app", &["chat.internal"]));
    let plain = App::start("echo_ws.mjs", "plain");
    let https = |port: u16| format!("replicas = [\"https://127.0.0.1:{port}\"]\n[upstreams.tls]\n");
    let to_app = https(app.address.port());
    let ca = |authority: &Authority| format!("ca = \"{}\"\n", authority.file().display());
    let files = authority.issue("a", &["localhost"]);
    let status = |gateway: &Gateway| raw::get(gateway.address(), "/x");

    let named = format!("{to_app}server_name = \"chat.internal\"\n");
    for (upstream, reason) in [
        (format!("{named}{}", ca(&strangers)), "UnknownIssuer"),
        (format!("{to_app}{}", ca(&authority)), "tls.server_name"),
        (format!("{}{}", https(plain.address.port()), ca(&authority)), "speak TLS on this port"),
    ] {
        let mut gateway = gateway(&[&files], "", &upstream);
        let answer = status(&gateway);
        assert_eq!(answer.status, 502, "{reason}: {}", answer.head);
        assert_eq!(answer.header("longhaul-cause"), Some("replica_tls"), "{reason}");
        assert!(!answer.text().contains(reason), "a stranger learns too much: {}", answer.text());
        gateway.process.line("the log says why", s(5), |line| {
            (line.contains("replica_tls") && line.contains(reason)).then_some(())
        });
    }
    let mut careless = gateway(&[&files], "", &format!("{to_app}verify = false\n"));
    clients::run("echo.py", &[&careless.ws()], s(240));
    careless.process.line("a warning that nobody is verified", s(5), |line| {
        (line.contains("WARN") && line.contains("read and change everything")).then_some(())
    });
}

#[test]
fn a_certificate_to_try_out_is_made_and_used_by_flags() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("tls");
    let cert = |arguments: &[&str]| {
        let mut command = longhaul();
        command.arg("cert").arg("--self-signed").arg(&directory).args(arguments);
        command.output().unwrap()
    };
    let made = cert(&[]);
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success() && text.contains("--tls-cert"), "{made:?}");
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read(&certificate).unwrap();

    let again = cert(&[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"), "{again:?}");
    assert_eq!(std::fs::read(&certificate).unwrap(), first);
    assert!(cert(&["--force", "--name", "localhost", "--name", "10.1.2.3"]).status.success());
    assert!(std::fs::read(&certificate).unwrap() != first);
    assert!(!cert(&["--force", "--name", "no name"]).status.success());

    let app = replica();
    let (certificate_flag, key_flag) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let gateway = Gateway::with_flags_unready(
        &[app.address],
        &["--tls-cert", certificate_flag, "--tls-key", key_flag],
    );
    let (is_content, said) = curl(gateway.address(), &certificate, "/", &[]);
    assert!(is_content && said.contains("fine"), "{said}");
}

/// The figure that `docs/operate/tls.md` quotes is printed by this story.
#[test]
fn an_idle_websocket_over_tls_holds_little_memory() {
    const IDLE: usize = 400;
    const KIB_EACH_MAX: u64 = 40;
    let authority = Authority::new("home");
    let files = authority.issue("a", &["localhost"]);
    let app = App::start("echo_ws.mjs", "one");
    let gateway = gateway(&[&files], "", &replicas(app.address));
    let client = authority.client();
    let open = || {
        let mut tls = connect(gateway.listeners[1], "localhost", &client).unwrap();
        let head = "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        tls.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            tls.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
        // One full record each way, so that buffers that grow have grown.
        let mut message = vec![0x82, 0xfe, 0x40, 0x00, 0, 0, 0, 0];
        message.resize(message.len() + 0x4000, b'x');
        tls.write_all(&message).unwrap();
        let mut echoed = vec![0; 4 + 0x4000];
        tls.read_exact(&mut echoed).unwrap();
        tls
    };
    // What is allocated once is allocated by the first.
    let mut idle: Vec<_> = (0..50).map(|_| open()).collect();
    let before = gateway.process.memory_kib();
    idle.extend((0..IDLE).map(|_| open()));
    let each = (gateway.process.memory_kib() - before) / IDLE as u64;
    println!("an idle WebSocket over TLS holds {each} KiB");
    assert!(each <= KIB_EACH_MAX, "{each} KiB");
}
