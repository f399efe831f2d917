//! What each cause means to whoever runs the service: where it goes wrong, what happens, what to do.

use super::Hop;

/// Causes that mean the same, where, what happens and what is likely behind it, and what to look at or do.
type Row = (&'static [&'static str], Hop, &'static str, &'static str);

/// Where, what and what to do, by the cause alone. `None`: nobody minds.
pub(super) fn words(cause: &str) -> Option<(Hop, &'static str, &'static str)> {
    let (_, hop, what, remedy) = ROWS.iter().find(|(causes, ..)| causes.contains(&cause))?;
    Some((*hop, what, remedy))
}

const ROWS: &[Row] = &[
    (
        &["client_gone"],
        Hop::Front,
        "clients vanished without a close frame: bad links, closed laptops, or a proxy in front \
         that restarts",
        "few are normal; for many at once look at the proxy in front",
    ),
    (
        &["client_silent"],
        Hop::Front,
        "clients answered no ping: their link is dead, or the phone sleeps",
        "normal for phones; a resuming client library loses nothing",
    ),
    (
        &["client_stalled"],
        Hop::Client,
        "clients read more slowly than they are sent to",
        "send less to slow clients, or raise websocket.write_stall",
    ),
    (
        &["client_fault"],
        Hop::Client,
        "clients sent what are no WebSocket frames",
        "look at the client library, or at a proxy in front that alters bytes",
    ),
    (
        &["message_too_large", "message_rate", "byte_rate"],
        Hop::Gateway,
        "clients sent more than the limits of this gateway allow",
        "raise the limits of the route if they are honest",
    ),
    (
        &["replica_gone"],
        Hop::Replica,
        "the application ended connections without a close frame: it crashed, was killed or was \
         redeployed",
        "look at the application's log and its restarts, memory limit included",
    ),
    (
        &["replica_silent"],
        Hop::Replica,
        "the application answered no ping: its event loop is blocked, or it is gone",
        "look for blocking calls in the application",
    ),
    (
        &["replica_stalled"],
        Hop::Replica,
        "the application stopped reading",
        "look for blocking calls in the application",
    ),
    (
        &["replica_fault"],
        Hop::Replica,
        "the application sent what are no WebSocket frames",
        "look at the application's WebSocket library",
    ),
    (
        &["replica_lost"],
        Hop::Replica,
        "a replica failed its health probes, and its connections were ended",
        "see why its probe fails, under replicas",
    ),
    (
        &["redial_gave_up"],
        Hop::Back,
        "a replica was lost and no other took its clients in time",
        "run a second replica, or raise websocket.redial_give_up above what a restart takes",
    ),
    (
        &["redial_refused"],
        Hop::Replica,
        "a replica was lost, and the next refused clients that the first had taken: mostly a login \
         that only the first replica knew, or that has expired",
        "keep logins where all replicas find them",
    ),
    (
        &["redial_unsettled"],
        Hop::Replica,
        "a replica was lost, and the next did not take the opening of the clients' protocol",
        "look at the application's log: a namespace or a login that only one replica knows",
    ),
    (
        &["replica_drained"],
        Hop::Gateway,
        "replicas were told to go, and their connections were closed",
        "normal during a deploy; with on_replica_loss = \"redial\" they would be moved",
    ),
    (
        &["auth_unavailable"],
        Hop::Gateway,
        "the authentication service gives no answer in time",
        "see whether it runs and is reachable from here; its health is in the metrics",
    ),
    (
        &["unauthenticated", "forbidden"],
        Hop::Client,
        "clients bring no token that is good for their route",
        "look at how they get it, and at the clocks",
    ),
    (
        &["token_expired", "revoked"],
        Hop::Gateway,
        "clients were ended since their right to be here was over",
        "have clients get a new token before the old one ends",
    ),
    (
        &["replica_unreachable", "connect_timeout"],
        Hop::Back,
        "no replica takes connections: it is down, listens elsewhere, or a firewall is between",
        "check that the application runs, and on the address of the upstream",
    ),
    (
        &["replica_tls"],
        Hop::Back,
        "TLS with a replica fails: its certificate, its name or its protocol",
        "see the gateway's log for the reason",
    ),
    (
        &["no_replica"],
        Hop::Back,
        "the upstream has no replica: discovery finds none",
        "check the name in the upstream and the DNS server",
    ),
    (
        &["answer_timeout"],
        Hop::Replica,
        "the application takes handshakes or requests and does not answer in time: often a slow \
         login or a blocked event loop",
        "look at what it does before it accepts",
    ),
    (
        &["answer_missing", "answer_garbled", "handshake_invalid"],
        Hop::Replica,
        "the application answers handshakes wrongly or not at all",
        "does the upstream's port speak HTTP and WebSocket?",
    ),
    (
        &["4xx"],
        Hop::Replica,
        "the application refuses handshakes (4xx): a wrong path, a missing login, or its own \
         origin check",
        "look at the application's log; Socket.IO lives under /socket.io/, Chainlit under \
         /ws/socket.io/",
    ),
    (
        &["5xx"],
        Hop::Replica,
        "the application fails on handshakes (5xx)",
        "look at the application's log",
    ),
    (
        &["2xx", "3xx"],
        Hop::Replica,
        "the application answers handshakes as ordinary requests: nothing there speaks WebSocket",
        "check the path, and that the server has WebSocket support installed",
    ),
    (
        &["no_route"],
        Hop::Gateway,
        "no route takes the host and path that clients ask for",
        "add a route, or one without host and path for the rest",
    ),
    (
        &["too_fast", "too_many"],
        Hop::Gateway,
        "clients connect more often, or more of them, than the limits of this gateway allow",
        "look for a client that reconnects in a loop, or raise the limits",
    ),
    (
        &["origin_forbidden"],
        Hop::Gateway,
        "pages of other origins are refused",
        "add their origin to the route, if they are yours",
    ),
    (
        &["draining", "drained"],
        Hop::Gateway,
        "this gateway is going away and sends clients elsewhere",
        "normal during a deploy",
    ),
    (
        &["not_ready"],
        Hop::Gateway,
        "this gateway, or the application in its container, is still starting",
        "/health/startup says what is waited for",
    ),
    (
        &["overloaded"],
        Hop::Gateway,
        "this gateway is short of memory or descriptors and takes no more",
        "give it more, or more gateways",
    ),
    (
        &["idle_limit"],
        Hop::Gateway,
        "connections were idle for longer than the route allows",
        "raise or remove websocket.idle",
    ),
    (
        &["lifetime_limit"],
        Hop::Gateway,
        "connections reached the age the route allows",
        "raise or remove websocket.lifetime",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_means_one_thing() {
        let mut all: Vec<_> = ROWS.iter().flat_map(|(causes, ..)| *causes).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "a cause stands twice");
    }
}
