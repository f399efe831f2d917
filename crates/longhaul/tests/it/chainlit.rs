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

/// One replica is killed while nothing happens, then the other in the middle of an answer. Chainlit
/// greets each replica with one event, which the prelude says again: it ends what was under way.
#[test]
fn a_page_whose_replicas_are_killed_shows_no_banner_and_goes_on() {
    let mut replicas = ["one", "two"].map(App::chainlit);
    let addresses = replicas.each_ref().map(|app| app.address.to_string());
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {addresses:?}\n\
         [websocket]\non_replica_loss = \"redial\"\nprelude = 1\n"
    ));
    let picture = artefact("chainlit-redial.png");
    let arguments = [&gateway.http(), picture.to_str().unwrap()];
    let mut page = clients::start("chainlit_redial.mjs", &arguments);
    for moment in ["idle on ", "in the middle on "] {
        let name = page.line(moment, s(120), |line| line.strip_prefix(moment).map(str::to_owned));
        let killed = usize::from(name == "two");
        replicas[killed].process.kill();
        page.line("another answers", s(90), |line| line.contains("answered by").then_some(()));
        if moment == "idle on " {
            replicas[killed] = App::chainlit_on(&name, replicas[killed].address);
        }
    }
    page.line("done", s(60), |line| (line == "done").then_some(()));
    for line in page.lines() {
        println!("{line}");
    }
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
