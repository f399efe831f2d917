//! The TypeScript client before the real gateway, through proxies that cut its links at any byte.
//!
//! `cargo xtask sdk` builds the bundle that the clients load; the protocol's own stories are in `durable`.

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::{artefact, clients, s};

#[test]
fn twenty_clients_in_node_lose_hundreds_of_links_and_no_message() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    clients::run("durable_node.mjs", &[&gateway.address().to_string()], s(120));
}

#[test]
fn a_page_goes_offline_freezes_and_misses_nothing() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    clients::run("durable_browser.mjs", &[&gateway.address().to_string()], s(120));
}

/// Field report R1's page, made durable by one tag: each answer is cut in the middle.
#[test]
fn chainlits_page_is_cut_in_every_answer_and_does_not_notice() {
    let app = App::chainlit("one");
    let gateway = Gateway::before(&[app.address]);
    let picture = artefact("chainlit-durable.png");
    let arguments = [&gateway.http(), picture.to_str().unwrap(), "--durable"];
    clients::run("chainlit.mjs", &arguments, s(120));
}
