//! Raw TCP routes: any protocol, whichever side speaks first.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{Random, clients, frames, s, wait_until};

/// A gateway with one listener that serves HTTP and raw TCP.
fn both(http: SocketAddr, tcp: SocketAddr, server_first: bool) -> Gateway {
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"public=127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"http\"\nreplicas = [\"{http}\"]\n\
         [[upstreams]]\nname = \"tcp\"\nreplicas = [\"{tcp}\"]\n\
         [[routes]]\nupstream = \"http\"\nlisteners = [\"public\"]\n\
         [[tcp]]\nlistener = \"public\"\nupstream = \"tcp\"\nserver_first = {server_first}\n"
    ))
}

/// Sends back what it gets and ends when the client does.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut from = stream.try_clone()?;
                std::io::copy(&mut from, &mut stream)?;
                stream.shutdown(std::net::Shutdown::Write)
            });
        }
    });
    address
}

/// SMTP: the server greets first. One port takes mail, HTTP and WebSockets.
#[test]
fn mail_and_http_share_a_port() {
    let smtp = App::start("smtp.py", "mail");
    let web = App::start("echo_ws.mjs", "web");
    let gateway = both(web.address, smtp.address, true);
    clients::run("smtp.py", &[&gateway.address().to_string()], s(60));
    // Its words come by a pipe of their own and may be later than its answer.
    wait_until("the mail is stored", s(10), || {
        smtp.process.lines().iter().any(|line| line == "mail Subject: through the gateway")
    });
    assert_eq!(raw::get(gateway.address(), "/").text(), "web");
    frames::echo(&mut frames::open(gateway.address(), "/echo"), "hello");
}

#[test]
fn bytes_that_are_not_http_go_to_the_tcp_route_unchanged() {
    let web = Recorder::start(|_| Answer::text("web"));
    let gateway = both(web.address, echo_server(), false);
    let mut random = Random::new();
    // The first byte of neither HTTP nor TLS.
    let mut sent = vec![0];
    sent.extend(random.bytes(8 << 20));
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    client.set_read_timeout(Some(s(30))).unwrap();
    let mut reader = client.try_clone().unwrap();
    let expected = sent.len();
    let received = thread::spawn(move || {
        let mut received = Vec::with_capacity(expected);
        reader.read_to_end(&mut received).map(|_| received)
    });
    client.write_all(&sent).unwrap();
    // Half-closed: what is still on its way back must arrive.
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let received = received.join().unwrap().unwrap();
    assert!(received == sent, "{} sent, {} came back", sent.len(), received.len());
    assert_eq!(raw::get(gateway.address(), "/").text(), "web");
}

#[test]
fn a_dead_replica_ends_the_connection_and_not_the_gateway() {
    let nobody = crate::support::apps::free_address();
    let web = Recorder::start(|_| Answer::text("web"));
    let gateway = both(web.address, nobody, false);
    let mut client = Raw::connect(gateway.address());
    client.send([0_u8; 16]);
    client.assert_closed();
    assert_eq!(raw::get(gateway.address(), "/").text(), "web");
}
