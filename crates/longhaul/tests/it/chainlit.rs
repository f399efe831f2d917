//! Chainlit in a real browser: field report R1 end to end.

use crate::support::apps::{self, App};
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::{artefact, clients, s};

/// A person opens the page, sends three messages with a file each and reads the streamed answers.
#[track_caller]
fn chat(gateway: &Gateway, picture: &str) -> String {
    let picture = artefact(picture);
    let arguments = [&gateway.http(), picture.to_str().unwrap(), "--upload"];
    let lines = clients::run("chainlit.mjs", &arguments, s(120));
    let welcome = lines.iter().find_map(|line| line.strip_prefix("welcomed by "));
    welcome.expect("the client says who welcomed it").to_owned()
}

#[test]
fn one_replica_answers_in_streamed_tokens_over_a_websocket() {
    let app = App::chainlit("one");
    let gateway = Gateway::before(&[app.address]);
    assert_eq!(chat(&gateway, "chainlit-one-replica.png"), "one");
}

#[test]
fn with_two_replicas_sockets_polls_and_uploads_stay_on_the_one_that_welcomed() {
    let replicas = [App::chainlit("one"), App::chainlit("two")];
    let gateway = Gateway::before(&replicas.each_ref().map(|app| app.address));
    // Two people with three uploads each: were the replica drawn anew for each request, all would
    // go right once in more than a thousand runs.
    chat(&gateway, "chainlit-two-replicas-a.png");
    chat(&gateway, "chainlit-two-replicas-b.png");
}

#[test]
fn as_the_gateways_child_it_needs_one_command() {
    let directory = apps::chainlit_directory();
    let program = apps::chainlit();
    let program = program.get_program().to_str().unwrap();
    let gateway = Gateway::as_parent(
        |command| {
            command.current_dir(directory.path()).env("REPLICA", "child");
        },
        &[program, "run", "app.py", "--port", "{port}", "--headless"],
    );
    gateway.wait_ready();
    assert_eq!(chat(&gateway, "chainlit-child.png"), "child");
    stop(gateway);
}

/// Asked to stop, parent and child end in good order.
fn stop(mut gateway: Gateway) {
    gateway.process.signal(crate::support::process::Signal::TERM);
    let status = Process::end(&mut gateway.process, s(40));
    assert_eq!(status.code(), Some(0), "{:#?}", gateway.process.lines());
}
