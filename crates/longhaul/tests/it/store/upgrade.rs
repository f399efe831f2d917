//! Another binary takes over, with the store and without it.

use super::*;
use crate::succession::Upgradable;

#[test]
fn a_ticket_outlives_an_upgrade_and_an_upgrade_needs_no_store() {
    let (mut redis, authority) = (Redis::start(&[]), Authority::start());
    let app = App::start("echo_ws.mjs", "one");
    let text =
        config(&app.address.to_string(), &authority, &url(&redis), "connect_timeout = \"500ms\"");
    let (_, text) = text.split_once("[[upstreams]]").unwrap();
    // Its environment is that of the story, in which there is no secret.
    let text = text.replace(
        "headers = { x-service-secret = \"env:STORY_SECRET\" }\n",
        "headers = { x-service-secret = \"s3cr3t-service\" }\n",
    );
    let upgradable = Upgradable::start(&format!("[[upstreams]]{text}"));
    let gateway = &upgradable.gateway;
    let (mut client, answer) = open(gateway, &ticket(gateway));
    assert_eq!(answer.status, 101);
    frames::echo(&mut client, "before");
    let word = ticket(gateway);
    upgradable.upgrade(0);
    assert_eq!(open(gateway, &word).1.status, 101, "the new binary was ready for it");
    frames::echo(&mut client, "under the new binary");

    redis.kill();
    wait_until("it is known to be away", s(60), || {
        upgradable.json(&["status"])["store"]["state"] == "away"
    });
    upgradable.upgrade(1);
    assert_eq!(raw::get(gateway.address(), "/health/ready").status, 200);
    let (_, answer) = try_open(gateway.address(), "/echo", &bearer("good-ann")).unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(cause(&ask_for_ticket(gateway)), UNAVAILABLE);
    redis.begin();
    wait_until("it is back", s(60), || {
        upgradable.json(&["status"])["store"]["state"] == "answering"
    });
    assert_eq!(open(gateway, &ticket(gateway)).1.status, 101);
    frames::echo(&mut client, "still here");
}
