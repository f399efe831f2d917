//! `longhaul demo` as its visitors meet it.

use crate::support::gateway::Gateway;
use crate::support::process::Signal;
use crate::support::{artefact, clients, s};

#[test]
fn two_visitors_talk_on_while_a_link_is_cut_a_replica_killed_and_the_gateway_upgraded() {
    let mut demo = Gateway::demo();
    let picture = artefact("demo.png");
    let arguments = [&demo.http(), picture.to_str().unwrap()];
    clients::run("demo.mjs", &arguments, s(180));
    demo.process.signal(Signal::INT);
    let status = demo.process.end(s(60));
    assert_eq!(status.code(), Some(0), "Ctrl-C ends it in good order");
}
