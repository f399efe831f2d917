//! The client for browsers, put into pages by the gateway (`inject_client`).

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Response};
use crate::support::recorder::{Answer, Recorder, Seen};
use crate::support::{artefact, clients, s};

const PAGE: &str = "Accept: text/html,*/*\r\nAccept-Encoding: gzip, br\r\nRange: bytes=0-9\r\n";
const TAG: &str = "<script src=\"/.longhaul/client.js\" data-install></script>";

fn inject(app: &Recorder) -> Gateway {
    Gateway::with_config(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\n[websocket]\ninject_client = true\n\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n",
        app.address
    ))
}

/// An app whose head tag falls between two pieces, and other things that are no pages.
fn app() -> Recorder {
    Recorder::start(|seen: &Seen| {
        match seen.line().split(' ').nth(1).unwrap() {
        "/" => Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Type: Text/HTML; charset=utf-8\r\nETag: \"1\"\r\n\
              Transfer-Encoding: chunked\r\n\r\n\
              12\r\n<!DOCTYPE html><he\r\n9\r\nad>hello \r\n5\r\nworld\r\n0\r\n\r\n"
                .to_vec(),
        ),
        "/counted" => Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<head></head>"
                .to_vec(),
        ),
        "/json" => Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n\"<head>\""
                .to_vec(),
        ),
        "/missing" => Answer::Bytes(
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<head>"
                .to_vec(),
        ),
        "/packed" => Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: br\r\n\
              Content-Length: 6\r\n\r\n<head>"
                .to_vec(),
        ),
        _ => Answer::text("<head>"),
    }
    })
}

fn ask(gateway: &Gateway, target: &str) -> Response {
    raw::request(gateway.address(), target, PAGE)
}

#[test]
fn a_page_gets_one_tag_behind_its_head_and_the_script_it_names() {
    let app = app();
    let gateway = inject(&app);
    let page = ask(&gateway, "/");
    assert_eq!(page.text(), format!("<!DOCTYPE html><head>{TAG}hello world"));
    assert_eq!(page.header("etag"), None, "{}", page.head);
    assert_eq!(ask(&gateway, "/counted").text(), format!("<head>{TAG}</head>"));
    let seen = app.seen();
    for field in ["accept-encoding", "range"] {
        assert!(seen.iter().all(|seen| seen.headers(field).is_empty()), "{seen:#?}");
    }
    let script = ask(&gateway, "/.longhaul/client.js");
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(script.text().contains("longhaul.v1"));
    assert_eq!(app.seen().len(), seen.len(), "the script is the gateway's own");
}

#[test]
fn what_is_no_page_stays_as_it_is() {
    let app = app();
    let gateway = inject(&app);
    assert_eq!(ask(&gateway, "/json").text(), "\"<head>\"");
    assert_eq!(ask(&gateway, "/missing").text(), "<head>");
    assert_eq!(ask(&gateway, "/packed").text(), "<head>");
    assert_eq!(ask(&gateway, "/text").text(), "<head>");
    // A program that does not ask for pages gets what the app says, to the byte.
    let plain = raw::request(gateway.address(), "/counted", "Accept-Encoding: br\r\n");
    assert_eq!(
        (plain.text().as_str(), plain.header("content-length")),
        ("<head></head>", Some("13"))
    );
    assert_eq!(app.seen().last().unwrap().headers("accept-encoding"), ["br"]);
}

#[test]
fn without_being_told_to_no_page_is_changed() {
    let app = app();
    let gateway = Gateway::before(&[app.address]);
    assert_eq!(ask(&gateway, "/counted").text(), "<head></head>");
    assert_eq!(ask(&gateway, "/.longhaul/client.js").text(), "<head>", "it goes to the app");
}

#[test]
fn a_route_with_a_path_serves_the_script_below_it() {
    let app = app();
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\n[[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\n\
         [[routes]]\nupstream = \"app\"\n\n\
         [[routes]]\nupstream = \"app\"\npath = \"/counted\"\nwebsocket.inject_client = true\n",
        app.address
    ));
    let page = ask(&gateway, "/counted").text();
    assert!(page.contains("src=\"/counted/.longhaul/client.js\""), "{page}");
    assert!(ask(&gateway, "/counted/.longhaul/client.js").text().contains("longhaul.v1"));
    assert!(!ask(&gateway, "/").text().contains("script"));
}

#[test]
fn chainlits_page_works_with_it_and_does_not_know() {
    let app = App::chainlit("one");
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\n[websocket]\ninject_client = true\n\n\
         [[upstreams]]\nname = \"chat\"\nreplicas = [\"{}\"]\n",
        app.address
    ));
    let picture = artefact("chainlit-injected.png");
    let arguments = [&gateway.http(), picture.to_str().unwrap(), "--injected"];
    clients::run("chainlit.mjs", &arguments, s(120));
}
